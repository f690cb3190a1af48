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
)

// Node is one node's side of the protocol in one epoch.
type Node struct {
	*Store
	ID    uuid.UUID
	Epoch int64
	times GrantTimes
}

const joinSQL = `
INSERT INTO nodes (id, epoch, state, watermark) VALUES ($1, 1, 'LIVE', $2)
ON CONFLICT (id) DO UPDATE SET epoch = nodes.epoch + 1, state = 'LIVE', heartbeat_at = now(), started_at = now()
RETURNING epoch, watermark`

const closedThroughForShareSQL = `SELECT closed_through FROM protocol FOR SHARE`

// Join makes the node live in a new epoch. now is the node's clock; times hold for all its grants. It returns the time that the node's clock must not be
// behind: what was closed before that is closed for this node too, although its clock may say otherwise.
//
// A node that comes back must replay its journal before it calls [Node.Beat].
func (s *Store) Join(ctx context.Context, id uuid.UUID, now time.Time, times GrantTimes) (node *Node, clockFloor time.Time, err error) {
	node = &Node{Store: s, ID: id, times: times}
	err = s.inTx(ctx, func(tx *sqlx.Tx) error {
		var closedThrough, watermark time.Time
		if err := tx.GetContext(ctx, &closedThrough, closedThroughForShareSQL); err != nil {
			return fmt.Errorf("read closed_through: %w", err)
		}
		start := now
		if closedThrough.After(start) {
			start = closedThrough
		}
		if err := tx.QueryRowxContext(ctx, joinSQL, id, start).Scan(&node.Epoch, &watermark); err != nil {
			return fmt.Errorf("join: %w", err)
		}
		clockFloor = start
		if watermark.After(clockFloor) {
			clockFloor = watermark
		}
		return nil
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	return node, clockFloor, nil
}

const beatSQL = `
UPDATE nodes SET watermark = greatest(watermark, $3), heartbeat_at = now()
WHERE id = $1 AND epoch = $2 AND state = 'LIVE'`

// Beat says that the node is alive and that every event it accepted before watermark is posted.
// It returns budget.ErrFenced if the node is no longer live in this epoch.
func (n *Node) Beat(ctx context.Context, watermark time.Time) error {
	return n.updateNode(ctx, beatSQL, n.ID, n.Epoch, watermark)
}

const leaveSQL = `
UPDATE nodes SET state = 'STOPPED', heartbeat_at = now()
WHERE id = $1 AND epoch = $2 AND state = 'LIVE'`

// Leave says that the node has stopped and its journal is empty, so that leases need not wait for it any longer.
func (n *Node) Leave(ctx context.Context) error {
	return n.updateNode(ctx, leaveSQL, n.ID, n.Epoch)
}

func (n *Node) updateNode(ctx context.Context, query string, args ...any) error {
	result, err := n.db.ExecContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("update node: %w", err)
	}
	if rows, err := result.RowsAffected(); err != nil || rows == 0 {
		return errors.Join(budget.ErrFenced, err)
	}
	return nil
}

const shrinkableSQL = `
SELECT id FROM leases WHERE id = ANY ($1) AND node_id = $2 AND node_epoch = $3 AND state = 'OPEN'`

// GiveBack returns what ended leases have not promised. Only this node's own leases of this epoch are touched.
func (n *Node) GiveBack(ctx context.Context, promises []budget.Promise) error {
	ids := make([]int64, len(promises))
	for i, p := range promises {
		ids[i] = int64(p.LeaseID)
	}
	return n.inTx(ctx, func(tx *sqlx.Tx) error {
		var mine []int64
		if err := tx.SelectContext(ctx, &mine, shrinkableSQL, pq.Array(ids), n.ID, n.Epoch); err != nil {
			return fmt.Errorf("find leases to give back: %w", err)
		}
		if len(mine) == 0 {
			return nil
		}
		books, err := lockOfLeases(ctx, tx, mine)
		if err != nil {
			return err
		}
		for _, p := range promises {
			books.Shrink(p.LeaseID, p.Amount)
		}
		return save(ctx, tx, books)
	})
}

const lockProtocolSQL = `SELECT closed_through FROM protocol FOR UPDATE`

const oldestWatermarkSQL = `SELECT min(watermark) FROM nodes WHERE state = 'LIVE'`

const dueLeasesSQL = `SELECT id FROM leases WHERE state = 'OPEN' AND max_exp < $1 ORDER BY max_exp LIMIT $2`

const advanceClosedThroughSQL = `UPDATE protocol SET closed_through = greatest(closed_through, $1)`

// CloseDue closes up to limit leases whose every token has expired on every live node's own clock: watermark > max_exp.
// It returns how many it closed. Any node may call it; the work is not done twice.
func (s *Store) CloseDue(ctx context.Context, limit int) (closed int, err error) {
	err = s.inTx(ctx, func(tx *sqlx.Tx) error {
		closed = 0
		var through time.Time
		if err := tx.GetContext(ctx, &through, lockProtocolSQL); err != nil {
			return fmt.Errorf("lock protocol: %w", err)
		}
		var watermark sql.NullTime
		if err := tx.GetContext(ctx, &watermark, oldestWatermarkSQL); err != nil {
			return fmt.Errorf("read watermarks: %w", err)
		}
		if !watermark.Valid {
			return nil // nobody is live: nobody can say that nothing is in a journal
		}
		var due []int64
		if err := tx.SelectContext(ctx, &due, dueLeasesSQL, watermark.Time, limit); err != nil {
			return fmt.Errorf("find due leases: %w", err)
		}
		if len(due) == 0 {
			return nil
		}
		books, err := lockOfLeases(ctx, tx, due)
		if err != nil {
			return err
		}
		for _, id := range due {
			books.Close(budget.LeaseID(id))
		}
		closed = len(due)
		if err := save(ctx, tx, books); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, advanceClosedThroughSQL, watermark.Time); err != nil {
			return fmt.Errorf("advance closed_through: %w", err)
		}
		return nil
	})
	return closed, err
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
