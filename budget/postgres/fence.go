package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"gavel/budget"
	"gavel/internal/money"
)

var (
	// ErrUnknownNode is returned for a node that never joined.
	ErrUnknownNode = errors.New("no such node")
	// ErrNotLive is returned for a node that cannot be fenced because it has stopped or is fenced already.
	ErrNotLive = errors.New("node is not live")
)

const fenceNodeSQL = `UPDATE nodes SET state = $2 WHERE id = $1`

// Fence gives a live node up: leases wait for its watermark no longer, and its next call gets budget.ErrFenced. It waits for a
// grant of the node that is under way. What the node's journal holds is billed when it comes back, as far as budget is free then; the
// rest is over-served. It returns ErrUnknownNode or ErrNotLive.
func (s *Store) Fence(ctx context.Context, id uuid.UUID) error {
	err := s.inTx(ctx, func(tx *sqlx.Tx) error {
		m, err := member(ctx, tx, nodeToEndSQL, id)
		if err != nil {
			return err
		}
		if m.Epoch == 0 {
			return ErrUnknownNode
		}
		if !m.Fence() {
			return fmt.Errorf("%w but %s", ErrNotLive, m.State)
		}
		return one(tx.ExecContext(ctx, fenceNodeSQL, id, string(m.State)))
	})
	if err != nil {
		return fmt.Errorf("fence node %s: %w", id, err)
	}
	return nil
}

// Who asks must have been heard of all the time: after an outage of Postgres everybody is late, and a clock that has jumped
// makes everybody look late.
const silentNodesSQL = `
SELECT s.id, s.epoch, s.state, s.watermark FROM nodes s JOIN nodes me ON me.id = $1
WHERE s.state = 'LIVE' AND s.heartbeat_at < now() - $3::bigint * interval '1 microsecond'
  AND me.state = 'LIVE' AND me.epoch = $2 AND me.heartbeat_at > now() - interval '10 seconds'
  AND me.heard_since < now() - $3::bigint * interval '1 microsecond'
ORDER BY s.id FOR UPDATE OF s`

// FenceSilent fences the live nodes whose last heartbeat is older than after, and returns them. It does nothing unless this node itself
// has been heard of for as long without a gap.
func (n *Node) FenceSilent(ctx context.Context, after time.Duration) (fenced []uuid.UUID, err error) {
	err = n.inTx(ctx, func(tx *sqlx.Tx) error {
		fenced = nil
		var silent []nodeRow
		if err := tx.SelectContext(ctx, &silent, silentNodesSQL, n.ID, n.Epoch, after.Microseconds()); err != nil {
			return fmt.Errorf("find silent nodes: %w", err)
		}
		for _, r := range silent {
			m := r.member()
			if !m.Fence() {
				continue
			}
			if err := one(tx.ExecContext(ctx, fenceNodeSQL, m.ID, string(m.State))); err != nil {
				return err
			}
			fenced = append(fenced, m.ID)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("fence silent nodes: %w", err)
	}
	return fenced, nil
}

// NodeStatus is what Postgres knows of a node.
type NodeStatus struct {
	budget.Member
	// Started is when it last joined; Silent how long ago it was last heard of.
	Started time.Time
	Silent  time.Duration
	// OpenLeases are its leases that are not closed, of every epoch; Escrow is what they hold, by currency.
	OpenLeases int
	Escrow     map[string]money.Nanos
}

const nodesSQL = `
SELECT n.id, n.epoch, n.state, n.watermark, n.started_at, (extract(epoch FROM now() - n.heartbeat_at) * 1000000)::bigint AS silent,
    coalesce(l.currency, '') AS currency, count(l.id) AS leases, coalesce(sum(l.amount_nanos - l.posted_nanos), 0)::bigint AS escrow
FROM nodes n LEFT JOIN leases l ON l.node_id = n.id AND l.state = 'OPEN'
GROUP BY n.id, l.currency ORDER BY n.started_at, n.id, l.currency`

// Nodes lists every node that ever joined, the oldest first.
func (s *Store) Nodes(ctx context.Context) ([]NodeStatus, error) {
	var rows []struct {
		nodeRow
		Started  time.Time `db:"started_at"`
		Silent   int64     `db:"silent"`
		Currency string    `db:"currency"`
		Leases   int       `db:"leases"`
		Escrow   int64     `db:"escrow"`
	}
	if err := s.db.SelectContext(ctx, &rows, nodesSQL); err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	var nodes []NodeStatus
	for _, r := range rows {
		if len(nodes) == 0 || nodes[len(nodes)-1].ID != r.ID {
			nodes = append(nodes, NodeStatus{
				Member: r.member(), Started: r.Started, Silent: time.Duration(r.Silent) * time.Microsecond, Escrow: map[string]money.Nanos{},
			})
		}
		last := &nodes[len(nodes)-1]
		if r.Leases > 0 {
			last.OpenLeases += r.Leases
			last.Escrow[r.Currency] = money.Nanos(r.Escrow)
		}
	}
	return nodes, nil
}
