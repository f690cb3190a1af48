package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/lib/pq"

	"gavel/campaign"
)

const interestsSQL = `SELECT id, coalesce(parent_id, '') AS parent_id, name FROM interests ORDER BY id`

const interestSQL = `
SELECT id, coalesce(parent_id, '') AS parent_id, name, level,
    array(SELECT c.id FROM interests c WHERE c.parent_id = i.id ORDER BY c.id) AS children
FROM interests i WHERE id = $1`

const unknownInterestsSQL = `
SELECT wanted.id FROM unnest($1::text[]) WITH ORDINALITY AS wanted (id, place)
WHERE EXISTS (SELECT FROM interests) AND NOT EXISTS (SELECT FROM interests i WHERE i.id = wanted.id)
ORDER BY place`

// Writing 200,000 names as arrays takes a slow machine longer than the 2 s that a transaction may idle.
const patientSQL = `SET LOCAL idle_in_transaction_session_timeout = '30s'`

// Readers go on reading; of two writers one waits.
const lockInterestsSQL = `LOCK TABLE interests IN SHARE ROW EXCLUSIVE MODE`

const dropInterestsSQL = `
DELETE FROM interests i WHERE NOT EXISTS (SELECT FROM unnest($1::text[]) AS kept (id) WHERE kept.id = i.id)`

// What is in a circle is not reached from the top: it is not written, and then missing in the count.
const putInterestsSQL = `
WITH RECURSIVE given AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) AS g (id, parent_id, name)
), placed AS (
    SELECT id, parent_id, name, 1 AS level FROM given WHERE parent_id = ''
    UNION ALL SELECT g.id, g.parent_id, g.name, p.level + 1 FROM placed p JOIN given g ON g.parent_id = p.id WHERE p.level < 9
), put AS (
    INSERT INTO interests AS i (id, parent_id, name, level) SELECT id, nullif(parent_id, ''), name, level FROM placed
    ON CONFLICT (id) DO UPDATE SET parent_id = excluded.parent_id, name = excluded.name, level = excluded.level
        WHERE (i.parent_id, i.name, i.level) IS DISTINCT FROM (excluded.parent_id, excluded.name, excluded.level)
    RETURNING 1
)
SELECT (SELECT count(*) FROM placed) AS placed, (SELECT count(*) FROM put) AS put`

type interestRow struct {
	ID       string         `db:"id"`
	ParentID string         `db:"parent_id"`
	Name     string         `db:"name"`
	Level    int            `db:"level"`
	Children pq.StringArray `db:"children"`
}

func (r interestRow) interest() campaign.Interest {
	return campaign.Interest{ID: r.ID, ParentID: r.ParentID, Name: r.Name}
}

// interests reads the whole taxonomy. It is not nil.
func (s session) interests(ctx context.Context) ([]campaign.Interest, error) {
	var rows []interestRow
	if err := s.list(ctx, &rows, interestsSQL); err != nil {
		return nil, fmt.Errorf("read interests: %w", err)
	}
	return mapped(rows, interestRow.interest), nil
}

// Interests returns the whole taxonomy in the order of the ids, as bytes; it is not nil.
func (s *Serving) Interests(ctx context.Context) ([]campaign.Interest, error) {
	return s.interests(ctx)
}

// Interests implements campaign.InterestReader.
func (s *Store) Interests(ctx context.Context) ([]campaign.Interest, error) { return s.interests(ctx) }

// Interest implements campaign.InterestReader.
func (s *Store) Interest(ctx context.Context, id string) (campaign.InterestNode, error) {
	var row interestRow
	err := s.get(ctx, &row, interestSQL, id)
	return campaign.InterestNode{Interest: row.interest(), Level: row.Level, Children: row.Children},
		orMissing(err, campaign.ErrInterestNotFound, "read interest")
}

// UnknownInterests implements campaign.InterestTx.
func (t *txn) UnknownInterests(ctx context.Context, want []string) ([]string, error) {
	var unknown []string
	err := t.list(ctx, &unknown, unknownInterestsSQL, pq.Array(want))
	return unknown, err
}

var errNoForest = errors.New("an interest is below itself, or its parent is not there")

// ReplaceInterests implements campaign.InterestTx.
func (t *txn) ReplaceInterests(ctx context.Context, all []campaign.Interest) (changed int, err error) {
	if _, err := t.exec(ctx, patientSQL); err != nil {
		return 0, fmt.Errorf("begin interests: %w", err)
	}
	if _, err := t.exec(ctx, lockInterestsSQL); err != nil {
		return 0, fmt.Errorf("lock interests: %w", err)
	}
	keys, parents, names := make([]string, len(all)), make([]string, len(all)), make([]string, len(all))
	for i, in := range all {
		keys[i], parents[i], names[i] = in.ID, in.ParentID, in.Name
	}
	dropped, err := t.exec(ctx, dropInterestsSQL, pq.Array(keys))
	if err != nil {
		return 0, fmt.Errorf("drop interests: %w", err)
	}
	var n struct {
		Placed int `db:"placed"`
		Put    int `db:"put"`
	}
	if err := t.get(ctx, &n, putInterestsSQL, pq.Array(keys), pq.Array(parents), pq.Array(names)); err != nil {
		return 0, fmt.Errorf("write interests: %w", err)
	}
	if n.Placed != len(all) {
		return 0, errNoForest
	}
	return int(dropped) + n.Put, nil
}
