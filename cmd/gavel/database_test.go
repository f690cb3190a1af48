package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/internal/testenv"
	"gavel/migrations"
)

// gavel runs a command in this process.
func gavel(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), args, world{getenv: os.Getenv, stdout: &out, stderr: &out})
	return out.String(), err
}

func TestMigrateUpStatusDown(t *testing.T) {
	t.Parallel()
	url := testenv.EmptyPostgres(t)
	step := func(command, want string) string {
		t.Helper()
		out, err := gavel(t, "migrate", command, "--database-url", url)
		require.NoError(t, err)
		require.Contains(t, out, want)
		return out
	}
	all := strings.Count(step("status", "pending  00001_accounts_and_campaigns.sql"), "pending")
	step("up", "applied 00002_money.sql")
	step("up", "nothing to apply")
	step("status", "applied  00002_money.sql")
	for range all {
		step("down", "took back")
	}
	step("down", "nothing to take back")
	step("up", "applied 00001_accounts_and_campaigns.sql")
}

// TestATransactionThatStoppedLetsGo is what a node in SIGSTOP does to the others: it holds locks and says nothing.
func TestATransactionThatStoppedLetsGo(t *testing.T) {
	t.Parallel()
	db, err := openDatabase(t.Context(), testenv.Postgres(t), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	stopped, err := db.BeginTxx(t.Context(), nil)
	require.NoError(t, err)
	const lock = `SELECT closed_through FROM protocol FOR UPDATE`
	_, err = stopped.ExecContext(t.Context(), lock)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err = db.ExecContext(ctx, lock)
	require.NoError(t, err, "the lock is given free")
	require.Error(t, stopped.Commit(), "and whoever had it is told")
}

func TestAuditExitsWithOneOnAViolation(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	out, err := gavel(t, "audit", "--database-url", url)
	require.NoError(t, err)
	require.Contains(t, out, "clean: I1-I6 hold")

	db, err := openDatabase(t.Context(), url, nil)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), `WITH a AS (INSERT INTO ad_accounts (name, country, currency) VALUES ('a', 'US', 'USD') RETURNING id),
		b AS (INSERT INTO budgets (ad_account_id, scope, scope_id, kind) SELECT id, 'AD_ACCOUNT', id, 'DAILY' FROM a RETURNING id)
		INSERT INTO budget_periods (budget_id, period, escrow_nanos) SELECT id, 20261123, 5 FROM b`)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	out, err = gavel(t, "audit", "--json", "--database-url", url)
	require.ErrorIs(t, err, errUnclean)
	var verdict struct {
		Clean      bool `json:"clean"`
		Violations []struct {
			Invariant string `json:"invariant"`
		} `json:"violations"`
	}
	require.NoError(t, json.Unmarshal([]byte(out), &verdict), out)
	require.False(t, verdict.Clean)
	require.Equal(t, "I6", verdict.Violations[0].Invariant, "money in escrow that no lease holds")
}

func TestKeysAreMadeListedAndRevoked(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	out, err := gavel(t, "key", "create", "--role", "FEED", "--name", "home feed", "--may-explain", "--database-url", url)
	require.NoError(t, err)
	require.Regexp(t, `gvl_feed_\S{43}`, out)
	out, err = gavel(t, "key", "list", "--database-url", url)
	require.NoError(t, err)
	require.Regexp(t, `1\s+FEED\s+-\s+true\s+\S+\s+-\s+home feed`, out)
	require.NotContains(t, out, "gvl_feed_")
	out, err = gavel(t, "key", "revoke", "1", "--database-url", url)
	require.NoError(t, err)
	require.Contains(t, out, "revoked key 1")
	_, err = gavel(t, "key", "revoke", "1", "--database-url", url)
	require.Error(t, err)
	_, err = gavel(t, "key", "create", "--role", "ADVERTISER", "--name", "x", "--database-url", url)
	require.ErrorContains(t, err, "ad_account_id")
}

// TestMembersAreMigratedToLists takes the migration back and applies it again, with members in the tables.
func TestMembersAreMigratedToLists(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db, err := openDatabase(ctx, testenv.Postgres(t), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	exec := func(query string) {
		t.Helper()
		_, err := db.ExecContext(ctx, query)
		require.NoError(t, err)
	}
	back := func() {
		t.Helper()
		for name := ""; name != "00006_lists.sql"; {
			name, err = migrations.Down(ctx, db.DB)
			require.NoError(t, err)
			require.NotEmpty(t, name)
		}
	}
	members := func(query string) (list []int64) {
		t.Helper()
		require.NoError(t, db.SelectContext(ctx, &list, query))
		return list
	}
	back()
	exec(`INSERT INTO ad_accounts (id, name, country, currency) VALUES (1, 'a', 'US', 'USD')`)
	exec(`INSERT INTO audiences (id, ad_account_id, name) VALUES (10, 1, 'a'), (11, 1, 'b'), (12, 1, 'empty')`)
	exec(`INSERT INTO audience_members (user_hash, audience_id) VALUES (5, 10), (6, 10), (5, 11)`)
	_, err = migrations.Up(ctx, db.DB)
	require.NoError(t, err)
	const now = `SELECT a.id * 100 + m.user_hash FROM list_members m JOIN audiences a USING (list_id) ORDER BY 1`
	require.Equal(t, []int64{1005, 1006, 1105}, members(now))
	require.Len(t, members(`SELECT DISTINCT list_id FROM audiences`), 3, "each audience has a list of its own")
	back()
	require.Equal(t, []int64{1005, 1006, 1105}, members(`SELECT audience_id * 100 + user_hash FROM audience_members ORDER BY 1`))
}
