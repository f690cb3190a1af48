package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/internal/openbandit"
	"gavel/internal/testenv"
	index "gavel/targeting/redis"
)

// openBanditDir is where the real log is. It is not part of the repository.
func openBanditDir(t *testing.T) string {
	t.Helper()
	testenv.Short(t)
	dir := os.Getenv("GAVEL_OPENBANDIT_DIR")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data", "open-bandit")
	}
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	// .ci/allowed-skips allows this only where the path is absent, so that CI with the log can never skip it in silence.
	t.Skipf("the Open Bandit log is not at %s; GAVEL_OPENBANDIT_DIR says where it is", dir)
	return ""
}

// replay runs `gavel loadtest openbandit` as fast as the server answers.
func replay(t *testing.T, dir, ready string, args ...string) (openbandit.Report, error) {
	t.Helper()
	var out, progress bytes.Buffer
	args = append([]string{"loadtest", "openbandit", dir, "--ready-file", ready, "--speed", "max", "--json"}, args...)
	err := run(t.Context(), args, world{getenv: os.Getenv, stdout: &out, stderr: &progress})
	var r openbandit.Report
	if err == nil || errors.Is(err, errUnclean) {
		err = errors.Join(err, json.Unmarshal(out.Bytes(), &r))
	}
	return r, err
}

// requirePass holds a report to what every run must come to.
func requirePass(t *testing.T, r openbandit.Report, pages int) {
	t.Helper()
	require.Equal(t, openbandit.Pass, r.Verdict, "%v\n%v\n%v", r.Problems, r.Violations, r.Audit)
	require.Equal(t, pages, r.Pages)
	require.Zero(t, r.Errors)
	require.Empty(t, r.Violations)
	require.True(t, r.Audit.Clean)
	require.Equal(t, r.AdsServed, r.Accepted["IMPRESSION"])
	require.Equal(t, r.Accepted["IMPRESSION"]+r.Accepted["VIEWABLE"]+r.Accepted["CLICK"], r.InDatabase)
	require.Len(t, r.Campaigns, 34)
	for _, c := range r.Campaigns {
		require.LessOrEqual(t, c.PeriodNanos, c.LimitNanos, "item %d", c.Item)
	}
	require.Positive(t, r.SpentNanos)
	require.Greater(t, r.FillRate, 0.9)
	t.Logf("%d page loads in %.1f s, fill rate %.4f, POST /v1/ads %v, %d retries", r.Pages, r.TookSeconds, r.FillRate, r.AdsLatency, r.Cut+r.Busy)
}

// TestARunsInterestsJoinTheTaxonomy adds them where there is a taxonomy, once, and makes none where there is none.
func TestARunsInterestsJoinTheTaxonomy(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	value := func(start string) string { return start + strings.Repeat("0", 32-len(start)) }
	plan, err := openbandit.NewPlan(&openbandit.Log{
		Items: []openbandit.Item{{ID: 7}},
		// The third value is another that is shortened to the same id as the second.
		Rows: []openbandit.Row{{Item: 7, User: [4]string{2: value("a")}}, {Item: 7, User: [4]string{2: value("b")}}, {Item: 7, User: [4]string{2: value("b00000001")}}},
	}, "x")
	require.NoError(t, err)
	after := func(load string) string {
		file := filepath.Join(t.TempDir(), "interests.csv")
		require.NoError(t, os.WriteFile(file, []byte("id,parent_id,name\n"+load), 0o600))
		_, err := gavel(t, "interests", "load", file, "--database-url", url)
		require.NoError(t, err)
		for range 2 {
			require.NoError(t, addInterests(t.Context(), url, plan))
		}
		out, err := gavel(t, "interests", "list", "--database-url", url)
		require.NoError(t, err)
		return strings.TrimPrefix(out, "id,parent_id,name\n")
	}
	require.Empty(t, after(""))
	const home, others = "1,,Home\n11,1,Chairs\n", `ob.x.a0000000,,Open Bandit x: feature a0000000
ob.x.all,,Open Bandit x: everyone
ob.x.b0000000,,Open Bandit x: feature b0000000
ob.x.item-7,,Open Bandit x: looks at item 7
`
	require.Equal(t, home+others, after(home))
	require.Equal(t, home+others, after(home+"ob.x.all,,Open Bandit x: everyone\n"))
}

// TestOpenBanditOnTheRealLog replays all 20,000 page impressions of the dataset.
func TestOpenBanditOnTheRealLog(t *testing.T) {
	t.Parallel()
	dir := openBanditDir(t)
	p := startDev(t)
	ready := filepath.Join(t.TempDir(), "ready.json")
	require.NoError(t, p.save(ready))
	r, err := replay(t, dir, ready, "--floor")
	require.NoError(t, err, "%v", r.Violations)
	requirePass(t, r, 20_000)
	require.Positive(t, r.Accepted["CLICK"])
	exhausted := 0
	for _, c := range r.Campaigns {
		if float64(c.PeriodNanos) > 0.99*float64(c.LimitNanos) {
			exhausted++
		}
	}
	require.Positive(t, exhausted, "budgets must run out, else the run shows little")
	require.EqualValues(t, 20_000, r.FloorLatency.Count)
	t.Logf("%d budgets ran out, the floor has %v", exhausted, *r.FloorLatency)
	p.stop(t)
}

// TestOpenBanditThroughAFlushAndAKill empties Redis in the middle of a run, and later kills everything and starts it again.
func TestOpenBanditThroughAFlushAndAKill(t *testing.T) {
	t.Parallel()
	const pages = 6000
	dir, data := openBanditDir(t), keptDir(t)
	ready := filepath.Join(t.TempDir(), "ready.json")
	p := startDev(t, "--data", data)
	require.NoError(t, p.save(ready))
	type result struct {
		report openbandit.Report
		err    error
	}
	done := make(chan result, 1)
	go func() {
		r, err := replay(t, dir, ready, "--limit", strconv.Itoa(pages), "--ride-out", "90s")
		done <- result{r, err}
	}()
	p.untilBilled(t, pages/4)
	p.flushRedis(t)
	p.untilBilled(t, 2*pages)
	p.kill()
	p = startDev(t, "--data", data)
	require.NoError(t, p.save(ready))
	got := <-done
	require.NoError(t, got.err, "%v", got.report.Violations)
	requirePass(t, got.report, pages)
	require.Positive(t, got.report.Cut, "the kill came after the run")
	require.Contains(t, p.requireAudit(t), "clean")
	p.stop(t)
}

// untilBilled waits until the database has so many events.
func (p *program) untilBilled(t *testing.T, events int) {
	t.Helper()
	require.Eventually(t, func() bool {
		sum := 0
		for _, n := range p.billed(t) {
			sum += n
		}
		return sum >= events
	}, 2*time.Minute, 50*time.Millisecond)
}

// flushRedis empties Redis and waits until the index is there again, in full.
func (p *program) flushRedis(t *testing.T) {
	t.Helper()
	client, err := index.Open(p.RedisURL)
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close()) }()
	ads := func() int {
		s, err := index.Load(t.Context(), client, modelBounds())
		if errors.Is(err, index.ErrNoIndex) {
			return 0
		}
		require.NoError(t, err)
		return s.Index.Len()
	}
	before := ads()
	require.Greater(t, before, 10)
	require.NoError(t, client.FlushAll(t.Context()).Err())
	flushed := time.Now()
	require.Eventually(t, func() bool { return ads() == before }, 10*time.Second, 10*time.Millisecond, "the index must be back within 10 s")
	t.Logf("the index was back %v after FLUSHALL", time.Since(flushed).Round(time.Millisecond))
}
