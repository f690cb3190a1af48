package postgres_test

import (
	"database/sql"
	"net/url"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"gavel/internal/testenv"
	"gavel/internal/torture/postgres"
)

func open(t *testing.T, address string) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), address)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// other is another client of the database, with one connection and more in its address.
func other(t *testing.T, address string, query map[string]string) *sql.Conn {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	q := u.Query()
	for name, v := range query {
		q.Set(name, v)
	}
	u.RawQuery = q.Encode()
	db, err := sql.Open("postgres", u.String())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	c, err := db.Conn(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func exec(t *testing.T, c *sql.Conn, text string) {
	t.Helper()
	_, err := c.ExecContext(t.Context(), text)
	require.NoError(t, err)
}

func TestTerminateEndsTheNamedOnesAlone(t *testing.T) {
	t.Parallel()
	address := testenv.Postgres(t)
	db := open(t, address)
	node, bystander := other(t, address, map[string]string{"application_name": "node"}), other(t, address, nil)
	n, err := db.Terminate(t.Context(), "node")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Error(t, node.PingContext(t.Context()))
	require.NoError(t, bystander.PingContext(t.Context()))
}

func TestEatConnectionsLeavesNone(t *testing.T) {
	t.Parallel()
	server := testenv.PostgresProcess(t)
	db := open(t, server.URL)
	n, free, err := db.EatConnections(t.Context())
	require.NoError(t, err)
	require.Greater(t, n, 200)
	late, err := sql.Open("postgres", server.URL)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, late.Close()) })
	var refused *pq.Error
	require.ErrorAs(t, late.PingContext(t.Context()), &refused)
	require.Equal(t, "too_many_connections", refused.Code.Name())
	require.NoError(t, free())
	require.Eventually(t, func() bool { return late.PingContext(t.Context()) == nil }, 10*time.Second, 20*time.Millisecond)
}

const linesSQL = `
INSERT INTO ad_accounts (name, country, currency) VALUES ('a', 'US', 'USD');
INSERT INTO budgets (ad_account_id, scope, scope_id, kind, limit_nanos) SELECT id, 'AD_GROUP', n, 'DAILY', 100 FROM ad_accounts, generate_series(1, 9) AS n;
INSERT INTO budget_periods (budget_id, period, limit_nanos, cap_nanos, posted_nanos)
    SELECT id, 20270314, 100, 100, 10 * scope_id FROM budgets WHERE kind = 'DAILY' AND scope = 'AD_GROUP';
INSERT INTO budget_periods (budget_id, period, limit_nanos, cap_nanos, posted_nanos)
    SELECT id, 20270315, 100, 120, 110 FROM budgets WHERE kind = 'DAILY' AND scope = 'AD_GROUP' AND scope_id = 1`

func TestLockHottestHoldsOthersUp(t *testing.T) {
	t.Parallel()
	address := testenv.Postgres(t)
	db, node := open(t, address), other(t, address, nil)
	exec(t, node, linesSQL)
	exec(t, node, `SET lock_timeout = '100ms'`)
	ids, release, err := db.LockHottest(t.Context(), 3)
	require.NoError(t, err)
	require.Len(t, ids, 3)
	update := func(where string) error {
		_, err := node.ExecContext(t.Context(), `UPDATE budget_periods SET escrow_nanos = 0 WHERE `+where)
		return err
	}
	require.NoError(t, update(`posted_nanos < 80`))
	var late *pq.Error
	require.ErrorAs(t, update(`posted_nanos = 110`), &late)
	require.Equal(t, "lock_not_available", late.Code.Name())
	require.NoError(t, release())
	require.NoError(t, update(`posted_nanos = 110`))
}

func TestDaysAddUp(t *testing.T) {
	t.Parallel()
	address := testenv.Postgres(t)
	db := open(t, address)
	exec(t, other(t, address, nil), linesSQL)
	days, err := db.Days(t.Context())
	require.NoError(t, err)
	require.Equal(t, []postgres.Day{
		{Period: 20270314, Lines: 9, Spent: 9, PostedNanos: "450"},
		{Period: 20270315, Lines: 1, Spent: 1, Above: 1, PostedNanos: "110"},
	}, days)
}

func TestTheClockIsForThoseWhoAskForIt(t *testing.T) {
	t.Parallel()
	address := testenv.Postgres(t)
	db := open(t, address)
	require.NoError(t, db.InstallClock(t.Context()))
	node, bystander := other(t, address, map[string]string{"search_path": postgres.ClockPath}), other(t, address, nil)
	ahead := func(c *sql.Conn, text string) time.Duration {
		var now time.Time
		require.NoError(t, c.QueryRowContext(t.Context(), text).Scan(&now))
		return time.Until(now).Round(time.Minute)
	}
	prepared, err := node.PrepareContext(t.Context(), `SELECT now()`)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, prepared.Close()) })
	for _, by := range []time.Duration{0, 24 * time.Hour, -time.Hour} {
		require.NoError(t, db.ShiftClock(t.Context(), by))
		require.Equal(t, by, ahead(node, `SELECT now()`))
		require.Equal(t, by, ahead(node, `SELECT clock_timestamp()`))
		require.Zero(t, ahead(bystander, `SELECT now()`))
		var now time.Time
		require.NoError(t, prepared.QueryRowContext(t.Context()).Scan(&now))
		require.Equal(t, by, time.Until(now).Round(time.Minute), "a statement that was prepared before")
	}
	require.NoError(t, db.RunClock(t.Context(), 3_600_000)) // an hour each millisecond
	require.Eventually(t, func() bool { return ahead(node, `SELECT now()`) > 24*time.Hour }, 10*time.Second, time.Millisecond)
	now, err := db.Clock(t.Context())
	require.NoError(t, err)
	require.Greater(t, time.Until(now), 24*time.Hour)
	require.NoError(t, db.RunClock(t.Context(), 1))
	require.NoError(t, db.ShiftClock(t.Context(), -time.Hour))

	ahead1, err := db.WatermarkAhead(t.Context())
	require.NoError(t, err)
	require.Zero(t, ahead1, "nobody is live")
	exec(t, node, `INSERT INTO nodes (id, epoch, state, watermark) VALUES (gen_random_uuid(), 1, 'LIVE', now())`)
	ahead1, err = db.WatermarkAhead(t.Context())
	require.NoError(t, err)
	require.Equal(t, -time.Hour, ahead1.Round(time.Minute))
}

func TestTryWriteLeavesNothing(t *testing.T) {
	t.Parallel()
	db := open(t, testenv.Postgres(t))
	require.NoError(t, db.TryWrite(t.Context()))
	require.NoError(t, db.TryWrite(t.Context()))
	require.True(t, db.Answers(t.Context()))
}
