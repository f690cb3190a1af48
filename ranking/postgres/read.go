package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"gavel/campaign"
	"gavel/ranking"
)

// ErrCursorAhead says that the cursor is beyond the transactions of this cluster: the database was restored from a dump into another
// one, where transactions are counted anew. docs/learning.md says what to do.
var ErrCursorAhead = errors.New("ranking: the trainer's cursor is ahead of the database's transactions: was it restored from a dump?")

const horizonSQL = `SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, now()`

// The transactions of a range that recorded impressions (clicks, conversions), up to a number of rows. The last may have more of them;
// all rows of one have its time.
const (
	impressionTransactionsSQL = `
SELECT posted_xid, min(posted_at), count(*) FROM (
    SELECT posted_xid, posted_at FROM events WHERE kind = 'IMPRESSION' AND posted_xid >= $1 AND posted_xid < $2 ORDER BY posted_xid LIMIT $3
) AS n GROUP BY posted_xid ORDER BY posted_xid`
	clickTransactionsSQL = `
SELECT posted_xid, min(posted_at), count(*) FROM (
    SELECT posted_xid, posted_at FROM events WHERE kind = 'CLICK' AND posted_xid >= $1 AND posted_xid < $2 ORDER BY posted_xid LIMIT $3
) AS n GROUP BY posted_xid ORDER BY posted_xid`
	conversionTransactionsSQL = `
SELECT posted_xid, min(received_at), count(*) FROM (
    SELECT posted_xid, received_at FROM conversions WHERE kind = 'CLICK' AND posted_xid >= $1 AND posted_xid < $2 ORDER BY posted_xid LIMIT $3
) AS n GROUP BY posted_xid ORDER BY posted_xid`
)

// Impressions of the range [$1, $2), and whether they were clicked by a transaction before $3.
const impressionsSQL = `
SELECT i.ad_id, i.ad_group_id, i.campaign_id, i.ad_account_id, i.served, c.impression_id IS NOT NULL
FROM events i LEFT JOIN events c ON c.day = i.day AND c.impression_id = i.impression_id AND c.kind = 'CLICK' AND c.outcome <> 'INVALID' AND c.posted_xid < $3
WHERE i.kind = 'IMPRESSION' AND i.served IS NOT NULL AND i.outcome <> 'INVALID' AND i.posted_xid >= $1 AND i.posted_xid < $2
ORDER BY i.posted_xid, i.impression_id`

// Clicks of the range [$1, $2) on impressions that transactions before $3 recorded.
const lateClicksSQL = `
SELECT i.ad_id, i.ad_group_id, i.campaign_id, i.ad_account_id, i.served, true
FROM events c JOIN events i ON i.day = c.day AND i.impression_id = c.impression_id AND i.kind = 'IMPRESSION' AND i.posted_xid < $3
WHERE c.kind = 'CLICK' AND c.outcome <> 'INVALID' AND c.posted_xid >= $1 AND c.posted_xid < $2 AND i.served IS NOT NULL AND i.outcome <> 'INVALID'
ORDER BY c.posted_xid, c.impression_id`

// Clicks of the range [$1, $2), and whether a transaction before $3 recorded a conversion of them.
const clicksSQL = `
SELECT i.ad_id, i.ad_group_id, i.campaign_id, i.ad_account_id, i.served, EXISTS (
    SELECT FROM conversions v WHERE v.impression_id = c.impression_id AND v.day = c.day AND v.kind = 'CLICK' AND v.goal AND v.posted_xid < $3)
FROM events c JOIN events i ON i.day = c.day AND i.impression_id = c.impression_id AND i.kind = 'IMPRESSION'
WHERE c.kind = 'CLICK' AND c.outcome <> 'INVALID' AND c.posted_xid >= $1 AND c.posted_xid < $2 AND i.served IS NOT NULL AND i.outcome <> 'INVALID'
ORDER BY c.posted_xid, c.impression_id`

// Conversions of the range [$1, $2) that are the first of a click that a transaction before $3 recorded.
const lateConversionsSQL = `
SELECT i.ad_id, i.ad_group_id, i.campaign_id, i.ad_account_id, i.served, true
FROM conversions v
JOIN events c ON c.day = v.day AND c.impression_id = v.impression_id AND c.kind = 'CLICK' AND c.outcome <> 'INVALID' AND c.posted_xid < $3
JOIN events i ON i.day = v.day AND i.impression_id = v.impression_id AND i.kind = 'IMPRESSION'
WHERE v.kind = 'CLICK' AND v.goal AND v.posted_xid >= $1 AND v.posted_xid < $2 AND i.served IS NOT NULL AND i.outcome <> 'INVALID'
  AND NOT EXISTS (SELECT FROM conversions w WHERE w.impression_id = v.impression_id AND w.day = v.day AND w.kind = 'CLICK' AND w.goal
    AND (w.posted_xid, w.event_id, w.event_name) < (v.posted_xid, v.event_id, v.event_name))
ORDER BY v.posted_xid, v.event_id, v.event_name`

// Read returns what comes after a cursor, at most about limit rows of each kind.
//
// Between two calls everything is learned whose cause (impression, click) and effect (click, conversion) are both below the cursors, and
// nothing else. A call moves the cursor of effects first, from e to e', and returns those whose cause is below the cursor of causes as
// corrections; then it moves the cursor of causes, from c to c', and returns what is between with the effects below e'. So the pairs of
// (c', e') are those of (c, e), the corrections, and the new causes with their effects: each pair once, however far a call comes. The
// windows decide only how many are corrections.
func (s *Store) Read(ctx context.Context, from ranking.Cursor, w ranking.Windows, limit int) (o ranking.Observed, err error) {
	// One snapshot for all: what is below the horizon of its first statement is the same in every statement.
	tx, err := s.db.BeginTxx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return o, fmt.Errorf("read events: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // it has only read
	r := reader{tx: tx, limit: limit}
	if err := tx.QueryRowxContext(ctx, horizonSQL).Scan(&r.horizon, &r.now); err != nil {
		return o, fmt.Errorf("read events: %w", err)
	}
	if r.horizon < max(from.Impressions, from.Clicks, from.Clicked, from.Conversions) {
		return o, ErrCursorAhead
	}
	click := pair{impressionTransactionsSQL, clickTransactionsSQL, impressionsSQL, lateClicksSQL, w.Click}
	if o.Clicks, o.Cursor.Impressions, o.Cursor.Clicks, err = r.read(ctx, click, from.Impressions, from.Clicks); err != nil {
		return o, fmt.Errorf("read impressions and clicks: %w", err)
	}
	conversion := pair{clickTransactionsSQL, conversionTransactionsSQL, clicksSQL, lateConversionsSQL, w.Conversion}
	if o.Conversions, o.Cursor.Clicked, o.Cursor.Conversions, err = r.read(ctx, conversion, from.Clicked, from.Conversions); err != nil {
		return o, fmt.Errorf("read clicks and conversions: %w", err)
	}
	o.More = r.more
	return o, nil
}

// pair are a kind of cause and its effect.
type pair struct {
	causeTransactions, effectTransactions string
	causes, effects                       string
	window                                time.Duration
}

// reader is one call of Read.
type reader struct {
	tx      *sqlx.Tx
	limit   int
	horizon int64
	now     time.Time
	more    bool
}

func (r *reader) read(ctx context.Context, p pair, cause, effect int64) (list []ranking.Observation, causeTo, effectTo int64, err error) {
	effectTo, asOf, err := r.until(ctx, p.effectTransactions, effect, r.now)
	if err != nil {
		return nil, 0, 0, err
	}
	causeTo, _, err = r.until(ctx, p.causeTransactions, cause, asOf.Add(-p.window))
	if err != nil {
		return nil, 0, 0, err
	}
	if list, err = r.observations(ctx, list, true, p.effects, effect, effectTo, cause); err != nil {
		return nil, 0, 0, err
	}
	list, err = r.observations(ctx, list, false, p.causes, cause, causeTo, effectTo)
	return list, causeTo, effectTo, err
}

// until finds how far to read from a transaction on: to the horizon, to the first transaction that began after a time, or until there
// are enough rows. asOf is the time up to which everything was read.
func (r *reader) until(ctx context.Context, query string, from int64, last time.Time) (to int64, asOf time.Time, err error) {
	rows, err := r.tx.QueryxContext(ctx, query, from, r.horizon, r.limit)
	if err != nil {
		return 0, asOf, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	to = from
	total := 0
	for rows.Next() {
		var xid int64
		var at time.Time
		var n int
		if err := rows.Scan(&xid, &at, &n); err != nil {
			return 0, asOf, err
		}
		if at.After(last) {
			return xid, last, nil
		}
		to, asOf = xid+1, at
		total += n
	}
	if err := rows.Err(); err != nil {
		return 0, asOf, err
	}
	if total >= r.limit {
		r.more = true
		return to, asOf, nil
	}
	return r.horizon, last, nil
}

func (r *reader) observations(ctx context.Context, list []ranking.Observation, late bool, query string, from, to, other int64) (_ []ranking.Observation, err error) {
	if from == to {
		return list, nil
	}
	rows, err := r.tx.QueryxContext(ctx, query, from, to, other)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var served sql.RawBytes
	for rows.Next() {
		o := ranking.Observation{Late: late}
		var ad, group, camp, account int64
		if err := rows.Scan(&ad, &group, &camp, &account, &served, &o.Positive); err != nil {
			return nil, err
		}
		o.Item = ranking.Item{
			AdID: campaign.AdID(ad), AdGroupID: campaign.AdGroupID(group), CampaignID: campaign.CampaignID(camp), AdAccountID: campaign.AdAccountID(account),
		}
		copy(o.Served[:], served)
		list = append(list, o)
	}
	return list, rows.Err()
}
