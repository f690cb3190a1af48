package torture

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"gavel/internal/netfault"
)

// processFaults are what happens to processes, and to tokens and budgets while they run.
func processFaults() []Fault {
	return []Fault{
		{
			Name: "baseline", About: "nothing happens", Short: true,
			Run: func(context.Context, *World) error { return nil },
		},
		{
			Name: "kill-9-one-node", About: "kill -9 of one node, 5 times, started again after 0.5 to 1.5 s",
			Run: func(ctx context.Context, w *World) error { return killAgainAndAgain(ctx, w, 5, w.Nodes[:1]) },
		},
		{
			Name: "kill-9-both-nodes", About: "kill -9 of both nodes at once, 5 times, started again after 0.5 to 1.5 s", Short: true,
			Run: func(ctx context.Context, w *World) error { return killAgainAndAgain(ctx, w, 5, w.Nodes) },
		},
		paused(time.Second, false),
		paused(10*time.Second, true),
		paused(time.Minute, false),
		{
			Name: "rolling-restart", About: "SIGTERM to one node after the other, twice; tokens of before come to nodes that start after",
			Run: rollingRestart,
		},
		{
			Name: "every-token-100-times", About: "each event is delivered 100 times, by both doors, to both nodes",
			Setup: func(p *Plan) { p.Env["GAVEL_EVENT_TTL"] = "10s" },
			Run:   everyToken100Times,
		},
		{
			Name: "last-nano", About: "64 clients at both nodes race for budgets of 5 impressions less one nano's worth, 6 times",
			Run: lastNano,
		},
		{
			Name: "budget-cut", About: "budgets are cut below what is spent and promised while they are spent; half of them are raised again", Short: true,
			Run: budgetCut,
		},
		{
			Name: "node-disk-destroyed", About: "a node without Postgres for 2 s is killed, its journal destroyed and the node fenced; an empty one takes its place",
			OverserveOK: true, Run: diskDestroyed,
		},
	}
}

// killAgainAndAgain kills the nodes at once, lets them be dead for a moment and starts them again.
func killAgainAndAgain(ctx context.Context, w *World, times int, nodes []*Node) error {
	for i := range times {
		var errs []error
		for _, n := range nodes {
			errs = append(errs, n.Kill())
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
		if err := Wait(ctx, 500*time.Millisecond+someOf(time.Second)); err != nil {
			return err
		}
		if err := w.StartNodes(ctx); err != nil {
			return fmt.Errorf("after kill %d: %w", i+1, err)
		}
		if err := Wait(ctx, 300*time.Millisecond+someOf(time.Second)); err != nil {
			return err
		}
	}
	return nil
}

// paused stops one node with SIGSTOP for d: it keeps its connections, its leases and its port.
func paused(d time.Duration, short bool) Fault {
	seconds := fmt.Sprintf("%.0f", d.Seconds())
	return Fault{
		Name: "pause-" + seconds + "s", About: "SIGSTOP of one node for " + seconds + " s", Short: short,
		Run: func(ctx context.Context, w *World) error {
			n := w.Nodes[0]
			if err := n.Pause(); err != nil {
				return err
			}
			return errors.Join(Wait(ctx, d), n.Resume())
		},
	}
}

func rollingRestart(ctx context.Context, w *World) error {
	const rest = 1500 * time.Millisecond
	for range 2 {
		for _, n := range w.Nodes {
			if err := n.Terminate(); err != nil {
				return err
			}
			if err := n.Start(ctx); err != nil {
				return err
			}
			if err := Wait(ctx, rest); err != nil {
				return err
			}
		}
	}
	return nil
}

// everyToken100Times serves fewer pages meanwhile, so that what arrives is as much as ever.
func everyToken100Times(ctx context.Context, w *World) error {
	const copies, lasts = 100, 8 * time.Second
	w.Load.SetRate(max(1, w.Plan.Rate/60))
	w.Load.SetCopies(copies)
	err := Wait(ctx, lasts)
	w.Load.SetCopies(1)
	if err := Wait(ctx, impressionWithin+viewableAfter+clickWithin+duplicateWithin); err != nil {
		return err
	}
	w.Load.SetRate(w.Plan.Rate)
	return err
}

// lastNano gives budgets that only the clients of this row can spend, and lets them all ask at once, again and again.
func lastNano(ctx context.Context, w *World) error {
	const rounds, clients, impressions, lasts, pause = 6, 64, 5, 3 * time.Second, 200 * time.Millisecond
	w.Load.SetRate(w.Plan.Rate / 4)
	defer w.Load.SetRate(w.Plan.Rate)
	api := w.API(0)
	for round := range rounds {
		audience := "race" + strconv.Itoa(round)
		k := planned{
			Campaign:  Campaign{Currency: w.Campaigns[0].Currency, TimeZone: w.Campaigns[0].TimeZone, Class: Scarce, BidMicros: 20 * dollar},
			interests: []string{audience}, budgetKind: daily,
		}
		// One micro is 1,000 nanos, and an impression costs at most 20,000,000: the fifth is not to be had at the full price.
		k.budget = k.BidMicros*impressions/nanosPerMicro - 1
		if err := seedAccount(ctx, api, accountCount+round, []*planned{&k}); err != nil {
			return err
		}
		w.Diary.Allow(k.Limits...)
		w.Campaigns = append(w.Campaigns, k.Campaign)
		var race sync.WaitGroup
		over := time.Now().Add(lasts)
		for range clients {
			race.Go(func() {
				for time.Now().Before(over) && Wait(ctx, someOf(2*pause)) == nil {
					w.Load.page(pageFor(audience))
				}
			})
		}
		race.Wait()
	}
	if err := Wait(ctx, w.LeaseTTL()); err != nil {
		return err
	}
	raced := 0
	for _, k := range w.Campaigns[campaignCount:] {
		posted, escrow, err := w.DB.Held(ctx, scopeAdGroup, k.AdGroup, daily)
		if err != nil {
			return err
		}
		w.Log("a budget of %d nanos: %d posted, %d in escrow", k.Limits[0].Micros*nanosPerMicro, posted, escrow)
		if posted > 0 {
			raced++
		}
	}
	if raced < rounds/2 {
		return fmt.Errorf("only %d of %d budgets were raced for", raced, rounds)
	}
	return nil
}

// budgetCut lowers daily budgets of ad groups that are being spent to half of what is spent, and looks that no more is promised.
func budgetCut(ctx context.Context, w *World) error {
	const cuts, lasts = 40, 3 * time.Second
	api := w.API(1)
	var list []*cut
	for i := range w.Campaigns {
		k := &w.Campaigns[i]
		if len(list) == cuts || k.CBO || k.Clicks || k.Class == Scarce || len(k.Limits) != 1 || k.Limits[0].Kind != daily {
			continue
		}
		posted, _, err := w.DB.Held(ctx, scopeAdGroup, k.AdGroup, daily)
		if err != nil {
			return err
		}
		if posted < 4*nanosPerMicro {
			continue // nothing to cut below
		}
		list = append(list, &cut{campaign: k, micros: posted / nanosPerMicro / 2})
	}
	if len(list) < cuts/2 {
		return fmt.Errorf("only %d budgets are being spent", len(list))
	}
	w.Log("cutting %d budgets", len(list))
	for _, c := range list {
		if err := c.set(ctx, api, c.micros); err != nil {
			return err
		}
		posted, escrow, err := w.DB.Held(ctx, scopeAdGroup, c.campaign.AdGroup, daily)
		if err != nil {
			return err
		}
		c.held = posted + escrow
		w.Diary.NoteCut(Limit{c.line(), c.micros}, c.held)
	}
	if err := Wait(ctx, lasts); err != nil {
		return err
	}
	for i, c := range list {
		posted, escrow, err := w.DB.Held(ctx, scopeAdGroup, c.campaign.AdGroup, daily)
		if err != nil {
			return err
		}
		if posted+escrow > c.held {
			w.Diary.Blame(fmt.Sprintf("CUT: ad group %d: %d nanos were posted and in escrow after the cut, %d are a moment later", c.campaign.AdGroup, c.held, posted+escrow))
		}
		if i%2 == 1 {
			continue // this one stays cut to the end of the row
		}
		up := Limit{c.line(), c.campaign.Limits[0].Micros}
		w.Diary.Allow(up)
		if err := c.set(ctx, api, up.Micros); err != nil {
			return err
		}
	}
	return nil
}

// cut is a budget that is lowered. held is what was posted and in escrow just after.
type cut struct {
	campaign *Campaign
	micros   int64
	held     int64
}

func (c *cut) line() Line { return Line{scopeAdGroup, c.campaign.AdGroup, daily} }

// set changes the budget through the API; as any client, it tries again when the database was too busy.
func (c *cut) set(ctx context.Context, api *API, micros int64) error {
	const tries = 5
	path := fmt.Sprintf("/v5/ad_accounts/%d/ad_groups", c.campaign.Account)
	change := map[string]any{"id": strconv.FormatInt(c.campaign.AdGroup, 10), "budget_in_micro_currency": max(1, micros)}
	for try := 1; ; try++ {
		_, err := api.SendBatch(ctx, http.MethodPatch, path, []any{change})
		var status *StatusError
		if err == nil || try == tries || !errors.As(err, &status) || status.Status != http.StatusServiceUnavailable {
			return err
		}
		if err := Wait(ctx, time.Second); err != nil {
			return err
		}
	}
}

// diskDestroyed loses a journal with events in it that nobody has billed.
func diskDestroyed(ctx context.Context, w *World) error {
	if w.Fence == nil {
		return &NotRunError{Reason: "no command fences a node"}
	}
	n, proxy := w.Nodes[0], w.PostgresProxies[0]
	id, err := n.NodeID()
	if err != nil {
		return err
	}
	proxy.Hold(netfault.Both, true)
	err = Wait(ctx, 2*time.Second)
	if err = errors.Join(err, n.Kill()); err != nil {
		return err
	}
	if err := os.RemoveAll(n.JournalDir); err != nil {
		return fmt.Errorf("destroy journal: %w", err)
	}
	w.Diary.LoseDisk(n.Number)
	proxy.CutAll()
	proxy.Hold(netfault.Both, false)
	if err := w.Fence(ctx, id); err != nil {
		return fmt.Errorf("fence node %s: %w", id, err)
	}
	return n.Start(ctx)
}
