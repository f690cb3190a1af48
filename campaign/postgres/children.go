package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/lib/pq"

	"gavel/campaign"
)

const keywordColumns = `id, ad_account_id, ad_group_id, match_type, value, archived, created_at`

const keywordsFilter = ` FROM keywords WHERE ad_account_id = $1 AND NOT archived
    AND ($2::bigint[] IS NULL OR ad_group_id = ANY ($2)) AND ($3::text[] IS NULL OR match_type = ANY ($3))`

const keywordsAscendingSQL = `SELECT ` + keywordColumns + keywordsFilter + ` AND id > $4 ORDER BY id LIMIT $5`

const keywordsDescendingSQL = `SELECT ` + keywordColumns + keywordsFilter + ` AND id < $4 ORDER BY id DESC LIMIT $5`

const insertKeywordSQL = `
INSERT INTO keywords (ad_account_id, ad_group_id, match_type, value) VALUES ($1, $2, $3, $4)
ON CONFLICT (ad_group_id, match_type, value) DO UPDATE SET archived = false RETURNING ` + keywordColumns

type keywordRow struct {
	ID          int64     `db:"id"`
	AdAccountID int64     `db:"ad_account_id"`
	AdGroupID   int64     `db:"ad_group_id"`
	MatchType   string    `db:"match_type"`
	Value       string    `db:"value"`
	Archived    bool      `db:"archived"`
	CreatedAt   time.Time `db:"created_at"`
}

func (r keywordRow) entity() campaign.AdGroupKeyword {
	return campaign.AdGroupKeyword{
		ID: campaign.KeywordID(r.ID), AdAccountID: campaign.AdAccountID(r.AdAccountID), AdGroupID: campaign.AdGroupID(r.AdGroupID),
		Keyword: campaign.Keyword{MatchType: campaign.MatchType(r.MatchType), Value: r.Value}, Archived: r.Archived, CreatedAt: r.CreatedAt,
	}
}

// Keywords implements campaign.ChildReader.
func (s *Store) Keywords(ctx context.Context, account campaign.AdAccountID, f campaign.KeywordFilter, page campaign.Page) ([]campaign.AdGroupKeyword, error) {
	query := keywordsAscendingSQL
	if page.Descending {
		query = keywordsDescendingSQL
	}
	after, limit := cursor(page)
	var rows []keywordRow
	if err := s.list(ctx, &rows, query, int64(account), ids(f.AdGroups), texts(f.MatchTypes), after, limit); err != nil {
		return nil, fmt.Errorf("list keywords: %w", err)
	}
	return mapped(rows, keywordRow.entity), nil
}

// InsertKeyword implements campaign.ChildTx.
func (t *txn) InsertKeyword(ctx context.Context, k campaign.AdGroupKeyword) (campaign.AdGroupKeyword, error) {
	var row keywordRow
	err := t.get(ctx, &row, insertKeywordSQL, int64(k.AdAccountID), int64(k.AdGroupID), string(k.MatchType), k.Value)
	return row.entity(), err
}

const countKeywordsSQL = `SELECT count(*) FROM keywords WHERE ad_group_id = $1 AND NOT archived`

// CountKeywords implements campaign.ChildTx.
func (t *txn) CountKeywords(ctx context.Context, parent campaign.AdGroupID) (int, error) {
	var n int
	err := t.get(ctx, &n, countKeywordsSQL, int64(parent))
	return n, err
}

const audienceColumns = `id, ad_account_id, name, description, size, list_type, batches, records_added, records_removed, created_at, updated_at`

const audienceSQL = `SELECT ` + audienceColumns + ` FROM audiences WHERE ad_account_id = $1 AND id = $2`

const audiencesAscendingSQL = `
SELECT ` + audienceColumns + ` FROM audiences WHERE ad_account_id = $1 AND id > $2 ORDER BY id LIMIT $3`

const audiencesDescendingSQL = `
SELECT ` + audienceColumns + ` FROM audiences WHERE ad_account_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3`

const audiencesOfSQL = `SELECT id FROM audiences WHERE ad_account_id = $1 AND id = ANY ($2)`

const insertAudienceSQL = `
INSERT INTO audiences (ad_account_id, name, description, list_type) VALUES ($1, $2, $3, $4) RETURNING ` + audienceColumns

const lockAudienceSQL = `SELECT list_id FROM audiences WHERE ad_account_id = $1 AND id = $2 FOR NO KEY UPDATE`

const addMembersSQL = `
INSERT INTO list_members (user_hash, list_id) SELECT unnest($2::bigint[]), $1
ON CONFLICT DO NOTHING RETURNING user_hash`

const removeMembersSQL = `
DELETE FROM list_members WHERE list_id = $1 AND user_hash = ANY ($2) RETURNING user_hash`

const resizeAudienceSQL = `UPDATE audiences SET size = size + $2, updated_at = now() WHERE id = $1`

type audienceRow struct {
	ID          int64     `db:"id"`
	AdAccountID int64     `db:"ad_account_id"`
	Name        string    `db:"name"`
	Description string    `db:"description"`
	Size        int64     `db:"size"`
	ListType    string    `db:"list_type"`
	Batches     int64     `db:"batches"`
	Added       int64     `db:"records_added"`
	Removed     int64     `db:"records_removed"`
	CreatedAt   time.Time `db:"created_at"`
	UpdatedAt   time.Time `db:"updated_at"`
}

func (r audienceRow) entity() campaign.Audience {
	return campaign.Audience{
		ID: campaign.AudienceID(r.ID), AdAccountID: campaign.AdAccountID(r.AdAccountID), Name: r.Name, Description: r.Description,
		Size: r.Size, ListType: campaign.ListType(r.ListType), Batches: r.Batches, Added: r.Added, Removed: r.Removed, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
}

// Audience implements campaign.ChildReader.
func (s *Store) Audience(ctx context.Context, account campaign.AdAccountID, id campaign.AudienceID) (campaign.Audience, error) {
	var row audienceRow
	err := s.get(ctx, &row, audienceSQL, int64(account), int64(id))
	return row.entity(), orMissing(err, campaign.ErrAudienceNotFound, "read audience")
}

// Audiences implements campaign.ChildReader.
func (s *Store) Audiences(ctx context.Context, account campaign.AdAccountID, page campaign.Page) ([]campaign.Audience, error) {
	query := audiencesAscendingSQL
	if page.Descending {
		query = audiencesDescendingSQL
	}
	after, limit := cursor(page)
	var rows []audienceRow
	if err := s.list(ctx, &rows, query, int64(account), after, limit); err != nil {
		return nil, fmt.Errorf("list audiences: %w", err)
	}
	return mapped(rows, audienceRow.entity), nil
}

// InsertAudience implements campaign.ChildTx.
func (t *txn) InsertAudience(ctx context.Context, a campaign.Audience) (campaign.Audience, error) {
	var row audienceRow
	err := t.get(ctx, &row, insertAudienceSQL, int64(a.AdAccountID), a.Name, a.Description, string(a.ListType))
	return row.entity(), err
}

const nameAudienceSQL = `
UPDATE audiences SET name = $3, description = $4, updated_at = now() WHERE ad_account_id = $1 AND id = $2 RETURNING ` + audienceColumns

// NameAudience implements campaign.ChildTx.
func (t *txn) NameAudience(ctx context.Context, a campaign.Audience) (campaign.Audience, error) {
	var row audienceRow
	err := t.get(ctx, &row, nameAudienceSQL, int64(a.AdAccountID), int64(a.ID), a.Name, a.Description)
	return row.entity(), orMissing(err, campaign.ErrAudienceNotFound, "name audience")
}

// AudiencesOf implements campaign.ChildTx.
func (t *txn) AudiencesOf(ctx context.Context, account campaign.AdAccountID, want []campaign.AudienceID) ([]campaign.AudienceID, error) {
	var found []campaign.AudienceID
	err := t.list(ctx, &found, audiencesOfSQL, int64(account), ids(want))
	return found, err
}

// ChangeMembers implements campaign.ChildTx.
func (t *txn) ChangeMembers(ctx context.Context, account campaign.AdAccountID, id campaign.AudienceID, operation string, users []int64) ([]int64, error) {
	var list int64
	if err := orMissing(t.get(ctx, &list, lockAudienceSQL, int64(account), int64(id)), campaign.ErrAudienceNotFound, "lock audience"); err != nil {
		return nil, err
	}
	query, sign := addMembersSQL, int64(1)
	if operation == campaign.RemoveUsers {
		query, sign = removeMembersSQL, -1
	}
	var changed []int64
	if err := t.list(ctx, &changed, query, list, pq.Array(users)); err != nil {
		return nil, fmt.Errorf("write members: %w", err)
	}
	if len(changed) == 0 {
		return nil, nil
	}
	if _, err := t.exec(ctx, resizeAudienceSQL, int64(id), sign*int64(len(changed))); err != nil {
		return nil, fmt.Errorf("resize audience: %w", err)
	}
	return changed, nil
}
