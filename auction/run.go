package auction

import (
	"cmp"
	"context"
	"slices"
	"time"

	"gavel/budget"
	"gavel/campaign"
	"gavel/internal/money"
	"gavel/internal/telemetry/span"
	"gavel/ranking"
	"gavel/targeting"
)

// Config are an auctioneer's rules.
type Config struct {
	// FloorPerMille is the floor of each placement as a CPM in micros; a placement that is absent has the floor of OTHER.
	FloorPerMille map[targeting.Placement]money.Micros
	// UserTimeout bounds the wait for the user's state.
	UserTimeout time.Duration
	// LeaseWait bounds the wait for a first lease, on a page that would otherwise stay empty; see Reserver.Await.
	LeaseWait time.Duration
	// Candidates is how many of the best ads are scored at first; more are when they do not fill the page.
	Candidates int
}

// Auctioneer runs auctions. It is safe for concurrent use; its fields do not change after the first Run.
type Auctioneer struct {
	Ads    Ads
	Users  UserLoader
	Budget Reserver
	Model  *ranking.Model
	Trace  span.Tracer
	Config Config
}

type candidate struct {
	ad     *targeting.Ad
	pctr   float64
	score  float64
	reason Reason
	price  money.Nanos
	// blockedBy says more of BudgetExhausted
	blockedBy string
}

// Run decides one request. It does not fail: what cannot be known makes ads ineligible, and a page without ads says why.
// Every award holds a reservation, which the caller turns into tokens or cancels.
func (a *Auctioneer) Run(ctx context.Context, req *Request) *Decision {
	ctx, sp := a.Trace.Start(ctx, "auction.Run")
	defer sp.End()
	d := &Decision{AuctionID: req.AuctionID, At: req.Query.Now, ModelVersion: a.Model.Version}
	ix := a.Ads.Current()
	if ix == nil {
		d.empty(req.Slots, IndexNotReady)
		return d
	}
	user := a.loadUser(ctx, ix, req, d)
	var candidates []candidate
	for k := a.Config.Candidates; ; k *= 8 {
		candidates = a.candidates(ctx, ix, req, user, k)
		d.Awards = a.slate(ctx, req, candidates, d.Awards[:0])
		if len(d.Awards) == len(req.Slots) || len(candidates) < k {
			break
		}
		for _, w := range d.Awards {
			a.Budget.Cancel(w.Reservation)
		}
	}
	d.Awards = a.awaitMoney(ctx, req, candidates, d.Awards)
	d.fillIn(req.Slots)
	sp.Str("gavel.auction_id", d.AuctionID.String())
	sp.Int("gavel.slots", len(req.Slots))
	sp.Int("gavel.candidates", len(candidates))
	sp.Int("gavel.awards", len(d.Awards))
	d.Considered = considered(candidates)
	if req.Explain {
		d.explain(ix, &req.Query)
	}
	return d
}

// awaitMoney makes the page again when slots stay empty although an ad that wants them only lacks its first lease.
func (a *Auctioneer) awaitMoney(ctx context.Context, req *Request, list []candidate, awards []Award) []Award {
	pending := func(c candidate) bool { return c.reason == BudgetPending }
	if a.Config.LeaseWait <= 0 || len(awards) == len(req.Slots) || !slices.ContainsFunc(list, pending) {
		return awards
	}
	waiting, cancel := context.WithTimeout(ctx, a.Config.LeaseWait)
	defer cancel()
	for len(awards) < len(req.Slots) && slices.ContainsFunc(list, pending) && a.Budget.Await(waiting) {
		for _, w := range awards {
			a.Budget.Cancel(w.Reservation)
		}
		for i := range list {
			if c := &list[i]; c.reason == BudgetPending || c.reason == Won || c.reason == AdvertiserOnPage {
				c.reason = LostToHigherBid
			}
		}
		awards = a.slate(ctx, req, list, awards[:0])
	}
	return awards
}

// loadUser asks for the user's state and puts the audiences into the query: those whose lists are current in ix.
func (a *Auctioneer) loadUser(ctx context.Context, ix *targeting.Index, req *Request, d *Decision) *targeting.UserState {
	if req.UserHash == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, a.Config.UserTimeout)
	defer cancel()
	ctx, sp := a.Trace.StartClient(ctx, "redis.LoadUser")
	defer sp.End()
	user, err := a.Users.LoadUser(ctx, req.UserHash)
	if err != nil {
		sp.Fail(err)
		d.UserErr = err
		return nil
	}
	req.Query.Audiences, req.Query.AudiencesKnown = ix.Tables().AppendAudiences(nil, user.Lists), true
	return &user
}

// candidates matches, caps and ranks: the best k ads, in order of score, those that may not win with their reason.
func (a *Auctioneer) candidates(ctx context.Context, ix *targeting.Index, req *Request, user *targeting.UserState, k int) []candidate {
	_, sp := a.Trace.Start(ctx, "targeting.Match")
	ads := ix.Match(&req.Query, k, make([]*targeting.Ad, 0, min(k, ix.Len())))
	sp.Int("gavel.index_ads", ix.Len())
	sp.Int("gavel.matched", len(ads))
	sp.End()
	_, sp = a.Trace.Start(ctx, "ranking.Score")
	defer sp.End()
	floor := float64(a.floor(req.Query.Placement))
	pctr := a.Model.PCTR(string(req.Query.Placement))
	list := make([]candidate, len(ads))
	for i, ad := range ads {
		c := candidate{ad: ad, pctr: pctr, score: scoreOf(ad, pctr), reason: LostToHigherBid}
		switch {
		case ad.FrequencyCap > 0 && user == nil:
			c.reason = UserStateUnknown
		case ad.FrequencyCap > 0 && user.Views[ad.AdGroupID] >= ad.FrequencyCap:
			c.reason = FrequencyCap
		case c.score < floor:
			c.reason = BelowFloor
		}
		list[i] = c
	}
	slices.SortFunc(list, func(x, y candidate) int {
		return cmp.Or(cmp.Compare(y.score, x.score), cmp.Compare(x.ad.AdID, y.ad.AdID))
	})
	return list
}

func (a *Auctioneer) floor(p targeting.Placement) money.Nanos {
	f, ok := a.Config.FloorPerMille[p]
	if !ok {
		f = a.Config.FloorPerMille[targeting.PlacementOther]
	}
	return f.PerImpression()
}

// slate fills the slots, prices the page and reserves the prices. A winner whose money is not there leaves with its reason
// and the page is made again without it, so this ends after at most one round per candidate.
func (a *Auctioneer) slate(ctx context.Context, req *Request, list []candidate, awards []Award) []Award {
	ctx, sp := a.Trace.Start(ctx, "auction.Price")
	defer sp.End()
	floor := a.floor(req.Query.Placement)
	page := make([]*candidate, 0, len(req.Slots)+1)
	for {
		page = choose(list, page[:0], len(req.Slots)+1)
		awards = awards[:0]
		broke := false
		for i, c := range page[:min(len(page), len(req.Slots))] {
			var next *candidate
			if i+1 < len(page) {
				next = page[i+1]
			}
			price, pricedBy := priceOf(c, next, floor)
			reservation, refusal := a.reserve(ctx, req, c, price)
			if refusal != budget.Reserved {
				c.reason, c.blockedBy = refusalReason(refusal), reservation.BlockedBy
				broke = true
				break
			}
			c.price = price
			awards = append(awards, Award{
				Slot: req.Slots[i], Ad: c.ad, Score: c.score, PCTR: c.pctr, Price: price, PricedBy: pricedBy, Reservation: reservation,
			})
		}
		if !broke {
			for i := range awards {
				page[i].reason = Won
			}
			markSameAdvertiser(list, awards)
			return awards
		}
		for _, w := range awards {
			a.Budget.Cancel(w.Reservation)
		}
	}
}

func (a *Auctioneer) reserve(ctx context.Context, req *Request, c *candidate, price money.Nanos) (budget.Reservation, budget.Refusal) {
	_, sp := a.Trace.Start(ctx, "budget.Reserve")
	defer sp.End()
	r, refusal := a.Budget.Reserve(req.Tick, budget.Request{
		Key:      budget.Key{AdGroupID: c.ad.AdGroupID, Day: campaign.DayOf(req.Query.Now, c.ad.Zone)},
		Billable: c.ad.BillableEvent, Price: price, PriceMax: bidNanos(c.ad), PCTR: c.pctr,
	})
	sp.Int64("gavel.ad_id", int64(c.ad.AdID))
	sp.Int64("gavel.price_nanos", int64(price))
	sp.Bool("gavel.reserved", refusal == budget.Reserved)
	return r, refusal
}

// choose picks the best n that may win, one per advertiser. The one past the page's slots is there for its value alone.
func choose(list []candidate, page []*candidate, n int) []*candidate {
	for i := range list {
		c := &list[i]
		if len(page) == n {
			break
		}
		if c.reason != LostToHigherBid || slices.ContainsFunc(page, func(p *candidate) bool { return p.ad.AdAccountID == c.ad.AdAccountID }) {
			continue
		}
		page = append(page, c)
	}
	return page
}

func refusalReason(r budget.Refusal) Reason {
	if r == budget.Exhausted {
		return BudgetExhausted
	}
	return BudgetPending
}

func markSameAdvertiser(list []candidate, awards []Award) {
	for i := range list {
		c := &list[i]
		if c.reason == LostToHigherBid && slices.ContainsFunc(awards, func(w Award) bool { return w.Ad.AdAccountID == c.ad.AdAccountID }) {
			c.reason = AdvertiserOnPage
		}
	}
}

func (d *Decision) empty(slots []Slot, reason NoFillReason) {
	for _, s := range slots {
		d.NoFill = append(d.NoFill, NoFill{SlotID: s.ID, Reason: reason})
	}
}

// fillIn names the slots that got nothing: awards fill slots in order, so they are the last ones.
func (d *Decision) fillIn(slots []Slot) { d.empty(slots[len(d.Awards):], NoEligibleAd) }

func considered(list []candidate) []Considered {
	out := make([]Considered, len(list))
	for i, c := range list {
		out[i] = Considered{Ad: c.ad, Score: c.score, PCTR: c.pctr, Reason: c.reason, BlockedBy: c.blockedBy}
		if c.reason == Won {
			out[i].Price = c.price
		}
	}
	return out
}

// explain adds the ads that did not match, each with the part of its targeting that kept it out.
func (d *Decision) explain(ix *targeting.Index, q *targeting.Query) {
	matched := make(map[campaign.AdID]bool, len(d.Considered))
	for _, c := range d.Considered {
		matched[c.Ad.AdID] = true
	}
	if extra := len(d.Considered) - MaxExplained; extra > 0 {
		d.Considered, d.Unexplained = d.Considered[:MaxExplained], extra
	}
	left := ix.Len() - len(matched)
	for ad, miss := range ix.All(q) {
		if left == 0 || len(d.Considered) >= MaxExplained {
			break
		}
		if matched[ad.AdID] {
			continue
		}
		left--
		reason := LostToHigherBid // matched, but below the best that were scored
		if miss != targeting.Matched {
			reason = missReasons[miss]
		}
		d.Considered = append(d.Considered, Considered{Ad: ad, Reason: reason})
	}
	d.Unexplained += left
}
