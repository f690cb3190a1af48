package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"time"

	"github.com/lib/pq"

	"gavel/campaign"
	"gavel/internal/money"
	"gavel/pacing"
)

// controllerLock is the key of the advisory lock of the controller; any number will do that no other lock of the database has.
const controllerLock = 7_040_220_262

const (
	tryLeadSQL = `SELECT pg_try_advisory_lock($1)`

	pacedSQL = `
SELECT g.id, g.campaign_id, g.ad_account_id, t.time_zone, t.currency, g.billable_event, coalesce(g.bid_micros, 0), coalesce(g.cpa_goal_micros, 0),
    g.bid_strategy, greatest(c.start_time, g.start_time), least(c.end_time, g.end_time), coalesce(g.ad_schedule, ''),
    coalesce(s.strategy, ''), coalesce(s.multiplier, 0), coalesce(s.at, 'epoch'), coalesce(s.budget_id, 0), coalesce(s.period, 0), coalesce(s.posted_nanos, 0),
    coalesce(s.counted_from, 'epoch'), coalesce(s.billed, 0), coalesce(s.charged_nanos, 0)
FROM ad_groups g JOIN campaigns c ON c.id = g.campaign_id JOIN ad_accounts t ON t.id = g.ad_account_id LEFT JOIN bid_states s ON s.ad_group_id = g.id
WHERE g.bid_strategy <> 'MAX_BID' AND g.status = 'ACTIVE' AND c.status = 'ACTIVE' ORDER BY g.id`

	// The limit of a period that is open is the one that counts; one that nothing was granted of yet has no row.
	linesSQL = `
SELECT n.ad_group_id, b.id, b.kind, CASE b.kind WHEN 'DAILY' THEN n.day ELSE 0 END, coalesce(p.limit_nanos, b.limit_nanos), coalesce(p.posted_nanos, 0)
FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::int[]) AS n (ad_group_id, scope, scope_id, day)
JOIN budgets b ON b.scope = n.scope AND b.scope_id = n.scope_id
LEFT JOIN budget_periods p ON p.budget_id = b.id AND p.period = CASE b.kind WHEN 'DAILY' THEN n.day ELSE 0 END
WHERE b.limit_nanos IS NOT NULL ORDER BY n.ad_group_id, b.id`

	// The days of the tokens that events of the last two hours can have are those of the account then and, near midnight, the one before.
	countsSQL = `
SELECT r.ad_group_id, sum(r.billed)::bigint, sum(r.charge_nanos)::bigint
FROM (SELECT DISTINCT account, day FROM unnest($1::bigint[], $2::date[]) AS n (account, today), unnest(ARRAY[today, today - 1]) AS day) n
JOIN event_rollups r ON r.ad_account_id = n.account AND r.day = n.day AND r.hour >= $3
WHERE r.ad_group_id = ANY ($4) AND r.billed > 0 GROUP BY r.ad_group_id`

	saveSQL = `
INSERT INTO bid_states (ad_group_id, strategy, multiplier, at, budget_id, period, posted_nanos, counted_from, billed, charged_nanos, round)
SELECT n.*, r.round
FROM unnest($1::bigint[], $2::text[], $3::float8[], $4::timestamptz[], $5::bigint[], $6::int[], $7::bigint[], $8::timestamptz[], $9::bigint[], $10::bigint[]) AS n,
    (SELECT nextval('bid_rounds') AS round) r
ON CONFLICT (ad_group_id) DO UPDATE SET strategy = excluded.strategy, multiplier = excluded.multiplier, at = excluded.at,
    budget_id = excluded.budget_id, period = excluded.period, posted_nanos = excluded.posted_nanos, counted_from = excluded.counted_from,
    billed = excluded.billed, charged_nanos = excluded.charged_nanos, round = excluded.round`
)

// Controller is the right to move bids: at most one exists in a database. It is not safe for concurrent use.
type Controller struct {
	conn *sql.Conn
}

// Lead takes the right if nobody has it; ok is false, without an error, when somebody has. It holds one connection until Close.
func (s *Store) Lead(ctx context.Context) (c *Controller, ok bool, err error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, false, fmt.Errorf("connect: %w", err)
	}
	c = &Controller{conn}
	if err := conn.QueryRowContext(ctx, tryLeadSQL, int64(controllerLock)).Scan(&ok); err != nil || !ok {
		c.Close()
		if err != nil {
			return nil, false, fmt.Errorf("take the controller's lead: %w", err)
		}
		return nil, false, nil
	}
	return c, true, nil
}

// Close gives the right up. The connection itself is closed, so that the session's lock ends with it.
func (c *Controller) Close() {
	_ = c.conn.Raw(func(any) error { return driver.ErrBadConn }) // this is how database/sql is told to drop it
	_ = c.conn.Close()
}

// paced is an ad group whose bid is moved.
type paced struct {
	id      campaign.AdGroupID
	scopes  [3]int64 // ad group, campaign, account
	day     int
	reading pacing.Reading
	state   pacing.State
}

// Round moves every bid once by what there is to read now, and returns how many there are. After an error the Controller must be closed: it
// may have lost its session.
func (c *Controller) Round(ctx context.Context, now time.Time) (n int, err error) {
	all, err := c.groups(ctx, now)
	if err != nil || len(all) == 0 {
		return 0, err
	}
	byID := make(map[campaign.AdGroupID]*pacing.Reading, len(all))
	for i := range all {
		byID[all[i].id] = &all[i].reading
	}
	if err := c.lines(ctx, all, byID); err != nil {
		return 0, err
	}
	if err := c.counts(ctx, all, byID, now); err != nil {
		return 0, err
	}
	for i := range all {
		all[i].state = pacing.Step(all[i].state, all[i].reading, now)
	}
	return len(all), c.save(ctx, all)
}

// groups reads what there is to move, each with its state.
func (c *Controller) groups(ctx context.Context, now time.Time) ([]paced, error) {
	zones := map[string]*time.Location{}
	var all []paced
	err := c.each(ctx, func(rows *sql.Rows) error {
		var p paced
		var zone, currency, hours string
		var bid, goal money.Micros
		var start, end sql.NullTime
		r, s := &p.reading, &p.state
		err := rows.Scan(&p.id, &p.scopes[1], &p.scopes[2], &zone, &currency, &r.Event, &bid, &goal, &r.Strategy, &start, &end, &hours,
			&s.Strategy, &s.Multiplier, &s.At, &s.BudgetID, &s.Period, &s.Posted, &s.Since, &s.Billed, &s.Charged)
		if err != nil {
			return err
		}
		if zones[zone] == nil {
			if zones[zone], err = campaign.LoadZone(zone); err != nil {
				return err
			}
		}
		if hours != "" {
			if err := r.Hours.UnmarshalText([]byte(hours)); err != nil {
				return err
			}
		}
		if bid == 0 {
			bid = campaign.CapMicros(r.Event, currency, goal)
		}
		r.Zone, r.Start, r.End = zones[zone], start.Time, end.Time
		r.Bid = campaign.Offer{Event: r.Event, Strategy: campaign.MaxBid, Bid: bid}.Base(1, 1, 1)
		p.scopes[0], p.day = int64(p.id), campaign.DayOf(now, r.Zone)
		all = append(all, p)
		return nil
	}, pacedSQL)
	return all, err
}

// lines reads the budget lines that stop the ad groups.
func (c *Controller) lines(ctx context.Context, all []paced, byID map[campaign.AdGroupID]*pacing.Reading) error {
	var groups, ids []int64
	var scopes []string
	var days []int32
	for _, p := range all {
		for i, scope := range []string{campaign.EntityAdGroup, campaign.EntityCampaign, campaign.EntityAdAccount} {
			groups, scopes, ids, days = append(groups, int64(p.id)), append(scopes, scope), append(ids, p.scopes[i]), append(days, int32(p.day))
		}
	}
	return c.each(ctx, func(rows *sql.Rows) error {
		var id campaign.AdGroupID
		var l pacing.Line
		if err := rows.Scan(&id, &l.ID, &l.Kind, &l.Period, &l.Limit, &l.Posted); err != nil {
			return err
		}
		byID[id].Lines = append(byID[id].Lines, l)
		return nil
	}, linesSQL, pq.Array(groups), pq.Array(scopes), pq.Array(ids), pq.Array(days))
}

// counts reads how many billable events there were in the last hour or two, and what they cost. Only the billable events of an ad
// group are charged, so the kinds need not be told apart by anything but that.
func (c *Controller) counts(ctx context.Context, all []paced, byID map[campaign.AdGroupID]*pacing.Reading, now time.Time) error {
	since := now.UTC().Truncate(time.Hour).Add(-time.Hour)
	var groups, accounts []int64
	var days []string
	for i := range all {
		p := &all[i]
		p.reading.Since = since
		groups, accounts = append(groups, int64(p.id)), append(accounts, p.scopes[2])
		days = append(days, fmt.Sprintf("%04d-%02d-%02d", p.day/10000, p.day/100%100, p.day%100))
	}
	return c.each(ctx, func(rows *sql.Rows) error {
		var id campaign.AdGroupID
		var billed int64
		var charged money.Nanos
		if err := rows.Scan(&id, &billed, &charged); err != nil {
			return err
		}
		byID[id].Billed, byID[id].Charged = billed, charged
		return nil
	}, countsSQL, pq.Array(accounts), pq.Array(days), since, pq.Array(groups))
}

// save writes the states, in one statement.
func (c *Controller) save(ctx context.Context, all []paced) error {
	n := len(all)
	ids, strategies, multipliers, at := make([]int64, n), make([]string, n), make([]float64, n), make([]string, n)
	budgets, periods, posted := make([]int64, n), make([]int32, n), make([]int64, n)
	since, billed, charged := make([]string, n), make([]int64, n), make([]int64, n)
	for i, p := range all {
		s := p.state
		ids[i], strategies[i], multipliers[i], at[i] = int64(p.id), string(s.Strategy), s.Multiplier, s.At.Format(time.RFC3339Nano)
		budgets[i], periods[i], posted[i] = s.BudgetID, int32(s.Period), int64(s.Posted)
		since[i], billed[i], charged[i] = s.Since.Format(time.RFC3339Nano), s.Billed, int64(s.Charged)
	}
	_, err := c.conn.ExecContext(ctx, saveSQL, pq.Array(ids), pq.Array(strategies), pq.Array(multipliers), pq.Array(at), pq.Array(budgets),
		pq.Array(periods), pq.Array(posted), pq.Array(since), pq.Array(billed), pq.Array(charged))
	if err != nil {
		return fmt.Errorf("save states of bids: %w", err)
	}
	return nil
}

func (c *Controller) each(ctx context.Context, row func(*sql.Rows) error, query string, args ...any) error {
	rows, err := c.conn.QueryContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("read bids: %w", err)
	}
	return scanned(rows, row)
}

func scanned(rows *sql.Rows, row func(*sql.Rows) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return fmt.Errorf("read bids: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read bids: %w", err)
	}
	return nil
}
