package budget

import (
	"time"

	"github.com/google/uuid"
)

// NodeState is what Postgres thinks of a node.
type NodeState string

// The states of a node.
const (
	// Live nodes hold back the closing of leases until their watermark has passed.
	Live NodeState = "LIVE"
	// Stopped nodes have said that their journal is empty.
	Stopped NodeState = "STOPPED"
	// Fenced nodes are given up: what their journal held is over-served if its lease is closed and nothing is free, never overspent.
	Fenced NodeState = "FENCED"
)

// Member is a node as the protocol sees it. The zero Member has never joined.
type Member struct {
	ID uuid.UUID
	// Epoch counts the starts of the node. What an earlier epoch asked for is not this one's.
	Epoch int64
	State NodeState
	// Watermark: every event that the node accepted before this time is posted. It never decreases.
	Watermark time.Time
}

// Join makes the node live in a new epoch and returns the time at which its clock starts: Postgres's time now, but never
// before what is closed already (its leases take no more events), before the node's own watermark, or before the newest event in its
// journal. The watermark of a node that comes back stays where it is until the journal is billed.
func (m *Member) Join(now, closedThrough, newest time.Time) (start time.Time) {
	start = latest(now, closedThrough, m.Watermark, newest)
	m.Epoch++
	m.State = Live
	if m.Epoch == 1 {
		m.Watermark = start
	}
	return start
}

// Check returns ErrFenced unless the node is live in this epoch.
func (m *Member) Check(epoch int64) error {
	if m.State != Live || m.Epoch != epoch {
		return ErrFenced
	}
	return nil
}

// Beat moves the watermark on. It returns ErrFenced unless the node is live in this epoch.
func (m *Member) Beat(epoch int64, watermark time.Time) error {
	if err := m.Check(epoch); err != nil {
		return err
	}
	m.Watermark = latest(m.Watermark, watermark)
	return nil
}

// Leave says that the node's journal is empty and that it accepts nothing any more. It returns ErrFenced unless the node is
// live in this epoch.
func (m *Member) Leave(epoch int64) error {
	if err := m.Check(epoch); err != nil {
		return err
	}
	m.State = Stopped
	return nil
}

// Fence gives the node up: leases wait for it no longer. It reports false for a node that was not live.
func (m *Member) Fence() bool {
	if m.State != Live {
		return false
	}
	m.State = Fenced
	return true
}

// Through is the time before which no lease can get another event: the oldest watermark of the live nodes. It reports false
// when no node is live, because then nobody can say what journals hold.
func Through(members []Member) (through time.Time, ok bool) {
	for i := range members {
		m := &members[i]
		if m.State == Live && (!ok || m.Watermark.Before(through)) {
			through, ok = m.Watermark, true
		}
	}
	return through, ok
}
