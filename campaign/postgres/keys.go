package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/lib/pq"

	"gavel/campaign"
)

var _ campaign.LiveKeySource = (*Store)(nil)

const keyColumns = `id, name, role, ad_account_id, may_explain, created_at, revoked_at`

const insertKeySQL = `
INSERT INTO api_keys (key_sha256, name, role, ad_account_id, may_explain) VALUES ($1, $2, $3, $4, $5) RETURNING ` + keyColumns

const keysSQL = `SELECT ` + keyColumns + ` FROM api_keys ORDER BY id`

const revokeKeySQL = `
UPDATE api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL RETURNING ` + keyColumns

const liveKeysSQL = `
SELECT id, name, role, ad_account_id, may_explain, created_at, revoked_at, key_sha256 FROM api_keys WHERE revoked_at IS NULL`

type keyRow struct {
	ID          int64         `db:"id"`
	Name        string        `db:"name"`
	Role        string        `db:"role"`
	AdAccountID sql.NullInt64 `db:"ad_account_id"`
	MayExplain  bool          `db:"may_explain"`
	CreatedAt   time.Time     `db:"created_at"`
	RevokedAt   sql.NullTime  `db:"revoked_at"`
	Hash        []byte        `db:"key_sha256"`
}

func (r keyRow) entity() campaign.Key {
	return campaign.Key{
		ID: r.ID, Name: r.Name, Role: campaign.Role(r.Role), AdAccountID: campaign.AdAccountID(r.AdAccountID.Int64),
		MayExplain: r.MayExplain, CreatedAt: r.CreatedAt, RevokedAt: r.RevokedAt.Time,
	}
}

// InsertKey implements campaign.KeyStore.
func (s *Store) InsertKey(ctx context.Context, k campaign.Key, hash campaign.KeyHash) (campaign.Key, error) {
	var row keyRow
	err := s.get(ctx, &row, insertKeySQL, hash[:], k.Name, string(k.Role), nullInt(k.AdAccountID), k.MayExplain)
	if pe, ok := errors.AsType[*pq.Error](err); ok && pe.Code == "23503" { // foreign_key_violation: the one of the account
		return campaign.Key{}, campaign.ErrAdAccountNotFound
	}
	if err != nil {
		return campaign.Key{}, fmt.Errorf("insert key: %w", err)
	}
	return row.entity(), nil
}

// Keys implements campaign.KeyStore.
func (s *Store) Keys(ctx context.Context) ([]campaign.Key, error) {
	var rows []keyRow
	if err := s.list(ctx, &rows, keysSQL); err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	return mapped(rows, keyRow.entity), nil
}

// RevokeKey implements campaign.KeyStore.
func (s *Store) RevokeKey(ctx context.Context, id int64) (campaign.Key, error) {
	var row keyRow
	err := s.get(ctx, &row, revokeKeySQL, id)
	return row.entity(), orMissing(err, campaign.ErrKeyNotFound, "revoke key")
}

// LiveKeys implements campaign.LiveKeySource.
func (s *Store) LiveKeys(ctx context.Context) (map[campaign.KeyHash]campaign.Principal, error) {
	var rows []keyRow
	if err := s.list(ctx, &rows, liveKeysSQL); err != nil {
		return nil, fmt.Errorf("list live keys: %w", err)
	}
	live := make(map[campaign.KeyHash]campaign.Principal, len(rows))
	for _, r := range rows {
		live[campaign.KeyHash(r.Hash)] = campaign.Principal{
			KeyID: r.ID, Name: r.Name, Role: campaign.Role(r.Role), AdAccountID: campaign.AdAccountID(r.AdAccountID.Int64), MayExplain: r.MayExplain,
		}
	}
	return live, nil
}
