package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"gavel/budget"
	"gavel/internal/failpoint"
)

// Node is one node's side of the protocol in one epoch.
type Node struct {
	*Store
	ID    uuid.UUID
	Epoch int64
	times GrantTimes
}

// Transactions lock in this order: the protocol row, a node's row, budget periods, leases.
//
// A grant and a beat of one node do not wait for each other: KEY SHARE and NO KEY UPDATE agree. What ends an epoch does wait
// for the grants that are under way, and they for it.
const (
	protocolForShareSQL = `SELECT closed_through FROM protocol FOR SHARE`
	nodeToEndSQL        = `SELECT id, epoch, state, watermark FROM nodes WHERE id = $1 FOR UPDATE`
	nodeToBeatSQL       = `SELECT id, epoch, state, watermark FROM nodes WHERE id = $1 FOR NO KEY UPDATE`
	nodeToGrantSQL      = `SELECT id, epoch, state, watermark FROM nodes WHERE id = $1 FOR KEY SHARE`
)

const insertNodeSQL = `
INSERT INTO nodes (id, epoch, state, watermark, heartbeat_at, heard_since, started_at) VALUES ($1, $2, $3, $4, now(), now(), now())
ON CONFLICT (id) DO NOTHING`

const rejoinNodeSQL = `
UPDATE nodes SET epoch = $2, state = $3, watermark = $4, heartbeat_at = now(), heard_since = now(), started_at = now() WHERE id = $1`

const beatNodeSQL = `
UPDATE nodes SET state = $2, watermark = $3, heartbeat_at = now(),
    heard_since = CASE WHEN heartbeat_at < now() - interval '10 seconds' THEN now() ELSE heard_since END
WHERE id = $1 RETURNING now()`

type nodeRow struct {
	ID        uuid.UUID `db:"id"`
	Epoch     int64     `db:"epoch"`
	State     string    `db:"state"`
	Watermark time.Time `db:"watermark"`
}

func (r nodeRow) member() budget.Member {
	return budget.Member{ID: r.ID, Epoch: r.Epoch, State: budget.NodeState(r.State), Watermark: r.Watermark}
}

// member locks and loads a node with one of the queries above. A node that never joined is the zero Member.
func member(ctx context.Context, tx *sqlx.Tx, query string, id uuid.UUID) (budget.Member, error) {
	var row nodeRow
	err := tx.GetContext(ctx, &row, query, id)
	if errors.Is(err, sql.ErrNoRows) {
		return budget.Member{ID: id}, nil
	}
	if err != nil {
		return budget.Member{}, fmt.Errorf("lock node: %w", err)
	}
	return row.member(), nil
}

// Join makes the node live in a new epoch. newest is when the newest event in its journal was accepted, zero if there is none;
// times hold for all its grants. It returns the time at which the node's clock starts (see [budget.Member.Join]).
//
// A node that comes back must replay its journal before it calls [Node.Beat].
func (s *Store) Join(ctx context.Context, id uuid.UUID, newest time.Time, times GrantTimes) (node *Node, start time.Time, err error) {
	node = &Node{Store: s, ID: id, times: times}
	err = s.inTx(ctx, func(tx *sqlx.Tx) error {
		var now, closedThrough time.Time
		if err := tx.GetContext(ctx, &closedThrough, protocolForShareSQL); err != nil {
			return fmt.Errorf("read closed_through: %w", err)
		}
		m, err := member(ctx, tx, nodeToEndSQL, id)
		if err != nil {
			return err
		}
		if err := tx.GetContext(ctx, &now, nowSQL); err != nil {
			return fmt.Errorf("read time: %w", err)
		}
		query := rejoinNodeSQL
		if m.Epoch == 0 {
			query = insertNodeSQL
		}
		start = m.Join(now, closedThrough, newest)
		node.Epoch = m.Epoch
		return one(tx.ExecContext(ctx, query, id, m.Epoch, string(m.State), m.Watermark))
	})
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("join: %w", err)
	}
	failpoint.Hit(failpoint.JoinAfter)
	return node, start, nil
}

// one is errRaced unless a statement wrote one row.
func one(result sql.Result, err error) error {
	if err != nil {
		return fmt.Errorf("write node: %w", err)
	}
	if rows, err := result.RowsAffected(); err != nil || rows != 1 {
		return errors.Join(errRaced, err)
	}
	return nil
}

// Beat says that the node is alive and that every event it accepted before watermark is posted. It returns the time of
// Postgres, which the node's clock must not be behind, or budget.ErrFenced if the node is no longer live in this epoch.
func (n *Node) Beat(ctx context.Context, watermark time.Time) (now time.Time, err error) {
	err = n.update(ctx, nodeToBeatSQL, func(m *budget.Member) error { return m.Beat(n.Epoch, watermark) }, &now)
	return now, err
}

// Leave says that the node has stopped and its journal is empty, so that leases need not wait for it any longer. It returns
// budget.ErrFenced if the node is no longer live in this epoch.
func (n *Node) Leave(ctx context.Context) error {
	var now time.Time
	return n.update(ctx, nodeToEndSQL, func(m *budget.Member) error { return m.Leave(n.Epoch) }, &now)
}

func (n *Node) update(ctx context.Context, query string, change func(*budget.Member) error, now *time.Time) error {
	return n.inTx(ctx, func(tx *sqlx.Tx) error {
		m, err := member(ctx, tx, query, n.ID)
		if err != nil {
			return err
		}
		if err := change(&m); err != nil {
			return err
		}
		if err := tx.GetContext(ctx, now, beatNodeSQL, m.ID, string(m.State), m.Watermark); err != nil {
			return fmt.Errorf("write node: %w", err)
		}
		return nil
	})
}

const shrinkableSQL = `
SELECT id FROM leases WHERE id = ANY ($1) AND node_id = $2 AND node_epoch = $3 AND state = 'OPEN'`

// GiveBack returns what ended leases have not promised. Only this node's own leases of this epoch are touched.
func (n *Node) GiveBack(ctx context.Context, promises []budget.Promise) error {
	ids := make([]int64, len(promises))
	for i, p := range promises {
		ids[i] = int64(p.LeaseID)
	}
	if err := n.prepare(ctx, lockQueries, saveQueries); err != nil {
		return err
	}
	return n.inTx(ctx, func(tx *sqlx.Tx) error {
		var mine []int64
		if err := tx.SelectContext(ctx, &mine, shrinkableSQL, pq.Array(ids), n.ID, n.Epoch); err != nil {
			return fmt.Errorf("find leases to give back: %w", err)
		}
		if len(mine) == 0 {
			return nil
		}
		books, err := n.lockLeases(ctx, tx, mine)
		if err != nil {
			return err
		}
		for _, p := range promises {
			books.Shrink(p.LeaseID, p.Amount)
		}
		return n.save(ctx, tx, books)
	})
}

const databaseIDSQL = `SELECT database_id FROM protocol`

// DatabaseID tells this database from any other; it never changes.
func (s *Store) DatabaseID(ctx context.Context) (uuid.UUID, error) {
	var id uuid.UUID
	if err := s.db.GetContext(ctx, &id, databaseIDSQL); err != nil {
		return uuid.Nil, fmt.Errorf("read database id: %w", err)
	}
	return id, nil
}
