package postgres_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"gavel/budget"
	"gavel/budget/postgres"
	"gavel/campaign"
	"gavel/internal/money"
	"gavel/internal/testenv"
)

const (
	benchAccounts  = 50
	benchCampaigns = 500
	benchNodes     = 4 // each has one connection
	benchRounds    = 7
	benchTurn      = 1500 * time.Millisecond
	benchLease     = money.Nanos(1e15)
)

// bench is a database with 500 campaigns of one ad group and two ads each, and four nodes that hold a lease for every ad group.
type bench struct {
	db     *sqlx.DB
	day    int
	nodes  []*postgres.Node
	leases [][]budget.LeaseID // by node and campaign
	ads    []campaign.AdID    // two for each campaign
	plain  *plain
}

// BenchmarkBilling compares, in one run and on a Postgres that syncs every commit: events billed in batches of 1,000; the
// same, one transaction each; and what an ad server without batches would do with tables of its own. Impressions are spread evenly over
// 500 campaigns, which is the worst case for a batch: every event may have budgets of its own.
func BenchmarkBilling(b *testing.B) {
	server := testenv.DurablePostgres(b)
	db, err := sqlx.Connect("postgres", server.URL)
	require.NoError(b, err)
	defer func() { require.NoError(b, db.Close()) }()
	db.SetMaxOpenConns(benchNodes)
	db.SetMaxIdleConns(benchNodes)
	for _, name := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		var value string
		require.NoError(b, db.Get(&value, `SELECT current_setting($1)`, name))
		require.Equal(b, "on", value, name)
	}
	w := newBench(b, db)
	runs := []struct {
		name string
		do   func(ctx context.Context, node int) (int, error)
	}{
		{"batch1000", func(ctx context.Context, node int) (int, error) { return w.commit(ctx, node, 1000) }},
		{"batch4000", func(ctx context.Context, node int) (int, error) { return w.commit(ctx, node, 4000) }},
		{"single", func(ctx context.Context, node int) (int, error) { return w.commit(ctx, node, 1) }},
		{"plain", w.plain.bill},
	}
	rates := make([][]float64, len(runs))
	for b.Loop() {
		for round := range benchRounds {
			for i := range runs {
				if round%2 == 1 {
					i = len(runs) - 1 - i
				}
				rate := perSecond(b, runs[i].do)
				if round > 0 { // the first warms up
					rates[i] = append(rates[i], rate)
				}
			}
		}
	}
	for i, r := range runs {
		b.ReportMetric(median(rates[i]), r.name+"/s")
	}
	for i, r := range runs[:2] {
		b.ReportMetric(median(ratios(rates[i], rates[2])), r.name+"/single")
		b.ReportMetric(median(ratios(rates[i], rates[3])), r.name+"/plain")
	}
	b.ReportMetric(0, "ns/op")
	audit, err := postgres.New(db).Audit(b.Context())
	require.NoError(b, err)
	require.Empty(b, audit.Violations)
}

// perSecond runs do on every node for a turn.
func perSecond(b *testing.B, do func(ctx context.Context, node int) (int, error)) float64 {
	b.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	total := 0
	began := time.Now()
	for node := range benchNodes {
		wg.Go(func() {
			for time.Since(began) < benchTurn {
				n, err := do(b.Context(), node)
				if err != nil {
					b.Error(err)
					return
				}
				mu.Lock()
				total += n
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return float64(total) / time.Since(began).Seconds()
}

func newBench(b *testing.B, db *sqlx.DB) *bench {
	b.Helper()
	now := time.Now().UTC()
	w := &bench{db: db, day: now.Year()*10000 + int(now.Month())*100 + now.Day(), plain: newPlain(b, db)}
	var groups []campaign.AdGroupID
	for i := range benchCampaigns {
		var account, group int64
		if i%(benchCampaigns/benchAccounts) == 0 {
			require.NoError(b, db.Get(&account, `INSERT INTO ad_accounts (name, country, currency) VALUES ('a', 'US', 'USD') RETURNING id`))
			benchLines(b, db, account, "AD_ACCOUNT", account)
		} else {
			require.NoError(b, db.Get(&account, `SELECT max(id) FROM ad_accounts`))
		}
		var camp int64
		require.NoError(b, db.Get(&camp, `INSERT INTO campaigns (ad_account_id, name, status, objective_type) VALUES ($1, 'c', 'ACTIVE', 'AWARENESS') RETURNING id`, account))
		benchLines(b, db, account, "CAMPAIGN", camp)
		require.NoError(b, db.Get(&group, `INSERT INTO ad_groups (ad_account_id, campaign_id, name, status, billable_event, bid_micros, budget_type, budget_micros)
			VALUES ($1, $2, 'g', 'ACTIVE', 'IMPRESSION', 1000, 'DAILY', 1) RETURNING id`, account, camp))
		benchLines(b, db, account, "AD_GROUP", group)
		groups = append(groups, campaign.AdGroupID(group))
		var ads []campaign.AdID
		require.NoError(b, db.Select(&ads, `INSERT INTO ads (ad_account_id, campaign_id, ad_group_id, name, status, creative_type, destination_url)
			SELECT $1, $2, $3, 'ad', 'ACTIVE', 'REGULAR', 'https://example.com' FROM generate_series(1, 2) RETURNING id`, account, camp, group))
		w.ads = append(w.ads, ads...)
	}
	for range benchNodes {
		n, _, err := postgres.New(db).Join(b.Context(), uuid.New(), time.Time{}, times)
		require.NoError(b, err)
		wants := make([]budget.Want, len(groups))
		for i, g := range groups {
			wants[i] = budget.Want{RequestID: uuid.New(), Key: budget.Key{AdGroupID: g, Day: w.day}, PriceMax: benchLease, Wish: benchLease}
		}
		granted, err := n.Grant(b.Context(), time.Now(), wants)
		require.NoError(b, err)
		leases := make([]budget.LeaseID, len(groups))
		for i, g := range granted {
			require.NotZero(b, g.LeaseID)
			leases[i] = g.LeaseID
		}
		w.nodes, w.leases = append(w.nodes, n), append(w.leases, leases)
	}
	return w
}

func benchLines(b *testing.B, db *sqlx.DB, account int64, scope string, id int64) {
	b.Helper()
	_, err := db.Exec(`INSERT INTO budgets (ad_account_id, scope, scope_id, kind, limit_nanos)
		SELECT $1, $2, $3, kind, 1000000000000000000 FROM unnest(ARRAY['DAILY', 'LIFETIME']) AS k (kind)`, account, scope, id)
	require.NoError(b, err)
}

// commit bills n new events through a node.
func (w *bench) commit(ctx context.Context, node, n int) (int, error) {
	events := make([]budget.Event, n)
	now := time.Now()
	for i := range events {
		ad := rand.IntN(len(w.ads))
		events[i] = budget.Event{
			EventID: budget.EventID{Day: w.day, ImpressionID: uuid.Must(uuid.NewV7()), Kind: budget.Impression},
			LeaseID: w.leases[node][ad/2], AdID: w.ads[ad], Price: price, UserHash: int64(ad), AcceptedAt: now,
			Served: budget.Served{byte(i), 1, 2, 3},
		}
	}
	outcomes, err := w.nodes[node].Commit(ctx, events)
	if err != nil {
		return 0, err
	}
	for _, o := range outcomes {
		if o != budget.Billed {
			return 0, fmt.Errorf("outcome %s", o)
		}
	}
	return n, nil
}

// plain is billing as it is often done: one transaction for each impression, with nothing in it that is not needed.
type plain struct {
	db                    *sqlx.DB
	event, budget, ledger *sqlx.Stmt
}

func newPlain(b *testing.B, db *sqlx.DB) *plain {
	b.Helper()
	_, err := db.Exec(`
		CREATE TABLE plain_budgets (id bigint PRIMARY KEY, limit_nanos bigint NOT NULL, posted_nanos bigint NOT NULL DEFAULT 0);
		CREATE TABLE plain_events (id uuid PRIMARY KEY, campaign_id bigint NOT NULL, ad_id bigint NOT NULL, price_nanos bigint NOT NULL, accepted_at timestamptz NOT NULL);
		CREATE TABLE plain_ledger (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id uuid NOT NULL, account bigint NOT NULL, debit_nanos bigint NOT NULL, credit_nanos bigint NOT NULL)`)
	require.NoError(b, err)
	_, err = db.Exec(`INSERT INTO plain_budgets SELECT i, 1000000000000000000 FROM generate_series(0, $1) AS i`, benchCampaigns-1)
	require.NoError(b, err)
	prepare := func(query string) *sqlx.Stmt {
		s, err := db.Preparex(query)
		require.NoError(b, err)
		b.Cleanup(func() { _ = s.Close() })
		return s
	}
	return &plain{
		db:     db,
		event:  prepare(`INSERT INTO plain_events VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`),
		budget: prepare(`UPDATE plain_budgets SET posted_nanos = posted_nanos + $2 WHERE id = $1 AND posted_nanos + $2 <= limit_nanos`),
		ledger: prepare(`INSERT INTO plain_ledger (event_id, account, debit_nanos, credit_nanos) VALUES ($1, $2, $3, 0), ($1, 0, 0, $3)`),
	}
}

func (p *plain) bill(ctx context.Context, _ int) (int, error) {
	ad := rand.IntN(2 * benchCampaigns)
	id := uuid.Must(uuid.NewV7())
	tx, err := p.db.BeginTxx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback() }()
	for _, s := range []struct {
		stmt *sqlx.Stmt
		args []any
	}{
		{p.event, []any{id, ad / 2, ad, int64(price), time.Now()}},
		{p.budget, []any{ad / 2, int64(price)}},
		{p.ledger, []any{id, ad / 20, int64(price)}},
	} {
		result, err := tx.StmtxContext(ctx, s.stmt).ExecContext(ctx, s.args...)
		if err != nil {
			return 0, err
		}
		if rows, err := result.RowsAffected(); err != nil || rows == 0 {
			return 0, fmt.Errorf("%d rows, %w", rows, err)
		}
	}
	return 1, tx.Commit()
}

func ratios(a, b []float64) []float64 {
	r := make([]float64, len(a))
	for i := range a {
		r[i] = a[i] / b[i]
	}
	return r
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return x[len(x)/2]
}
