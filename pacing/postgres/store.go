package postgres

import (
	"context"
	"database/sql"
	"fmt"

	"gavel/campaign"
)

const changedSQL = `SELECT ad_group_id, multiplier, round FROM bid_states WHERE round > $1`

// Store is where multipliers are kept. It is safe for concurrent use.
type Store struct {
	db *sql.DB
}

// New returns the store of db.
func New(db *sql.DB) *Store { return &Store{db} }

// Changed returns the multipliers that were written in rounds after one, 0 for all, and the last round there is. Rounds are written one
// after the other, so none that is read later comes before it.
func (s *Store) Changed(ctx context.Context, after int64) (changed map[campaign.AdGroupID]float64, last int64, err error) {
	rows, err := s.db.QueryContext(ctx, changedSQL, after)
	if err != nil {
		return nil, after, fmt.Errorf("read bids: %w", err)
	}
	changed, last = map[campaign.AdGroupID]float64{}, after
	err = scanned(rows, func(rows *sql.Rows) error {
		var id campaign.AdGroupID
		var m float64
		var round int64
		err := rows.Scan(&id, &m, &round)
		changed[id], last = m, max(last, round)
		return err
	})
	if err != nil {
		return nil, after, err
	}
	return changed, last, nil
}
