package fault_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/internal/fault"
)

func TestFromHidesWhatNobodyCoded(t *testing.T) {
	t.Parallel()
	f := fault.From(fmt.Errorf("pq: secret table: %w", io.EOF))
	require.Equal(t, fault.Internal, f.Code)
	require.Equal(t, "internal error", f.Message)
	require.ErrorIs(t, f, io.EOF)
	require.Nil(t, fault.From(nil))
}

func TestCodeSurvivesWrapping(t *testing.T) {
	t.Parallel()
	missing := fault.New(fault.NotFound, "no such campaign")
	err := fmt.Errorf("get campaign: %w", missing.Because(io.EOF))
	require.Equal(t, fault.NotFound, fault.CodeOf(err))
	require.ErrorIs(t, err, missing)
	require.ErrorIs(t, err, io.EOF)
	require.NotErrorIs(t, err, fault.New(fault.NotFound, "no such ad"))
	require.Equal(t, fault.Internal, fault.CodeOf(errors.New("x")))
	require.Empty(t, fault.CodeOf(nil))
}

func TestFieldsNest(t *testing.T) {
	t.Parallel()
	var inner, outer fault.Fields
	require.NoError(t, outer.Err("bad"))
	inner.Add("", "must be an object")
	inner.Add("GENDER[1]", "is not a gender")
	outer.Nest(fault.Join(fault.Index("", 2), "targeting_spec"), inner)
	require.Equal(t, fault.Fields{
		{Name: "[2].targeting_spec", Message: "must be an object"},
		{Name: "[2].targeting_spec.GENDER[1]", Message: "is not a gender"},
	}, outer)
	require.EqualError(t, outer.Err("bad"), "bad: [2].targeting_spec: must be an object; [2].targeting_spec.GENDER[1]: is not a gender")
}
