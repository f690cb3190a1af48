package campaign

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// KeyRing knows every live key without asking a database: a snapshot that [KeyRing.Run] refreshes. While the source is down
// it keeps the last one. It is safe for concurrent use.
type KeyRing struct {
	source LiveKeySource
	log    *slog.Logger
	keys   atomic.Pointer[map[KeyHash]Principal]
}

const (
	// KeyRingInterval is how often the snapshot is refreshed: how long a revoked key may still work.
	KeyRingInterval = 2 * time.Second
	// keyRingTimeout bounds one refresh.
	keyRingTimeout = 5 * time.Second
)

// NewKeyRing returns an empty ring: it knows nobody until [KeyRing.Refresh] or [KeyRing.Run].
func NewKeyRing(source LiveKeySource, log *slog.Logger) *KeyRing {
	r := &KeyRing{source: source, log: log}
	r.keys.Store(&map[KeyHash]Principal{})
	return r
}

// Refresh replaces the snapshot, or keeps it and returns why.
func (r *KeyRing) Refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, keyRingTimeout)
	defer cancel()
	keys, err := r.source.LiveKeys(ctx)
	if err != nil {
		return fmt.Errorf("refresh keys: %w", err)
	}
	r.keys.Store(&keys)
	return nil
}

// Run refreshes the snapshot at once and then every [KeyRingInterval], until ctx ends. Failures are logged when they begin
// and when they end.
func (r *KeyRing) Run(ctx context.Context) {
	tick := time.NewTicker(KeyRingInterval)
	defer tick.Stop()
	failing := false
	for {
		err := r.Refresh(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			r.log.WarnContext(ctx, "keys are not refreshed; the last ones stay valid", "error", err)
		case err == nil && failing:
			r.log.InfoContext(ctx, "keys are refreshed again")
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// longestKey is longer than any key: gvl_advertiser_ and 43 characters.
const longestKey = 96

// Lookup returns who holds the key. It takes the same time for every unknown key of one length: what is compared is a hash
// that the caller cannot steer.
func (r *KeyRing) Lookup(bearer string) (Principal, bool) {
	if bearer == "" || len(bearer) > longestKey {
		return Principal{}, false
	}
	var buf [longestKey]byte
	n := copy(buf[:], bearer)
	p, ok := (*r.keys.Load())[sha256.Sum256(buf[:n])]
	return p, ok
}
