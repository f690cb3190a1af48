package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"gavel/budget"
	"gavel/campaign"
	"gavel/internal/failpoint"
	"gavel/internal/money"
)

// GrantTimes are how long a grant may be served from and how long its tokens live.
type GrantTimes struct {
	TTL, EventTTL time.Duration
}

// A node that has not been heard of for a while takes no share; it is still live until it is fenced. Posting is behind by as
// much as the oldest watermark.
const servingNodesSQL = `
SELECT now(), greatest(1, count(*) FILTER (WHERE heartbeat_at > now() - interval '30 seconds')) AS nodes, min(watermark) AS oldest
FROM nodes WHERE state = 'LIVE'`

const grantedBeforeSQL = `
SELECT request_id, id, amount_nanos, posted_nanos, max_exp FROM leases WHERE request_id = ANY ($1)`

// Only what may serve now gets money: an ad group that was paused a moment ago finds its grant refused.
const grantTargetsSQL = `
SELECT g.id AS ad_group_id, g.campaign_id, g.ad_account_id, a.currency
FROM ad_groups g JOIN campaigns c ON c.id = g.campaign_id JOIN ad_accounts a ON a.id = g.ad_account_id
WHERE g.id = ANY ($1) AND g.status = 'ACTIVE' AND c.status = 'ACTIVE'`

// The lines that a charge of each ad group on each day counts against.
const linesSQL = `
SELECT w.ad_group_id, w.day, b.id AS budget_id, b.scope || ' ' || b.kind AS name, CASE b.kind WHEN 'DAILY' THEN w.day ELSE 0 END AS period, p.id AS period_id
FROM unnest($1::bigint[], $2::int[]) AS w (ad_group_id, day)
JOIN ad_groups g ON g.id = w.ad_group_id
CROSS JOIN LATERAL (VALUES ('AD_GROUP', g.id), ('CAMPAIGN', g.campaign_id), ('AD_ACCOUNT', g.ad_account_id)) AS s (scope, scope_id)
JOIN budgets b ON b.scope = s.scope AND b.scope_id = s.scope_id
LEFT JOIN budget_periods p ON p.budget_id = b.id AND p.period = CASE b.kind WHEN 'DAILY' THEN w.day ELSE 0 END
ORDER BY w.ad_group_id, w.day, b.id`

// In budget id order, and the budget rows are locked first so that a change of limit cannot pass between.
const openPeriodsSQL = `
WITH wanted AS (
    SELECT DISTINCT unnest($1::bigint[]) AS budget_id, unnest($2::int[]) AS period
), locked AS (
    SELECT b.id, b.limit_nanos FROM budgets b WHERE b.id IN (SELECT budget_id FROM wanted) ORDER BY b.id FOR SHARE
)
INSERT INTO budget_periods (budget_id, period, limit_nanos, cap_nanos)
SELECT l.id, w.period, l.limit_nanos, l.limit_nanos FROM wanted w JOIN locked l ON l.id = w.budget_id
ORDER BY l.id, w.period
ON CONFLICT (budget_id, period) DO NOTHING`

const insertLeasesSQL = `
INSERT INTO leases (request_id, node_id, node_epoch, ad_account_id, campaign_id, ad_group_id, day, currency, period_ids, amount_nanos, max_exp, granted_at)
SELECT n.request_id, $1, $2, n.ad_account_id, n.campaign_id, n.ad_group_id, n.day, n.currency, string_to_array(n.period_ids, ',')::bigint[], n.amount, $3, now()
FROM unnest($4::uuid[], $5::bigint[], $6::bigint[], $7::bigint[], $8::int[], $9::text[], $10::text[], $11::bigint[])
    AS n (request_id, ad_account_id, campaign_id, ad_group_id, day, currency, period_ids, amount)
RETURNING request_id, id, amount_nanos, posted_nanos, max_exp`

type targetRow struct {
	AdGroupID   int64  `db:"ad_group_id"`
	CampaignID  int64  `db:"campaign_id"`
	AdAccountID int64  `db:"ad_account_id"`
	Currency    string `db:"currency"`
}

type lineRow struct {
	AdGroupID int64         `db:"ad_group_id"`
	Day       int           `db:"day"`
	BudgetID  int64         `db:"budget_id"`
	Name      string        `db:"name"`
	Period    int           `db:"period"`
	PeriodID  sql.NullInt64 `db:"period_id"`
}

type grantedRow struct {
	RequestID uuid.UUID `db:"request_id"`
	ID        int64     `db:"id"`
	Amount    int64     `db:"amount_nanos"`
	Posted    int64     `db:"posted_nanos"`
	MaxExp    time.Time `db:"max_exp"`
}

// Grant answers wants, one answer each and in their order. nodeNow is the node's clock. A repeated request id gets the lease
// that it got before. It returns budget.ErrFenced if the node is not live in this epoch; then nothing is granted.
func (n *Node) Grant(ctx context.Context, nodeNow time.Time, wants []budget.Want) ([]budget.Granted, error) {
	if len(wants) == 0 {
		return nil, nil
	}
	g := granter{node: n, now: nodeNow.Truncate(time.Microsecond), wants: wants}
	if err := n.prepare(ctx, lockQueries, saveQueries); err != nil {
		return nil, err
	}
	if err := g.openPeriods(ctx); err != nil {
		return nil, err
	}
	err := n.inTx(ctx, func(tx *sqlx.Tx) error { return g.run(ctx, tx) })
	if err != nil {
		return nil, fmt.Errorf("grant: %w", err)
	}
	failpoint.Hit(failpoint.GrantAfterCommit)
	return g.answers, nil
}

// granter is the state of one call to Grant.
type granter struct {
	node    *Node
	now     time.Time // the node's
	wants   []budget.Want
	periods map[budget.Key][]int64
	names   map[int64]string // of periods, for who is told that one has nothing left
	answers []budget.Granted
}

// openPeriods finds the lines of every key and makes the rows of a day that has just begun; it runs outside the
// transaction of the grant because it is idempotent and should hold no lock on budgets.
func (g *granter) openPeriods(ctx context.Context) error {
	var groups, days []int64
	for _, w := range g.wants {
		groups, days = append(groups, int64(w.Key.AdGroupID)), append(days, int64(w.Key.Day))
	}
	for range 2 {
		var lines []lineRow
		if err := g.node.db.SelectContext(ctx, &lines, linesSQL, pq.Array(groups), pq.Array(days)); err != nil {
			return fmt.Errorf("find budget lines: %w", err)
		}
		g.periods, g.names = map[budget.Key][]int64{}, map[int64]string{}
		var budgets, periods []int64
		for _, l := range lines {
			if !l.PeriodID.Valid {
				budgets, periods = append(budgets, l.BudgetID), append(periods, int64(l.Period))
				continue
			}
			key := budget.Key{AdGroupID: campaign.AdGroupID(l.AdGroupID), Day: l.Day}
			if !slices.Contains(g.periods[key], l.PeriodID.Int64) {
				g.periods[key] = append(g.periods[key], l.PeriodID.Int64)
			}
			g.names[l.PeriodID.Int64] = l.Name
		}
		if len(budgets) == 0 {
			return nil
		}
		open := func(tx *sqlx.Tx) error {
			_, err := tx.ExecContext(ctx, openPeriodsSQL, pq.Array(budgets), pq.Array(periods))
			return err
		}
		if err := g.node.inTx(ctx, open); err != nil {
			return fmt.Errorf("open budget periods: %w", err)
		}
	}
	return errors.New("open budget periods: some are still missing")
}

func (g *granter) run(ctx context.Context, tx *sqlx.Tx) error {
	g.answers = make([]budget.Granted, len(g.wants))
	m, err := member(ctx, tx, nodeToGrantSQL, g.node.ID)
	if err != nil {
		return err
	}
	if err := m.Check(g.node.Epoch); err != nil {
		return err
	}
	var state struct {
		Now    time.Time `db:"now"`
		Nodes  int       `db:"nodes"`
		Oldest time.Time `db:"oldest"` // this node is live
	}
	if err := tx.GetContext(ctx, &state, servingNodesSQL); err != nil {
		return fmt.Errorf("count nodes: %w", err)
	}
	targets, err := g.targets(ctx, tx)
	if err != nil {
		return err
	}
	books, err := g.lock(ctx, tx, targets)
	if err != nil {
		return err
	}
	before, err := g.grantedBefore(ctx, tx)
	if err != nil {
		return err
	}
	maxExp := budget.MaxExp(state.Now, g.now, g.node.times.TTL, g.node.times.EventTTL)
	var fresh []int
	for i, w := range g.wants {
		if granted, ok := before[w.RequestID]; ok {
			g.answers[i] = granted.answer(w)
			continue
		}
		if _, ok := targets[w.Key.AdGroupID]; !ok {
			g.answers[i] = budget.Granted{Want: w, BlockedBy: budget.BlockedNotActive}
			continue
		}
		g.answers[i] = books.Answer(w, g.periods[w.Key], state.Nodes, maxExp)
		g.answers[i].Behind = max(0, g.now.Sub(state.Oldest))
		if a := g.answers[i]; a.LeaseID == 0 && a.Amount > 0 {
			fresh = append(fresh, i)
		}
	}
	if err := g.node.save(ctx, tx, books); err != nil {
		return err
	}
	if err := g.insert(ctx, tx, fresh, targets, maxExp); err != nil {
		return err
	}
	failpoint.Hit(failpoint.GrantBeforeCommit)
	return nil
}

// grantedBefore finds the requests that were granted before and whose answer was lost. It runs after the locks: a request that
// is being granted by another transaction holds the same periods, so by now it is visible.
func (g *granter) grantedBefore(ctx context.Context, tx *sqlx.Tx) (map[uuid.UUID]grantedRow, error) {
	ids := make([]string, len(g.wants))
	for i, w := range g.wants {
		ids[i] = w.RequestID.String()
	}
	var rows []grantedRow
	if err := tx.SelectContext(ctx, &rows, grantedBeforeSQL, pq.Array(ids)); err != nil {
		return nil, fmt.Errorf("find repeated requests: %w", err)
	}
	return byRequest(rows), nil
}

func byRequest(rows []grantedRow) map[uuid.UUID]grantedRow {
	m := make(map[uuid.UUID]grantedRow, len(rows))
	for _, r := range rows {
		m[r.RequestID] = r
	}
	return m
}

func (r grantedRow) answer(w budget.Want) budget.Granted {
	return budget.Granted{Want: w, LeaseID: budget.LeaseID(r.ID), Amount: money.Nanos(r.Amount), Posted: money.Nanos(r.Posted), MaxExp: r.MaxExp}
}

func (g *granter) targets(ctx context.Context, tx *sqlx.Tx) (map[campaign.AdGroupID]targetRow, error) {
	var groups []int64
	for _, w := range g.wants {
		groups = append(groups, int64(w.Key.AdGroupID))
	}
	var rows []targetRow
	if err := tx.SelectContext(ctx, &rows, grantTargetsSQL, pq.Array(groups)); err != nil {
		return nil, fmt.Errorf("find ad groups: %w", err)
	}
	targets := make(map[campaign.AdGroupID]targetRow, len(rows))
	for _, r := range rows {
		targets[campaign.AdGroupID(r.AdGroupID)] = r
	}
	return targets, nil
}

func (g *granter) lock(ctx context.Context, tx *sqlx.Tx, targets map[campaign.AdGroupID]targetRow) (*books, error) {
	var accountIDs, periodIDs, leaseIDs []int64
	for _, t := range targets {
		accountIDs = append(accountIDs, t.AdAccountID)
	}
	for _, w := range g.wants {
		periodIDs = append(periodIDs, g.periods[w.Key]...)
		if w.Extend != 0 {
			leaseIDs = append(leaseIDs, int64(w.Extend))
		}
	}
	owners, err := g.node.owners(ctx, tx, unique(leaseIDs))
	if err != nil {
		return nil, err
	}
	books, err := g.node.lock(ctx, tx, owners, accountIDs, periodIDs)
	if err != nil {
		return nil, err
	}
	for id, name := range g.names {
		books.Periods[id].Name = name
	}
	return books, nil
}

// joinIDs writes ids as "1,2,3": Postgres has no unnest of an array of arrays of different lengths.
func joinIDs(ids []int64) string {
	var b []byte
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, id, 10)
	}
	return string(b)
}

func (g *granter) insert(ctx context.Context, tx *sqlx.Tx, fresh []int, targets map[campaign.AdGroupID]targetRow, maxExp time.Time) error {
	if len(fresh) == 0 {
		return nil
	}
	var requests, currencies, periods []string
	var accounts, campaigns, groups, days, amounts []int64
	for _, i := range fresh {
		a := g.answers[i]
		t := targets[a.Want.Key.AdGroupID]
		requests, currencies = append(requests, a.Want.RequestID.String()), append(currencies, t.Currency)
		periods = append(periods, joinIDs(g.periods[a.Want.Key]))
		accounts, campaigns = append(accounts, t.AdAccountID), append(campaigns, t.CampaignID)
		groups, days = append(groups, t.AdGroupID), append(days, int64(a.Want.Key.Day))
		amounts = append(amounts, int64(a.Amount))
	}
	var rows []grantedRow
	err := tx.SelectContext(ctx, &rows, insertLeasesSQL, g.node.ID, g.node.Epoch, maxExp,
		pq.Array(requests), pq.Array(accounts), pq.Array(campaigns), pq.Array(groups), pq.Array(days),
		pq.Array(currencies), pq.Array(periods), pq.Array(amounts))
	if err != nil {
		return fmt.Errorf("insert leases: %w", err)
	}
	granted := byRequest(rows)
	for _, i := range fresh {
		w := g.wants[i]
		g.answers[i] = granted[w.RequestID].answer(w)
	}
	return nil
}
