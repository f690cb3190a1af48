package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"gavel/budget"
	"gavel/internal/failpoint"
)

const lockProtocolSQL = `SELECT closed_through FROM protocol FOR UPDATE`

const liveNodesSQL = `SELECT id, epoch, state, watermark FROM nodes WHERE state = 'LIVE'`

const dueLeasesSQL = `SELECT id FROM leases WHERE state = 'OPEN' AND max_exp < $1 ORDER BY max_exp LIMIT $2`

const advanceClosedThroughSQL = `UPDATE protocol SET closed_through = greatest(closed_through, $1)`

// CloseDue closes up to limit leases that no event can reach any more (see [budget.Through]) and returns how many it closed.
// Any node may call it; the work is not done twice, and no node joins meanwhile.
func (s *Store) CloseDue(ctx context.Context, limit int) (closed int, err error) {
	if err := s.prepare(ctx, lockQueries, saveQueries); err != nil {
		return 0, err
	}
	err = s.inTx(ctx, func(tx *sqlx.Tx) error {
		closed = 0
		var closedThrough time.Time
		if err := tx.GetContext(ctx, &closedThrough, lockProtocolSQL); err != nil {
			return fmt.Errorf("lock protocol: %w", err)
		}
		var nodes []nodeRow
		if err := tx.SelectContext(ctx, &nodes, liveNodesSQL); err != nil {
			return fmt.Errorf("read watermarks: %w", err)
		}
		members := make([]budget.Member, len(nodes))
		for i, r := range nodes {
			members[i] = r.member()
		}
		through, ok := budget.Through(members)
		if !ok {
			return nil
		}
		var due []int64
		if err := tx.SelectContext(ctx, &due, dueLeasesSQL, through, limit); err != nil {
			return fmt.Errorf("find due leases: %w", err)
		}
		if len(due) == 0 {
			return nil
		}
		books, err := s.lockLeases(ctx, tx, due)
		if err != nil {
			return err
		}
		if closed = books.CloseThrough(through); closed == 0 {
			return nil
		}
		if err := s.save(ctx, tx, books); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, advanceClosedThroughSQL, through); err != nil {
			return fmt.Errorf("advance closed_through: %w", err)
		}
		failpoint.Hit(failpoint.CloseBeforeCommit)
		return nil
	})
	return closed, err
}
