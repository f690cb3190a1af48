package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"gavel/campaign"
)

// Serving is what the indexer reads: the outbox, the servable ads, the members of lists, the uploads that wait to become members. It is safe for concurrent use.
type Serving struct {
	session
	db   *sqlx.DB
	bulk bulk
}

// NewServing returns the reader of db. The caller closes it before db.
func NewServing(db *sqlx.DB) *Serving {
	return &Serving{session: session{statements: newStatements(db)}, db: db}
}

// Close releases the prepared statements. db stays open.
func (s *Serving) Close() error { return s.statements.close() }

const nextChangesSQL = `
(SELECT id, entity, entity_id, created_at FROM outbox WHERE entity <> 'USER' ORDER BY id LIMIT $1)
UNION ALL (SELECT id, entity, entity_id, created_at FROM outbox WHERE entity = 'USER' ORDER BY id LIMIT $1) LIMIT $1`

// The time after which a replaced list is cleaned counts from when the index was told of it: until then nodes go by the old list.
const doneSQL = `
WITH gone AS (DELETE FROM outbox WHERE id = ANY ($1) RETURNING entity)
UPDATE old_lists SET retired_at = now() WHERE NOT cleaning AND EXISTS (SELECT FROM gone WHERE entity = 'AUDIENCE')`

type changeRow struct {
	ID        int64     `db:"id"`
	Entity    string    `db:"entity"`
	EntityID  int64     `db:"entity_id"`
	CreatedAt time.Time `db:"created_at"`
}

// NextChanges returns up to limit rows of the outbox, those of users last: however many of them wait, ads do not. Rows can become visible out of the order of their ids, so a reader
// must go by what it has deleted, not by the last id that it has seen.
func (s *Serving) NextChanges(ctx context.Context, limit int) ([]campaign.Change, error) {
	var rows []changeRow
	if err := s.list(ctx, &rows, nextChangesSQL, limit); err != nil {
		return nil, fmt.Errorf("read outbox: %w", err)
	}
	return mapped(rows, func(r changeRow) campaign.Change { return campaign.Change(r) }), nil
}

// Done deletes rows of the outbox that are applied.
func (s *Serving) Done(ctx context.Context, changes []int64) error {
	if _, err := s.exec(ctx, doneSQL, pq.Array(changes)); err != nil {
		return fmt.Errorf("delete from outbox: %w", err)
	}
	return nil
}

const waitingSQL = `SELECT count(*) AS rows, coalesce(extract(epoch FROM clock_timestamp() - min(created_at)) * 1000, 0)::bigint AS oldest_ms FROM outbox`

// Waiting is how many rows the outbox has, and for how long the oldest has waited.
func (s *Serving) Waiting(ctx context.Context) (rows int64, oldest time.Duration, err error) {
	var w struct {
		Rows     int64 `db:"rows"`
		OldestMS int64 `db:"oldest_ms"`
	}
	if err := s.get(ctx, &w, waitingSQL); err != nil {
		return 0, 0, fmt.Errorf("count outbox: %w", err)
	}
	return w.Rows, time.Duration(w.OldestMS) * time.Millisecond, nil
}

const adsOfChangesSQL = `
SELECT unnest($1::bigint[]) AS id
UNION SELECT id FROM ads WHERE ad_group_id = ANY ($2)
UNION SELECT id FROM ads WHERE campaign_id = ANY ($3)
UNION SELECT id FROM ads WHERE ad_account_id = ANY ($4)
ORDER BY id`

// Resolve says what changes mean now: which of the ads below the changed entities may be served and as what, which may not,
// which list each changed audience has, and which users have changed. What it returns is at least as new as the changes.
func (s *Serving) Resolve(ctx context.Context, changes []campaign.Change) (campaign.Delta, error) {
	touched := map[string][]int64{}
	for _, c := range changes {
		touched[c.Entity] = append(touched[c.Entity], c.EntityID)
	}
	users, audiences, interests := touched[campaign.EntityUser], touched[campaign.EntityAudience], touched[campaign.EntityInterests]
	var delta campaign.Delta
	var err error
	if len(users) > 0 {
		delta.Users = slices.Compact(slices.Sorted(slices.Values(users)))
	}
	if len(audiences) > 0 {
		if delta.Lists, err = s.audienceLists(ctx, audienceListsOfSQL, pq.Array(audiences)); err != nil {
			return campaign.Delta{}, err
		}
		for _, id := range audiences {
			delta.Lists[campaign.AudienceID(id)] += 0 // 0: there is no such audience any more
		}
	}
	if len(interests) > 0 {
		if delta.Interests, err = s.Interests(ctx); err != nil {
			return campaign.Delta{}, err
		}
	}
	if len(changes) == len(users)+len(audiences)+len(interests) {
		return delta, nil
	}
	delta.Upserts, delta.Removals, err = s.resolveAds(ctx, touched)
	return delta, err
}

// resolveAds says which of the ads below changed entities may be served and which may not.
func (s *Serving) resolveAds(ctx context.Context, touched map[string][]int64) (upserts []campaign.ServingAd, removals []campaign.AdID, err error) {
	var adIDs []int64
	err = s.list(ctx, &adIDs, adsOfChangesSQL, pq.Array(touched[campaign.EntityAd]), pq.Array(touched[campaign.EntityAdGroup]),
		pq.Array(touched[campaign.EntityCampaign]), pq.Array(touched[campaign.EntityAdAccount]))
	if err != nil {
		return nil, nil, fmt.Errorf("find ads of changes: %w", err)
	}
	if upserts, err = s.servingOf(ctx, adIDs); err != nil {
		return nil, nil, err
	}
	byID := func(ad campaign.ServingAd, id campaign.AdID) int { return cmp.Compare(ad.AdID, id) }
	for _, id := range adIDs {
		if _, serves := slices.BinarySearchFunc(upserts, campaign.AdID(id), byID); !serves {
			removals = append(removals, campaign.AdID(id))
		}
	}
	return upserts, removals, nil
}

// Lists that are being cleaned away have no members any more, whatever rows are left of them.
const notCleaning = ` list_id <> ALL (ARRAY (SELECT list_id FROM old_lists WHERE cleaning))`

const membersOfSQL = `SELECT user_hash, list_id FROM list_members WHERE user_hash = ANY ($1) AND` + notCleaning + ` ORDER BY user_hash, list_id`

const allMembersSQL = `SELECT user_hash, list_id FROM list_members WHERE` + notCleaning + ` ORDER BY user_hash, list_id`

const audienceListsSQL = `SELECT id, list_id FROM audiences`

const audienceListsOfSQL = audienceListsSQL + ` WHERE id = ANY ($1)`

type memberRow struct {
	UserHash int64 `db:"user_hash"`
	ListID   int64 `db:"list_id"`
}

type audienceListRow struct {
	ID     int64 `db:"id"`
	ListID int64 `db:"list_id"`
}

// AudienceLists is the current list of every audience.
func (s *Serving) AudienceLists(ctx context.Context) (map[campaign.AudienceID]campaign.ListID, error) {
	return s.audienceLists(ctx, audienceListsSQL)
}

func (s *Serving) audienceLists(ctx context.Context, query string, args ...any) (map[campaign.AudienceID]campaign.ListID, error) {
	var rows []audienceListRow
	if err := s.list(ctx, &rows, query, args...); err != nil {
		return nil, fmt.Errorf("read lists of audiences: %w", err)
	}
	lists := make(map[campaign.AudienceID]campaign.ListID, len(rows))
	for _, r := range rows {
		lists[campaign.AudienceID(r.ID)] = campaign.ListID(r.ListID)
	}
	return lists, nil
}

// MembersOf returns the memberships of each of users, in their order; users must be sorted and without duplicates.
func (s *Serving) MembersOf(ctx context.Context, users []int64) ([]campaign.Membership, error) {
	var rows []memberRow
	if err := s.list(ctx, &rows, membersOfSQL, pq.Array(users)); err != nil {
		return nil, fmt.Errorf("read members: %w", err)
	}
	members := make([]campaign.Membership, len(users))
	next := 0
	for i, user := range users {
		members[i].User = user
		for ; next < len(rows) && rows[next].UserHash == user; next++ {
			members[i].Lists = append(members[i].Lists, campaign.ListID(rows[next].ListID))
		}
	}
	if next < len(rows) {
		return nil, fmt.Errorf("read members: users are not in order at %d", rows[next].UserHash)
	}
	return members, nil
}

// AllMembers calls each for every user who is in a list, in the order of users, in one snapshot and without holding them all.
// lists is sorted and valid during the call only. An error of each ends it and is returned.
func (s *Serving) AllMembers(ctx context.Context, each func(user int64, lists []campaign.ListID) error) error {
	rows, err := s.db.QueryContext(ctx, allMembersSQL)
	if err != nil {
		return fmt.Errorf("read all members: %w", coded(err))
	}
	defer rows.Close()
	var user, of, list int64
	var lists []campaign.ListID
	flush := func() error {
		if len(lists) == 0 {
			return nil
		}
		return each(user, lists)
	}
	for rows.Next() {
		if err := rows.Scan(&of, &list); err != nil {
			return fmt.Errorf("read member: %w", coded(err))
		}
		if of != user {
			if err := flush(); err != nil {
				return err
			}
			user, lists = of, lists[:0]
		}
		lists = append(lists, campaign.ListID(list))
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read all members: %w", coded(err))
	}
	return flush()
}

const destinationSQL = `SELECT destination_url FROM ads WHERE id = $1`

// Destination is where the click of an ad leads now, whether it may still be served or not. ok is false for no such ad.
func (s *Serving) Destination(ctx context.Context, ad campaign.AdID) (url string, ok bool, err error) {
	err = s.get(ctx, &url, destinationSQL, int64(ad))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("read destination: %w", err)
	}
	return url, true, nil
}
