package torture

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"gavel/internal/devstack"
)

const (
	redisDownFor   = 3 * time.Second
	flushes        = 3
	flushEvery     = 5 * time.Second
	dumpAge        = 10 * time.Second
	fullMemoryFor  = 15 * time.Second
	stalledFor     = 5 * time.Second
	scriptFlushFor = 15 * time.Second
	noticedWithin  = 10 * time.Second
	restoreBatch   = 500
)

// redisFaults are what happens to Redis.
func redisFaults() []Fault {
	return []Fault{
		{Name: "redis-kill-9", About: fmt.Sprintf("kill -9 of Redis, %d times, started again, empty, after %v", crashes, redisDownFor), Run: killRedis},
		{Name: "redis-flushall", About: fmt.Sprintf("FLUSHALL, %d times, every %v", flushes, flushEvery), Short: true, Run: flushRedis},
		{Name: "redis-old-dump", About: fmt.Sprintf("all keys replaced by a dump of %v ago; a campaign that was paused meanwhile serves again until that is noticed", dumpAge), Run: restoreOldDump},
		{Name: "redis-out-of-memory", About: fmt.Sprintf("maxmemory below what is used, noeviction, for %v", fullMemoryFor), Run: fillRedis},
		{Name: "redis-stalled-5s", About: fmt.Sprintf("Redis does not answer for %v, as with DEBUG SLEEP (by SIGSTOP: DEBUG is locked by default)", stalledFor), Run: stallRedis},
		{Name: "redis-script-flush", About: fmt.Sprintf("SCRIPT FLUSH every second for %v", scriptFlushFor), Run: flushScripts},
	}
}

func killRedis(ctx context.Context, w *World) error {
	for range crashes {
		if err := w.RedisStack.Kill(devstack.Redis); err != nil {
			return fmt.Errorf("kill Redis: %w", err)
		}
		err := Wait(ctx, redisDownFor)
		if err = errors.Join(err, w.RedisStack.Restart(context.WithoutCancel(ctx), devstack.Redis)); err != nil {
			return fmt.Errorf("restart Redis: %w", err)
		}
		if err := Wait(ctx, redisDownFor); err != nil {
			return err
		}
	}
	return nil
}

func flushRedis(ctx context.Context, w *World) error {
	for i := range flushes {
		if i > 0 {
			if err := Wait(ctx, flushEvery); err != nil {
				return err
			}
		}
		if err := w.Redis.FlushAll(ctx).Err(); err != nil {
			return fmt.Errorf("FLUSHALL: %w", err)
		}
	}
	return nil
}

// dumped is one key as DUMP gives it.
type dumped struct {
	key, value string
	ttl        time.Duration // 0: none
}

// restoreOldDump puts back what was there some time ago, as an operator with a backup would. What has changed meanwhile is lost
// in Redis: a campaign is paused, and users have seen ads. It must be found out, or the campaign stays on the pages for good.
func restoreOldDump(ctx context.Context, w *World) error {
	dump, err := dumpRedis(ctx, w.Redis)
	if err != nil {
		return err
	}
	shown := servedAds(w, 2*time.Second)
	i := slices.IndexFunc(w.Campaigns, func(k Campaign) bool { return shown[k.Ad] > 0 })
	if i < 0 {
		return errors.New("no ad was served before")
	}
	if err := setStatus(ctx, w, &w.Campaigns[i], "PAUSED"); err != nil {
		return err
	}
	if err := Wait(ctx, dumpAge); err != nil {
		return err
	}
	before := servedAds(w, dumpAge/2)[w.Campaigns[i].Ad]
	if err := replaceRedis(ctx, w.Redis, dump); err != nil {
		return err
	}
	if err := Wait(ctx, noticedWithin); err != nil {
		return err
	}
	after := servedAds(w, noticedWithin/2)[w.Campaigns[i].Ad]
	w.Log("the paused ad was served %d times before the dump came back, and %d times from %v after it", before, after, noticedWithin/2)
	if before+after > 0 {
		err = errors.New("a paused campaign is served")
	}
	return errors.Join(err, setStatus(ctx, w, &w.Campaigns[i], "ACTIVE"))
}

// setStatus changes a campaign through the API.
func setStatus(ctx context.Context, w *World, k *Campaign, status string) error {
	body := map[string]any{"id": strconv.FormatInt(k.Campaign, 10), "status": status}
	_, err := w.API(0).SendBatch(ctx, http.MethodPatch, fmt.Sprintf("/v5/ad_accounts/%d/campaigns", k.Account), []any{body})
	return err
}

// servedAds counts how often each ad was served in the time that has just passed.
func servedAds(w *World, last time.Duration) map[int64]int {
	n, since := map[int64]int{}, time.Now().Add(-last)
	for _, s := range w.Diary.Served() {
		if s.At.After(since) {
			n[s.Ad]++
		}
	}
	return n
}

// replaceRedis empties Redis and fills it with a dump.
func replaceRedis(ctx context.Context, client *goredis.Client, dump []dumped) error {
	if err := client.FlushAll(ctx).Err(); err != nil {
		return fmt.Errorf("FLUSHALL: %w", err)
	}
	for len(dump) > 0 {
		n := min(len(dump), restoreBatch)
		pipe := client.Pipeline()
		for _, d := range dump[:n] {
			pipe.RestoreReplace(ctx, d.key, d.ttl, d.value)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return fmt.Errorf("restore dump: %w", err)
		}
		dump = dump[n:]
	}
	return nil
}

func dumpRedis(ctx context.Context, client *goredis.Client) ([]dumped, error) {
	var dump []dumped
	for keys := client.Scan(ctx, 0, "*", 1000).Iterator(); ; {
		if !keys.Next(ctx) {
			if err := keys.Err(); err != nil {
				return nil, fmt.Errorf("scan keys: %w", err)
			}
			if len(dump) == 0 {
				return nil, errors.New("there is nothing to dump")
			}
			return dump, nil
		}
		value, err := client.Dump(ctx, keys.Val()).Result()
		if errors.Is(err, goredis.Nil) {
			continue // expired meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("dump key: %w", err)
		}
		ttl, err := client.PTTL(ctx, keys.Val()).Result()
		if err != nil {
			return nil, fmt.Errorf("read TTL: %w", err)
		}
		dump = append(dump, dumped{keys.Val(), value, max(0, ttl)})
	}
}

// fillRedis leaves Redis as when its memory is used up: it answers reads, and every write with an error.
func fillRedis(ctx context.Context, w *World) (err error) {
	used, err := usedMemory(ctx, w.Redis)
	if err != nil {
		return err
	}
	before, err := w.Redis.ConfigGet(ctx, "maxmemory*").Result()
	if err != nil {
		return fmt.Errorf("read maxmemory: %w", err)
	}
	set := func(ctx context.Context, limit, policy string) error {
		return errors.Join(w.Redis.ConfigSet(ctx, "maxmemory-policy", policy).Err(), w.Redis.ConfigSet(ctx, "maxmemory", limit).Err())
	}
	defer func() {
		err = errors.Join(err, set(context.WithoutCancel(ctx), before["maxmemory"], before["maxmemory-policy"]))
	}()
	if err := set(ctx, strconv.FormatInt(used/2, 10), "noeviction"); err != nil {
		return fmt.Errorf("limit memory: %w", err)
	}
	if err := w.Redis.Set(ctx, "torture", "1", time.Second).Err(); err == nil {
		return errors.New("redis still takes writes")
	}
	return Wait(ctx, fullMemoryFor)
}

func usedMemory(ctx context.Context, client *goredis.Client) (int64, error) {
	info, err := client.Info(ctx, "memory").Result()
	if err != nil {
		return 0, fmt.Errorf("read used memory: %w", err)
	}
	for line := range strings.Lines(info) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); ok {
			return strconv.ParseInt(text, 10, 64)
		}
	}
	return 0, errors.New("INFO has no used_memory")
}

func stallRedis(ctx context.Context, w *World) error {
	if err := signalService(w.RedisStack, devstack.Redis, sigStop); err != nil {
		return err
	}
	err := Wait(ctx, stalledFor)
	return errors.Join(err, signalService(w.RedisStack, devstack.Redis, sigCont))
}

func flushScripts(ctx context.Context, w *World) error {
	for end := time.Now().Add(scriptFlushFor); time.Now().Before(end); {
		if err := w.Redis.ScriptFlush(ctx).Err(); err != nil {
			return fmt.Errorf("SCRIPT FLUSH: %w", err)
		}
		if err := Wait(ctx, time.Second); err != nil {
			return err
		}
	}
	return nil
}
