package postgres_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/budget"
)

// TestWhatWasServedIsRecordedWithTheEvent: of events of one batch, in whatever order they are written, each keeps its own; and all name
// the transaction that recorded them, those over budget too.
func TestWhatWasServedIsRecordedWithTheEvent(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 10*price)
	n := w.join(t)
	lease := grant(t, n, w.want(0, 2*price))[0].LeaseID
	events := make([]budget.Event, 20) // more than the budget pays for
	for i := range events {
		events[i] = w.event(lease, price)
		if i%3 > 0 {
			events[i].Served[0], events[i].Served[63] = byte(i), 1
		}
	}
	require.Contains(t, commit(t, n, events...), budget.OverBudget)
	require.Equal(t, budget.Duplicate, commit(t, n, events[1])[0])
	for _, e := range events {
		var served []byte
		var xid *int64
		require.NoError(t, w.db.QueryRowx(`SELECT served, posted_xid FROM events WHERE impression_id = $1`, e.ImpressionID).Scan(&served, &xid))
		require.NotNil(t, xid)
		if e.Served == (budget.Served{}) {
			require.Nil(t, served, "nothing takes no room")
		} else {
			require.Equal(t, e.Served[:], served)
		}
	}
}
