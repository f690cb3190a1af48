package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"gavel/ranking"
)

const latestSQL = `
SELECT s.number, s.version, s.created_at, s.checksum, s.body, s.number IS NOT DISTINCT FROM t.pinned
FROM model_trainer t JOIN model_snapshots s ON s.number = coalesce(t.pinned, (SELECT max(number) FROM model_snapshots WHERE refused IS NULL))
WHERE s.number <> $1`

const listSQL = `
SELECT s.number, s.version, s.created_at, s.metrics, coalesce(s.refused, ''), s.number IS NOT DISTINCT FROM t.pinned
FROM model_snapshots s CROSS JOIN model_trainer t WHERE $1 IN ('', s.version) ORDER BY s.number DESC`

const pinSQL = `
UPDATE model_trainer SET pinned = s.number FROM model_snapshots s WHERE s.version = $1 AND s.refused IS NULL`

const unpinSQL = `UPDATE model_trainer SET pinned = NULL`

// Latest returns the snapshot that nodes should use, unless it is the one with the number known. ok is false when it is, or when there
// is none. With ErrDamaged it returns all but the body.
func (s *Store) Latest(ctx context.Context, known int64) (p ranking.Published, ok bool, err error) {
	var sum []byte
	err = s.db.QueryRowxContext(ctx, latestSQL, known).Scan(&p.Number, &p.Version, &p.CreatedAt, &sum, &p.Body, &p.Pinned)
	if errors.Is(err, sql.ErrNoRows) {
		return p, false, nil
	}
	if err != nil {
		return p, false, fmt.Errorf("read model: %w", err)
	}
	if !matches(p.Body, sum) {
		p.Body = nil
		return p, true, fmt.Errorf("read model %s: %w", p.Version, ErrDamaged)
	}
	return p, true, nil
}

// Models lists the stored snapshots, refused ones too, newest first, without their bodies; with a version only that one.
func (s *Store) Models(ctx context.Context, version string) (list []ranking.Published, err error) {
	rows, err := s.db.QueryxContext(ctx, listSQL, version)
	if err != nil {
		return nil, fmt.Errorf("list models: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var p ranking.Published
		if err := rows.Scan(&p.Number, &p.Version, &p.CreatedAt, &p.Metrics, &p.Refused, &p.Pinned); err != nil {
			return nil, fmt.Errorf("list models: %w", err)
		}
		list = append(list, p)
	}
	return list, rows.Err()
}

// Pin makes nodes use a version whatever is newer, or with "" the newest again. It returns ErrUnknownModel.
func (s *Store) Pin(ctx context.Context, version string) error {
	var result sql.Result
	var err error
	if version == "" {
		result, err = s.db.ExecContext(ctx, unpinSQL)
	} else {
		result, err = s.db.ExecContext(ctx, pinSQL, version)
	}
	if err != nil {
		return fmt.Errorf("pin model: %w", err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return fmt.Errorf("pin model %q: %w", version, errors.Join(err, ErrUnknownModel))
	}
	return nil
}
