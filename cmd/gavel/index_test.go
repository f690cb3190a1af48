package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/internal/testenv"
	index "gavel/targeting/redis"
)

// command runs gavel in this process and returns what it printed.
func command(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, log bytes.Buffer
	err = run(t.Context(), args, world{getenv: os.Getenv, environ: os.Environ(), stdout: &out, stderr: &log})
	return out.String(), log.String(), err
}

// TestIndexCommands goes through status, verify and rebuild beside a running server.
func TestIndexCommands(t *testing.T) {
	t.Parallel()
	p := startDev(t)
	redisURL, databaseURL := "--redis-url="+p.RedisURL, "--database-url="+p.DatabaseURL
	admin := "--admin=" + p.AdminURL

	out, _, err := command(t, "index", "status", redisURL, databaseURL, admin)
	require.NoError(t, err, out)
	require.Contains(t, out, "ads in")
	require.Contains(t, out, "leads with epoch")
	out, _, err = command(t, "index", "status", "--json", redisURL, databaseURL, admin)
	require.NoError(t, err)
	var before indexStatus
	require.NoError(t, json.Unmarshal([]byte(out), &before))
	require.Positive(t, before.Node.Ads)
	require.Empty(t, before.Index.Damage)
	require.Equal(t, before.Index.Generation, before.Node.Generation)
	require.Len(t, before.Node.Digest, 16)

	out, _, err = command(t, "index", "verify", redisURL, databaseURL, admin)
	require.NoError(t, err, out)
	require.Contains(t, out, "equal")

	out, _, err = command(t, "index", "rebuild", redisURL)
	require.NoError(t, err, out)
	require.Contains(t, out, "rebuilt: generation")
	require.NotContains(t, out, before.Index.Generation)
	out, _, err = command(t, "index", "verify", "--json", redisURL, databaseURL, admin)
	require.NoError(t, err, out)
	var report indexReport
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	require.True(t, report.OK)
	require.Equal(t, report.Source, report.Store)
	require.Positive(t, report.Store)
}

// TestIndexVerifyNamesWhatDiffers changes an ad behind the API's back, so that nobody is told.
func TestIndexVerifyNamesWhatDiffers(t *testing.T) {
	t.Parallel()
	p := startDev(t)
	redisURL, databaseURL := "--redis-url="+p.RedisURL, "--database-url="+p.DatabaseURL
	client, err := index.Open(p.RedisURL)
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close()) }()
	db, err := openDatabase(t.Context(), p.DatabaseURL, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	var id string
	require.NoError(t, db.GetContext(t.Context(), &id, `SELECT min(id)::text FROM ads WHERE status = 'ACTIVE'`))
	_, err = db.ExecContext(t.Context(), `UPDATE ads SET title = 'another' WHERE id = $1`, id)
	require.NoError(t, err)
	out, _, err := command(t, "index", "verify", redisURL, databaseURL)
	require.ErrorIs(t, err, errUnclean)
	require.Contains(t, out, "DIFFERS ad "+id)
	require.False(t, strings.Contains(out, "equal"))
}

func TestIndexCommandsWithoutAServer(t *testing.T) {
	t.Parallel()
	redisURL, databaseURL := "--redis-url="+testenv.Redis(t), "--database-url="+testenv.Postgres(t)
	out, _, err := command(t, "index", "status", redisURL, databaseURL)
	require.NoError(t, err)
	require.Contains(t, out, "no index")
	_, _, err = command(t, "index", "verify", redisURL, databaseURL)
	require.ErrorIs(t, err, index.ErrNoIndex)
	_, _, err = command(t, "index", "rebuild", "--timeout=300ms", redisURL)
	require.ErrorIs(t, err, errNoLeader)
}
