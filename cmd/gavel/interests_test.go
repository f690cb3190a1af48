package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/internal/testenv"
	"gavel/targeting"
)

func TestInterestsLoadAndList(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	file := filepath.Join(t.TempDir(), "interests.csv")
	load := func(text string) (string, error) {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		return gavel(t, "interests", "load", file, "--database-url", url)
	}
	list := func() string {
		out, err := gavel(t, "interests", "list", "--database-url", url)
		require.NoError(t, err)
		return out
	}
	require.Equal(t, "id,parent_id,name\n", list())
	out, err := load("\ufeffid,parent_id,name\r\n11,1,\"Chairs, large\"\r\n1,,Home\r\n")
	require.NoError(t, err)
	require.Equal(t, "2 interests, 2 of them new, changed or dropped\n", out)
	const want = "id,parent_id,name\n1,,Home\n11,1,\"Chairs, large\"\n"
	require.Equal(t, want, list())

	for text, message := range map[string]string{
		"":                                      ":1: the header must be id,parent_id,name",
		"id,name,parent_id\n1,,Home\n":          ":1: the header must be id,parent_id,name",
		"id,parent_id,name\n1,Home\n":           ":2: wrong number of fields",
		"id,parent_id,name\n1,,\"Home\n":        ":2: extraneous or missing \" in quoted-field",
		"id,parent_id,name\n1,,Home\n\n2,3,X\n": `:4: interest "2" has the parent "3", which there is not`,
		"id,parent_id,name\n1,,\"Ho\nme\"\n":    `:2: interest "1" has a name that is not printable UTF-8`,
		"id,parent_id,name\n1,,A\n2,,B\n1,,C\n": `:4: interest "1" is given twice`,
		"id,parent_id,name\n1,2,A\n2,1,B\n":     `:2: interest "1" is below itself, or below an interest that is: "1"`,
	} {
		_, err := load(text)
		require.ErrorContains(t, err, file+message, text)
	}
	require.Equal(t, want, list(), "what was refused changed nothing")

	in := strings.NewReader(list())
	var again bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"interests", "load", "-", "--database-url", url}, world{getenv: os.Getenv, stdin: in, stdout: &again}))
	require.Equal(t, "2 interests, 0 of them new, changed or dropped\n", again.String())
	out, err = load("id,parent_id,name\n")
	require.NoError(t, err)
	require.Equal(t, "0 interests, 2 of them new, changed or dropped\n", out)
	_, err = gavel(t, "interests", "load", filepath.Join(t.TempDir(), "none.csv"), "--database-url", url)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestInterestsLoadTheLargest: within the time that Postgres waits for a transaction, and not one row more.
func TestInterestsLoadTheLargest(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	var text bytes.Buffer
	text.WriteString("id,parent_id,name\n")
	for i := range targeting.MaxTaxonomy {
		parent := ""
		if i >= 10 {
			parent = fmt.Sprint(1000 + i/10)
		}
		fmt.Fprintf(&text, "%d,%s,interest number %d\n", 1000+i, parent, i)
	}
	load := func() (string, error) {
		var out bytes.Buffer
		err := run(t.Context(), []string{"interests", "load", "-", "--database-url", url}, world{getenv: os.Getenv, stdin: bytes.NewReader(text.Bytes()), stdout: &out})
		return out.String(), err
	}
	out, err := load()
	require.NoError(t, err)
	require.Contains(t, out, "200000 interests, 200000 of them")
	text.WriteString("1,,one more\n")
	_, err = load()
	require.ErrorContains(t, err, "-:200002: at most 200000 interests are allowed")
}

// TestTheDemosInterests: what the demo's ad groups target is in the demo's taxonomy.
func TestTheDemosInterests(t *testing.T) {
	t.Parallel()
	all, _, err := targeting.ReadInterests(bytes.NewReader(demoInterestsCSV))
	require.NoError(t, err)
	taxonomy, err := targeting.NewTaxonomy(all)
	require.NoError(t, err)
	require.True(t, taxonomy.Has("925056443165"))
	require.Equal(t, []string{"311", "925056443165", "3"}, taxonomy.AppendAncestors(nil, "3111"))
}
