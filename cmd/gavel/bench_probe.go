package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"gavel/internal/targetbench"
	"gavel/targeting"
)

// probe is an ad of an account of its own that only the probe's request can win. Its title says which change it is: whether it wins
// also depends on money, what it says when it wins does not.
type probe struct {
	api      client // as an operator
	feed     client
	base     string // of the account
	ad       string
	interest string
	version  int
}

// probeBid is above what any generated ad is worth: 2,000.00 per 1,000 impressions.
const probeBid = 2_000_000_000

func newProbe(ctx context.Context, n *node, a access) (*probe, error) {
	url := "http://" + n.adsAddr.String()
	p := &probe{
		api: client{base: url, key: a.OperatorKey, http: http.Client{Timeout: callTimeout}}, interest: "gavel-bench-probe",
		feed: client{base: url, key: a.FeedKey, http: http.Client{Timeout: callTimeout}},
	}
	if err := n.ring.Refresh(ctx); err != nil {
		return nil, err
	}
	var account struct {
		ID string `json:"id"`
	}
	in := map[string]any{"name": "Probe", "country": "US", "currency": "USD", "time_zone": "UTC"}
	if err := p.api.post(ctx, "/v5/ad_accounts", in, &account); err != nil {
		return nil, err
	}
	p.base = "/v5/ad_accounts/" + account.ID
	campaignID, err := p.api.create(ctx, p.base+"/campaigns", map[string]any{"ad_account_id": account.ID, "name": "Probe", "objective_type": "AWARENESS"})
	if err != nil {
		return nil, err
	}
	group, err := p.api.create(ctx, p.base+"/ad_groups", map[string]any{
		"campaign_id": campaignID, "name": "Probe", "billable_event": "IMPRESSION", "bid_in_micro_currency": int64(probeBid), "budget_type": "DAILY",
		"budget_in_micro_currency": int64(1e12), "targeting_spec": map[string]any{"INTEREST": []string{p.interest}},
	})
	if err != nil {
		return nil, err
	}
	p.ad, err = p.api.create(ctx, p.base+"/ads", map[string]any{
		"ad_group_id": group, "creative_type": "REGULAR", "name": "Probe", "title": p.title(), "destination_url": "https://probe.example/",
	})
	if err != nil {
		return nil, err
	}
	_, err = p.untilSeen(ctx)
	return p, err
}

func (p *probe) title() string { return "version " + strconv.Itoa(p.version) }

// seenWithin is how long an auction may take to see a change before that is an error.
const seenWithin = time.Minute

// change gives the ad another title through the API, and returns how long after the API's answer the first auction served it.
func (p *probe) change(ctx context.Context) (time.Duration, error) {
	p.version++
	var answer created
	if err := p.api.send(ctx, http.MethodPatch, p.base+"/ads", []any{map[string]any{"id": p.ad, "title": p.title()}}, &answer); err != nil {
		return 0, err
	}
	if len(answer.Items) != 1 || len(answer.Items[0].Exceptions) > 0 {
		return 0, fmt.Errorf("PATCH %s/ads: %+v", p.base, answer.Items)
	}
	return p.untilSeen(ctx)
}

// untilSeen asks for ads every other millisecond until the ad comes with its title, and returns how long it took until that request left.
func (p *probe) untilSeen(ctx context.Context) (d time.Duration, err error) {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, seenWithin, fmt.Errorf("no auction has seen a change of ad %s within %v", p.ad, seenWithin))
	defer cancel()
	err = until(ctx, func(ctx context.Context) error {
		d = time.Since(began)
		return p.serves(ctx)
	})
	return d, err
}

// won is the answer to an ad request.
type won struct {
	Ads []struct {
		AdID     string `json:"ad_id"`
		Creative struct {
			Title string `json:"title"`
		} `json:"creative"`
	} `json:"ads"`
}

var errNotSeen = errors.New("the probe is not served as it is now")

func (p *probe) serves(ctx context.Context) error {
	var answer won
	err := p.feed.post(ctx, "/v1/ads", map[string]any{
		"placement": "BROWSE", "slots": []any{map[string]any{"id": "s", "position": 3}}, "user": map[string]any{"id": "probe", "interests": []string{p.interest}},
	}, &answer)
	if err == nil && (len(answer.Ads) != 1 || answer.Ads[0].AdID != p.ad || answer.Ads[0].Creative.Title != p.title()) {
		return errNotSeen
	}
	return err
}

// load is what happens to a node for a while: auctions, matches, changes, and probes of how soon a change is seen.
type load struct {
	bench *indexBench
	node  *node
	probe *probe

	matches, auctions, seen []time.Duration
	changed                 int
	took                    time.Duration
}

// How often each happens. The cores are shared with Postgres and Redis, so none of them goes as fast as it can.
const (
	matchEvery   = 2 * time.Millisecond
	auctionEvery = 10 * time.Millisecond
	changeEvery  = 50 * time.Millisecond
	probeEvery   = 100 * time.Millisecond
)

// run loads the node until ctx ends, which is no error.
func (l *load) run(ctx context.Context, rate int) error {
	began := time.Now()
	queries := l.bench.source.Queries(2000)
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return l.match(running, queries) })
	group.Go(func() error { return l.ask(running, queries) })
	group.Go(func() error { return l.changes(running) })
	if rate > 0 {
		group.Go(func() error { return l.change(running, rate) })
	}
	err := group.Wait()
	l.took = time.Since(began)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) { // the time was up in the middle of something
		return nil
	}
	return err
}

func (l *load) report(when string) {
	b := l.bench
	if l.changed > 0 {
		b.add("ads changed in Postgres, "+when, float64(l.changed)/l.took.Seconds(), "1/s")
	}
	b.percentiles("best 200 matched (thread CPU), "+when, l.matches, time.Microsecond, "µs")
	b.percentiles("POST /v1/ads (wall), "+when, l.auctions, time.Millisecond, "ms")
	b.percentiles("from the API's answer to the first auction that sees it, "+when, l.seen, time.Millisecond, "ms")
	b.add("changes seen by a probe, "+when, float64(len(l.seen)), "probes")
}

// every calls do at a fixed rate until ctx ends; what is late is not made up for.
func every(ctx context.Context, d time.Duration, do func() error) error {
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
		if err := do(); err != nil {
			return err
		}
	}
}

// match times the replica of the node as it is.
func (l *load) match(ctx context.Context, queries []*targeting.Query) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const best = 200
	dst := make([]*targeting.Ad, 0, best)
	i := 0
	return every(ctx, matchEvery, func() error {
		ix := l.node.replica.Current()
		q := queries[i%len(queries)]
		i++
		began := targetbench.ThreadTime()
		dst = ix.Match(q, best, dst[:0])
		l.matches = append(l.matches, targetbench.ThreadTime()-began)
		return nil
	})
}

// ask times whole requests.
func (l *load) ask(ctx context.Context, queries []*targeting.Query) error {
	i := 0
	return every(ctx, auctionEvery, func() error {
		q := queries[i%len(queries)]
		i++
		began := time.Now()
		var answer won
		if err := l.probe.feed.post(ctx, "/v1/ads", requestOf(q, i), &answer); err != nil {
			return err
		}
		l.auctions = append(l.auctions, time.Since(began))
		return nil
	})
}

// requestOf is a query as a feed service asks it. The audiences are those of the user in Redis: none.
func requestOf(q *targeting.Query, user int) map[string]any {
	u := map[string]any{"id": "u" + strconv.Itoa(user%1000), "country": q.Country, "region": q.Region, "gender": q.Gender, "locale": q.Locale, "interests": q.Interests}
	if q.Age > 0 {
		u["age"] = q.Age
	}
	return map[string]any{
		"placement": q.Placement, "slots": []any{map[string]any{"id": "s1", "position": 3}, map[string]any{"id": "s2", "position": 9}}, "user": u,
		"device": map[string]any{"app_type": q.AppType}, "context": map[string]any{"query": q.SearchQuery, "keywords": q.Keywords},
	}
}

func (l *load) changes(ctx context.Context) error {
	return every(ctx, probeEvery, func() error {
		d, err := l.probe.change(ctx)
		if err == nil {
			l.seen = append(l.seen, d)
		}
		return err
	})
}

// change moves bids, a batch at a time, as many ads per second as asked for.
func (l *load) change(ctx context.Context, rate int) error {
	r := rand.New(rand.NewPCG(l.bench.Seed, 99)) //nolint:gosec // the same changes in every run
	began := time.Now()
	return every(ctx, changeEvery, func() error {
		var groups []int
		due := int(time.Since(began).Seconds()*float64(rate)) - l.changed
		for due > 0 && len(groups) < l.bench.loaded.AdGroups() {
			g := r.IntN(l.bench.loaded.AdGroups())
			groups = append(groups, g)
			due -= l.bench.loaded.AdsOf(g)
			l.changed += l.bench.loaded.AdsOf(g)
		}
		if len(groups) == 0 {
			return nil
		}
		return l.bench.loaded.ChangeBids(ctx, groups)
	})
}
