package event_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"gavel/budget"
	"gavel/event"
	"gavel/event/journal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bank is a committer in memory, with what an outage and a cut answer look like.
type bank struct {
	mu       sync.Mutex
	seen     map[budget.EventID]int
	down     bool
	cutNext  bool
	attempts int
}

func (b *bank) Commit(_ context.Context, events []budget.Event) ([]budget.Outcome, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.attempts++
	if b.down {
		return nil, errors.New("connection refused")
	}
	outcomes := make([]budget.Outcome, len(events))
	for i, e := range events {
		outcomes[i] = budget.Billed
		if b.seen[e.EventID] > 0 {
			outcomes[i] = budget.Duplicate
		} else {
			b.seen[e.EventID]++
		}
	}
	if b.cutNext {
		b.cutNext = false
		return nil, errors.New("connection reset after commit")
	}
	return outcomes, nil
}

func (b *bank) set(f func(*bank)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(b)
}

func (b *bank) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.seen)
}

type node struct {
	in      *event.Ingest
	biller  *event.Biller
	clock   *event.Clock
	journal *journal.Journal
	outcome map[budget.Outcome]int
	ages    []time.Duration
	views   map[uuid.UUID]bool // the impressions that were to be counted
	mu      sync.Mutex
}

func open(t *testing.T, dir string, b *bank, maxUnbilled int) *node {
	t.Helper()
	j, err := journal.Open(dir, journal.Options{})
	require.NoError(t, err)
	n := &node{journal: j, clock: event.NewClock(event.Ticks()), outcome: map[budget.Outcome]int{}, views: map[uuid.UUID]bool{}}
	n.in, err = event.NewIngest(event.IngestConfig{
		Keys: keys(t, keyText("1", 1)), Clock: n.clock, Journal: j, MaxUnbilled: maxUnbilled,
		Fatal: func(err error) { t.Errorf("fatal: %v", err) },
	})
	require.NoError(t, err)
	n.clock.Raise(n.in.Newest())
	n.clock.Raise(time.Now())
	n.biller = event.NewBiller(event.BillerConfig{
		Ingest: n.in, Committer: b, Views: n, Clicked: n.clicked, MaxBatch: 100, CommitTimeout: time.Second, Retry: time.Millisecond, Log: slog.New(slog.DiscardHandler),
		Observe: func(counts map[budget.Outcome]int, _ time.Duration) {
			n.mu.Lock()
			defer n.mu.Unlock()
			for o, c := range counts {
				n.outcome[o] += c
			}
		},
	})
	return n
}

func (n *node) clicked(age time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ages = append(n.ages, age)
}

// CountViews implements event.ViewCounter.
func (n *node) CountViews(_ context.Context, views []event.View) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, v := range views {
		n.views[v.ImpressionID] = true
	}
	return nil
}

// crash leaves everything as a kill would: nothing is billed, trimmed or drained.
func (n *node) crash(t *testing.T) {
	t.Helper()
	n.in.Wait()
	require.NoError(t, n.journal.Close())
}

func impression(t *testing.T, exp time.Time) []byte {
	t.Helper()
	tok := token(exp)
	tok.ImpressionID, tok.Kind = uuid.New(), budget.Impression
	return keys(t, keyText("1", 1)).Seal(nil, tok)
}

func TestAcceptedEventsSurviveACrashAndAreBilledOnce(t *testing.T) {
	t.Parallel()
	dir, b := t.TempDir(), &bank{seen: map[budget.EventID]int{}}
	n := open(t, dir, b, 1000)
	exp := time.Now().Add(time.Hour)
	var wg sync.WaitGroup
	for range 200 {
		text := impression(t, exp)
		wg.Go(func() {
			if _, err := n.in.Accept(t.Context(), text, budget.Impression); err != nil {
				t.Errorf("accept: %v", err)
			}
		})
	}
	wg.Wait()
	before := n.in.Watermark()
	n.crash(t)

	n = open(t, dir, b, 1000)
	require.Equal(t, 200, n.in.Unbilled())
	require.False(t, n.in.Watermark().After(before), "nothing is billed yet, so the watermark may not move")
	b.set(func(b *bank) { b.cutNext = true })
	require.NoError(t, n.biller.Drain(t.Context()))
	require.Equal(t, 200, b.count())
	require.Equal(t, 100, n.outcome[budget.Duplicate], "the batch whose answer was cut is found again")
	require.Len(t, n.views, 200, "and its impressions are counted, though they were billed before")
	require.Zero(t, n.in.Unbilled())
	require.True(t, n.in.Watermark().After(before))
	n.crash(t)

	n = open(t, dir, b, 1000)
	require.NoError(t, n.biller.Drain(t.Context()))
	require.Equal(t, 200, b.count(), "what stayed in the journal is a duplicate")
	n.crash(t)
}

func TestTheBillerTellsHowOldClickedImpressionsAre(t *testing.T) {
	t.Parallel()
	b := &bank{seen: map[budget.EventID]int{}}
	n := open(t, t.TempDir(), b, 1000)
	tok := token(time.Now().Add(time.Hour))
	tok.Kind, tok.ImpressionID = budget.Click, event.NewImpressionID(n.clock.Now().Add(-time.Minute))
	text := keys(t, keyText("1", 1)).Seal(nil, tok)
	for range 2 { // the second one is a duplicate
		_, err := n.in.Accept(t.Context(), text, budget.Click)
		require.NoError(t, err)
	}
	_, err := n.in.Accept(t.Context(), impression(t, time.Now().Add(time.Hour)), budget.Impression)
	require.NoError(t, err)
	require.NoError(t, n.biller.Drain(t.Context()))
	require.Len(t, n.ages, 1)
	require.InDelta(t, time.Minute, n.ages[0], float64(5*time.Second))
	n.crash(t)
}

func TestABillerOutlivesAnOutage(t *testing.T) {
	t.Parallel()
	b := &bank{seen: map[budget.EventID]int{}, down: true}
	n := open(t, t.TempDir(), b, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = n.biller.Run(ctx) }()
	_, err := n.in.Accept(ctx, impression(t, time.Now().Add(time.Hour)), budget.Impression)
	require.NoError(t, err, "an outage of Postgres is not the browser's problem")
	require.Eventually(t, func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.attempts > 3 }, 5*time.Second, time.Millisecond)
	b.set(func(b *bank) { b.down = false })
	require.Eventually(t, func() bool { return b.count() == 1 }, 5*time.Second, time.Millisecond)
	cancel()
	<-done
	n.crash(t)
}

func TestAFullJournalRefusesBeforeItAcknowledges(t *testing.T) {
	t.Parallel()
	b := &bank{seen: map[budget.EventID]int{}, down: true}
	n := open(t, t.TempDir(), b, 3)
	exp := time.Now().Add(time.Hour)
	for range 3 {
		_, err := n.in.Accept(t.Context(), impression(t, exp), budget.Impression)
		require.NoError(t, err)
	}
	_, err := n.in.Accept(t.Context(), impression(t, exp), budget.Impression)
	require.ErrorIs(t, err, event.ErrFull)
	n.crash(t)
}

func TestAcceptRefusesOtherKindsAndExpiredTokens(t *testing.T) {
	t.Parallel()
	n := open(t, t.TempDir(), &bank{}, 10)
	_, err := n.in.Accept(t.Context(), impression(t, time.Now().Add(time.Hour)), budget.Click)
	require.ErrorIs(t, err, event.ErrForged)
	_, err = n.in.Accept(t.Context(), impression(t, time.Now().Add(-time.Second)), budget.Impression)
	require.ErrorIs(t, err, event.ErrExpired)
	require.Zero(t, n.in.Unbilled())
	errs := n.in.AcceptAll(t.Context(), [][]byte{impression(t, time.Now().Add(time.Hour)), []byte("junk")}, budget.Impression)
	require.NoError(t, errs[0])
	require.ErrorIs(t, errs[1], event.ErrForged)
	n.crash(t)
}

func TestADirectoryHasOneOwnerAndOneNode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j, err := journal.Open(dir, journal.Options{})
	require.NoError(t, err)
	_, err = journal.Open(dir, journal.Options{})
	require.ErrorIs(t, err, journal.ErrInUse)
	id := j.NodeID()
	require.NoError(t, j.Close())
	j, err = journal.Open(dir, journal.Options{})
	require.NoError(t, err)
	require.Equal(t, id, j.NodeID())
	require.NoError(t, j.Close())
}

func TestTheClockNeverGoesBack(t *testing.T) {
	t.Parallel()
	tick := budget.Tick(7)
	c := event.NewClock(func() budget.Tick { return tick })
	c.Raise(noon)
	require.Equal(t, noon, c.Now())
	c.Raise(noon.Add(-time.Hour))
	require.Equal(t, noon, c.Now())
	c.Raise(noon.Add(time.Hour))
	require.Equal(t, noon.Add(time.Hour), c.Now())
	tick = tick.Add(time.Second)
	require.Equal(t, noon.Add(time.Hour+time.Second), c.Now())
}

// TestDamageInTheMiddleRefusesToStart flips one bit of a record that was accepted: it must not be skipped in silence.
func TestDamageInTheMiddleRefusesToStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := open(t, dir, &bank{down: true}, 10)
	for range 3 {
		_, err := n.in.Accept(t.Context(), impression(t, time.Now().Add(time.Hour)), budget.Impression)
		require.NoError(t, err)
	}
	second, err := n.journal.Read(2)
	require.NoError(t, err)
	n.crash(t)
	files, err := filepath.Glob(filepath.Join(dir, "wal", "*.wal"))
	require.NoError(t, err)
	text, err := os.ReadFile(files[0])
	require.NoError(t, err)
	at := bytes.Index(text, second)
	require.Positive(t, at)
	text[at+30] ^= 1
	require.NoError(t, os.WriteFile(files[0], text, 0o600))

	_, err = journal.Open(dir, journal.Options{})
	require.ErrorIs(t, err, event.ErrDamaged)
	require.ErrorContains(t, err, "copy the directory away")
}

// full is a journal whose disk has no room.
type full struct{ *journal.Journal }

func (full) Full() error { return fmt.Errorf("%w: no room", event.ErrFull) }

func TestAFullDiskRefusesBeforeItAcknowledges(t *testing.T) {
	t.Parallel()
	n := open(t, t.TempDir(), &bank{}, 10)
	in, err := event.NewIngest(event.IngestConfig{Keys: keys(t, keyText("1", 1)), Clock: n.clock, Journal: full{n.journal}, MaxUnbilled: 10})
	require.NoError(t, err)
	_, err = in.Accept(t.Context(), impression(t, time.Now().Add(time.Hour)), budget.Impression)
	require.ErrorIs(t, err, event.ErrFull)
	require.ErrorIs(t, in.Full(), event.ErrFull)
	require.Zero(t, in.Unbilled())
	_, last, err := n.journal.Bounds()
	require.NoError(t, err)
	require.Zero(t, last)
	require.NoError(t, n.in.Full())
	n.crash(t)
}
