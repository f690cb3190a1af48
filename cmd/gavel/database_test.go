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
