package redis_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/internal/testenv"
	"gavel/targeting"
	"gavel/targeting/redis"
)

// BenchmarkBoot is the time from an empty node to a replica of 100,000 ads.
func BenchmarkBoot(b *testing.B) {
	client := open(b, testenv.Redis(b))
	e := &env{client: client, store: redis.NewStore(client)}
	start := time.Now()
	e.publish(b, 1, "g1", rowsOf(100_000))
	b.Logf("100,000 ads built and published in %v", time.Since(start))
	for b.Loop() {
		replica := &targeting.Replica{}
		f := redis.NewFollower(redis.FollowerConfig{
			Client: client, Replica: replica, Bounds: bounds, Log: slog.New(slog.DiscardHandler), Now: time.Now,
		})
		ctx, cancel := context.WithCancel(b.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = f.Run(ctx) })
		for f.Ready(ctx) != nil {
			<-time.After(time.Millisecond)
		}
		cancel()
		running.Wait()
		require.Equal(b, 100_000, replica.Current().Len())
	}
}

// BenchmarkChangeToReplica is the time from an accepted change to the replica that has it, at 100,000 ads.
func BenchmarkChangeToReplica(b *testing.B) {
	client := open(b, testenv.Redis(b))
	e := &env{client: client, store: redis.NewStore(client), replica: &targeting.Replica{}}
	e.publish(b, 1, "g1", rowsOf(100_000))
	e.follower = redis.NewFollower(redis.FollowerConfig{
		Client: client, Replica: e.replica, Bounds: bounds, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = e.follower.Run(ctx) })
	defer running.Wait()
	defer cancel()
	e.serves(b, "g1", 0, 100_000)
	bid := anAd(1, 2000)
	worst := time.Duration(0)
	for b.Loop() {
		bid.BidMicros++
		start := time.Now()
		e.apply(b, 1, "g1", []campaign.ServingAd{bid})
		for {
			if ad, found := e.replica.Current().Ad(1); found && ad.BidMicros == bid.BidMicros {
				break
			}
			<-time.After(time.Millisecond)
		}
		worst = max(worst, time.Since(start))
	}
	b.ReportMetric(float64(worst.Milliseconds()), "worst-ms")
}
