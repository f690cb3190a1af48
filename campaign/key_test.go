package campaign

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// switchedSource answers live keys until it is switched off.
type switchedSource struct {
	mu    sync.Mutex
	keys  map[KeyHash]Principal
	err   error
	asked int
}

func (s *switchedSource) LiveKeys(context.Context) (map[KeyHash]Principal, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return s.keys, s.err
}

func (s *switchedSource) set(keys map[KeyHash]Principal, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys, s.err = keys, err
}

func TestKeyTextIsTheRoleAnd256Bits(t *testing.T) {
	t.Parallel()
	text, err := newKeyText(RoleAdvertiser, bytes.NewReader(bytes.Repeat([]byte{0xFB}, 32)))
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(text, "gvl_advertiser_"))
	require.Len(t, strings.TrimPrefix(text, "gvl_advertiser_"), 43)
	require.Less(t, len(text), longestKey)

	_, err = newKeyText(RoleFeed, bytes.NewReader(make([]byte, 31)))
	require.Error(t, err, "a short read must not make a weak key")
}

func TestKeyRules(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   KeyInput
		want []string
	}{
		{KeyInput{Name: "feed", Role: RoleFeed, MayExplain: true}, []string{}},
		{KeyInput{Name: "a", Role: RoleAdvertiser, AdAccountID: 5}, []string{}},
		{KeyInput{Name: "a", Role: RoleAdvertiser}, []string{"ad_account_id"}},
		{KeyInput{Name: "o", Role: RoleOperator, AdAccountID: 5}, []string{"ad_account_id"}},
		{KeyInput{Role: "ROOT"}, []string{"name", "role"}},
	} {
		_, problems := newKey(c.in)
		require.Equal(t, c.want, names(problems), "%+v", c.in)
	}
}

func TestKeyRingFollowsItsSourceAndOutlivesIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &switchedSource{keys: map[KeyHash]Principal{HashKey("gvl_feed_a"): {KeyID: 1, Role: RoleFeed}}}
		var log bytes.Buffer
		ring := NewKeyRing(source, slog.New(slog.NewTextHandler(&log, nil)))
		_, ok := ring.Lookup("gvl_feed_a")
		require.False(t, ok, "an empty ring knows nobody")

		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { ring.Run(ctx) })
		synctest.Wait()
		p, ok := ring.Lookup("gvl_feed_a")
		require.True(t, ok)
		require.Equal(t, int64(1), p.KeyID)
		for _, wrong := range []string{"", "gvl_feed_b", "gvl_feed_a ", strings.Repeat("x", longestKey+1)} {
			_, ok = ring.Lookup(wrong)
			require.False(t, ok, wrong)
		}

		source.set(nil, errors.New("down"))
		<-time.After(3 * KeyRingInterval)
		synctest.Wait()
		_, ok = ring.Lookup("gvl_feed_a")
		require.True(t, ok, "the last snapshot stays while the source is down")
		require.Equal(t, 1, strings.Count(log.String(), "not refreshed"), "an outage is logged once")

		source.set(map[KeyHash]Principal{}, nil)
		<-time.After(KeyRingInterval)
		synctest.Wait()
		_, ok = ring.Lookup("gvl_feed_a")
		require.False(t, ok, "a revoked key ends")
		cancel()
		done.Wait()
	})
}

func TestLookupDoesNotAllocate(t *testing.T) {
	key := "gvl_advertiser_" + strings.Repeat("k", 43)
	ring := NewKeyRing(&switchedSource{keys: map[KeyHash]Principal{HashKey(key): {KeyID: 1}}}, slog.New(slog.DiscardHandler))
	require.NoError(t, ring.Refresh(t.Context()))
	allocs := testing.AllocsPerRun(100, func() {
		if _, ok := ring.Lookup(key); !ok {
			t.Fatal("unknown")
		}
	})
	require.LessOrEqual(t, allocs, 1.0)
}
