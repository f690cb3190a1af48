package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"gavel/auction"
	"gavel/budget"
	bank "gavel/budget/postgres"
	campaigns "gavel/campaign/postgres"
	"gavel/event"
	"gavel/internal/telemetry/span"
	"gavel/targeting"
	"gavel/targeting/indexer"
	index "gavel/targeting/redis"
)

// What the ports of one package and the adapters of another call differently meets here.

var (
	_ auction.Ads        = readyAds{}
	_ auction.UserLoader = knownUsers{}
	_ event.Committer    = tracedBank{}
	_ event.ViewCounter  = views{}
)

// readyAds is the replica, or nothing while no index was ever loaded.
type readyAds struct {
	replica  *targeting.Replica
	follower *index.Follower
}

func (a readyAds) Current() *targeting.Index {
	if a.follower.Ready(context.Background()) != nil {
		return nil
	}
	return a.replica.Current()
}

// maxLag is how far the replica may be behind the index while users are known: well below the time after which the members of a list
// that was replaced are gone from Redis.
const maxLag = campaigns.CleanAfter / 2

var errBehind = errors.New("the replica is too far behind the index to tell who is in an audience")

// knownUsers are the users, as long as the replica is close to the index. One that is not may take an old list for an audience's,
// and those who are excluded for nobody's members once that list is cleaned away.
type knownUsers struct {
	users  auction.UserLoader
	status func() index.Status // of the follower
}

func (u knownUsers) LoadUser(ctx context.Context, userHash int64) (targeting.UserState, error) {
	if lag := u.status().LagMS; lag < 0 || lag > maxLag.Milliseconds() {
		return targeting.UserState{}, errBehind
	}
	return u.users.LoadUser(ctx, userHash)
}

// views checks impressions against the frequency caps of their ads and counts them in Redis. Ad groups without a cap are not
// counted. An ad that is no longer served may have one: it is counted without a check.
type views struct {
	users   *index.Users
	replica *targeting.Replica
	observe func(counted []index.Counted)
}

func (v views) CountViews(ctx context.Context, list []event.View) error {
	ix := v.replica.Current()
	impressions := make([]index.Impression, 0, len(list))
	for _, view := range list {
		imp := index.Impression{UserHash: view.UserHash, AdGroupID: view.AdGroupID, ID: view.ImpressionID}
		if ad, served := ix.Ad(view.AdID); served {
			if imp.Cap = ad.FrequencyCap; imp.Cap == 0 {
				continue
			}
		}
		impressions = append(impressions, imp)
	}
	counted, err := v.users.RecordImpressions(ctx, impressions)
	if err != nil {
		return err
	}
	v.observe(counted)
	return nil
}

// tracedBank gives each billing batch a trace of its own.
type tracedBank struct {
	bank  *bank.Node
	trace span.Tracer
}

func (b tracedBank) Commit(ctx context.Context, events []budget.Event) ([]budget.Outcome, error) {
	ctx, sp := b.trace.StartRoot(ctx, "postgres.CommitBatch")
	defer sp.End()
	sp.Int("gavel.events", len(events))
	outcomes, err := b.bank.Commit(ctx, events)
	sp.Fail(err)
	return outcomes, err
}

// lead lends the indexer the advisory lock.
func lead(serving *campaigns.Serving) indexer.LeadFunc {
	return func(ctx context.Context) (indexer.Lead, bool, error) {
		l, ok, err := serving.LeadIndexer(ctx)
		if err != nil || !ok {
			return indexer.Lead{}, ok, err
		}
		return indexer.Lead{Epoch: l.Epoch, Lost: l.Lost, Close: l.Close}, true, nil
	}
}

// trusted tells whose traceparent is followed: that of feed services and advertisers, not that of any browser.
func trusted(path []byte) bool {
	return bytes.HasPrefix(path, []byte("/v1/ads")) || bytes.HasPrefix(path, []byte("/v5/"))
}

// redisLog takes what the Redis client would write to standard error. A Redis that is away is told of elsewhere, once.
type redisLog struct{ log *slog.Logger }

func (l redisLog) Printf(ctx context.Context, format string, args ...any) {
	l.log.DebugContext(ctx, fmt.Sprintf(format, args...))
}
