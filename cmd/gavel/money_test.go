package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"gavel/budget"
	bank "gavel/budget/postgres"
	"gavel/campaign"
	"gavel/internal/money"
	"gavel/internal/testenv"
)

// till is a database with one ad account, an ad group without limits, and a node that has billed two impressions at 1,000 nanos.
type till struct {
	url     string
	db      *sqlx.DB
	store   *bank.Store
	node    *bank.Node
	account int64
	group   campaign.AdGroupID
	events  []budget.Event
}

const tillDay = 20261123

func openTill(t *testing.T) *till {
	t.Helper()
	x := &till{url: testenv.Postgres(t)}
	db, err := openDatabase(t.Context(), x.url, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	x.db, x.store = db, bank.New(db)
	var group, ad int64
	require.NoError(t, db.QueryRowContext(t.Context(), `WITH a AS (INSERT INTO ad_accounts (name, country, currency) VALUES ('a', 'US', 'USD') RETURNING id),
		c AS (INSERT INTO campaigns (ad_account_id, name, status, objective_type) SELECT id, 'c', 'ACTIVE', 'AWARENESS' FROM a RETURNING id, ad_account_id),
		g AS (INSERT INTO ad_groups (ad_account_id, campaign_id, name, status, billable_event, bid_micros, budget_type, budget_micros)
			SELECT ad_account_id, id, 'g', 'ACTIVE', 'IMPRESSION', 1000, 'DAILY', 1 FROM c RETURNING id, campaign_id, ad_account_id),
		b AS (INSERT INTO budgets (ad_account_id, scope, scope_id, kind) SELECT ad_account_id, 'AD_GROUP', id, 'DAILY' FROM g)
		INSERT INTO ads (ad_account_id, campaign_id, ad_group_id, status, creative_type, destination_url)
			SELECT ad_account_id, campaign_id, id, 'ACTIVE', 'REGULAR', 'https://example.com' FROM g RETURNING ad_account_id, ad_group_id, id`).Scan(&x.account, &group, &ad))
	x.group = campaign.AdGroupID(group)
	x.node, _, err = x.store.Join(t.Context(), uuid.New(), time.Time{}, bank.GrantTimes{TTL: time.Second, EventTTL: time.Second})
	require.NoError(t, err)
	granted, err := x.node.Grant(t.Context(), time.Now(), []budget.Want{{RequestID: uuid.New(), Key: budget.Key{AdGroupID: x.group, Day: tillDay}, PriceMax: 1000, Wish: 5000}})
	require.NoError(t, err)
	for i := range 2 {
		x.events = append(x.events, budget.Event{
			EventID: budget.EventID{Day: tillDay, ImpressionID: uuid.New(), Kind: budget.Impression}, LeaseID: granted[0].LeaseID, AdID: campaign.AdID(ad),
			Price: 1000, AcceptedAt: time.Date(2026, 11, 23, 10+i, 30, 0, 0, time.UTC),
		})
	}
	_, err = x.node.Commit(t.Context(), x.events)
	require.NoError(t, err)
	return x
}

func (x *till) posted(t *testing.T) (nanos money.Nanos) {
	t.Helper()
	require.NoError(t, x.db.GetContext(t.Context(), (*int64)(&nanos), `SELECT posted_nanos FROM budget_periods`))
	return nanos
}

func text(e budget.Event) string { return fmt.Sprintf("%d/%s/%s", e.Day, e.ImpressionID, e.Kind) }

func TestRefundByEventTwiceAndUnknown(t *testing.T) {
	t.Parallel()
	x := openTill(t)
	refund := func(args ...string) (string, error) {
		return gavel(t, append([]string{"refund", "--reason", "bots", "--database-url", x.url}, args...)...)
	}
	out, err := refund("--event", text(x.events[0]), "--dry-run")
	require.NoError(t, err)
	require.Contains(t, out, "nothing was changed")
	require.Contains(t, out, "1 refunded, 0 already refunded, 0 without a charge, 0 unknown")
	require.Equal(t, money.Nanos(2000), x.posted(t))

	out, err = refund("--event", text(x.events[0]))
	require.NoError(t, err)
	require.Regexp(t, fmt.Sprintf(`%d\s+USD\s+1\s+0\.000001000\s+1000\n`, x.account), out)
	require.Equal(t, money.Nanos(1000), x.posted(t))

	unknown := "20261123/" + uuid.NewString() + "/CLICK"
	out, err = refund("--event", text(x.events[0]), "--event", unknown)
	require.ErrorIs(t, err, errUnclean)
	require.Contains(t, out, "unknown event "+unknown)
	require.Contains(t, out, "0 refunded, 1 already refunded, 0 without a charge, 1 unknown")
	require.Equal(t, money.Nanos(1000), x.posted(t))
	_, err = gavel(t, "audit", "--database-url", x.url)
	require.NoError(t, err)
}

func TestRefundByAccountAndTime(t *testing.T) {
	t.Parallel()
	x := openTill(t)
	args := []string{"refund", "--reason", "bots", "--database-url", x.url, "--ad-account", fmt.Sprint(x.account), "--from", "2026-11-23T11:00:00Z", "--to"}
	_, err := gavel(t, append(args, "2026-11-23T11:00:00Z")...)
	require.ErrorContains(t, err, "--from and --to")
	out, err := gavel(t, append(args, "2026-11-24T00:00:00Z")...)
	require.NoError(t, err)
	require.Contains(t, out, "1 refunded")
	var refunded uuid.UUID
	require.NoError(t, x.db.GetContext(t.Context(), &refunded, `SELECT impression_id FROM refunds WHERE reason = 'bots'`))
	require.Equal(t, x.events[1].ImpressionID, refunded)
}

func TestRefundByFile(t *testing.T) {
	t.Parallel()
	x := openTill(t)
	path := filepath.Join(t.TempDir(), "events.csv")
	write := func(text string) {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	args := []string{"refund", "--reason", "bots", "--database-url", x.url, "--file", path}
	write(fmt.Sprintf("day,impression_id,kind\n2026-11-23,%s,IMPRESSION\n20261123, %s, nonsense\n", x.events[0].ImpressionID, x.events[1].ImpressionID))
	_, err := gavel(t, args...)
	require.ErrorContains(t, err, `line 3: "nonsense" is none of`)
	require.Equal(t, money.Nanos(2000), x.posted(t), "nothing is done when something cannot be read")
	write(fmt.Sprintf("day,impression_id,kind\n2026-11-23,%s,IMPRESSION\n20261123, %s, impression\n", x.events[0].ImpressionID, x.events[1].ImpressionID))
	out, err := gavel(t, args...)
	require.NoError(t, err)
	require.Contains(t, out, "2 refunded")
	require.Zero(t, x.posted(t))
}

func TestRefundWantsOneWayToSayWhat(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{}, {"--event", "20261123/x/CLICK", "--file", "-"}, {"--event", "20261123/x/CLICK", "--ad", "1"}, {"--event", "2026/x/CLICK"}, {"--event", "20261123/x/CLICK"}} {
		_, err := gavel(t, append([]string{"refund", "--reason", "r", "--database-url", "postgres://nowhere.invalid/x"}, args...)...)
		require.Error(t, err, args)
		require.NotContains(t, err.Error(), "Postgres", "it is said before anything is opened")
	}
}

func TestNodesAndFence(t *testing.T) {
	t.Parallel()
	x := openTill(t)
	id := x.node.ID.String()
	out, err := gavel(t, "nodes", "--database-url", x.url)
	require.NoError(t, err)
	require.Regexp(t, id+`\s+LIVE\s+1\s+\S+\s+\d+s\s+1\s+0\.000003000 USD`, out)
	out, err = gavel(t, "nodes", "--json", "--database-url", x.url)
	require.NoError(t, err)
	require.Contains(t, out, `"USD": 3000`)

	fence := func(args ...string) (string, error) {
		return gavel(t, append([]string{"fence", "--database-url", x.url}, args...)...)
	}
	_, err = x.node.Beat(t.Context(), time.Now())
	require.NoError(t, err)
	_, err = fence(id, "--yes")
	require.ErrorContains(t, err, "most likely alive")
	_, err = x.db.ExecContext(t.Context(), `UPDATE nodes SET heartbeat_at = now() - interval '1 hour'`)
	require.NoError(t, err)
	out, err = fence(id)
	require.ErrorContains(t, err, "nothing was done")
	require.Contains(t, out, "silent for 1h0m0s")
	require.Contains(t, out, "1 open leases with 0.000003000 USD in escrow")
	_, err = x.node.Beat(t.Context(), time.Now())
	require.NoError(t, err, "it is not fenced")
	out, err = fence(id, "--yes", "--force")
	require.NoError(t, err)
	require.Contains(t, out, "fenced")
	_, err = x.node.Beat(t.Context(), time.Now())
	require.ErrorIs(t, err, budget.ErrFenced)
	_, err = fence(id, "--yes", "--force")
	require.ErrorIs(t, err, bank.ErrNotLive)
	_, err = fence(uuid.NewString())
	require.ErrorIs(t, err, bank.ErrUnknownNode)
}

// TestRollupsAreMadeOfWhatWasThereBefore takes the schema back to before them, and forth.
func TestRollupsAreMadeOfWhatWasThereBefore(t *testing.T) {
	t.Parallel()
	x := openTill(t)
	_, err := gavel(t, "refund", "--reason", "bots", "--database-url", x.url, "--event", text(x.events[0]))
	require.NoError(t, err)
	for out := ""; !strings.Contains(out, "00003_billing.sql"); {
		out, err = gavel(t, "migrate", "down", "--database-url", x.url)
		require.NoError(t, err)
	}
	_, err = gavel(t, "migrate", "up", "--database-url", x.url)
	require.NoError(t, err)
	out, err := gavel(t, "audit", "--database-url", x.url)
	require.NoError(t, err, out)
	var rows int
	require.NoError(t, x.db.GetContext(t.Context(), &rows, `SELECT count(*) FROM event_rollups`))
	require.Equal(t, 2, rows, "two hours")
}
