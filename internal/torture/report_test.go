package torture

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRunsMadeInPartsAreOneReport(t *testing.T) {
	t.Parallel()
	faults := Faults()
	part := func(began int64, names ...string) *Report {
		r := &Report{Machine: "m", Load: "l", Began: time.Unix(began, 0).UTC()}
		for _, name := range names {
			r.Rows = append(r.Rows, Row{Name: name, Verdict: Pass, Ran: true, Findings: Findings{Billed: 7}, Busy: make([]Usage, 2), Idle: make([]Usage, 2), AtRest: make([]Usage, 2)})
		}
		text, err := json.Marshal(r)
		require.NoError(t, err)
		read := new(Report)
		require.NoError(t, json.Unmarshal(text, read))
		require.Equal(t, r.Markdown(), read.Markdown(), "nothing is lost on the way")
		return read
	}
	all := part(20, faults[2].Name, faults[0].Name)
	require.NoError(t, all.Join(part(10, faults[1].Name)))
	require.Equal(t, int64(10), all.Began.Unix())
	for i := range 3 {
		require.Equal(t, faults[i].Name, all.Rows[i].Name)
	}
	require.Equal(t, "only the rows below", all.Scope)
	require.ErrorContains(t, all.Join(part(30, faults[0].Name)), "is in both runs")
	other := part(30, faults[5].Name)
	other.Load = "another"
	require.ErrorContains(t, all.Join(other), "the runs differ")
}
