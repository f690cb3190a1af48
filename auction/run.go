package auction

import (
	"context"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"gavel/budget"
	"gavel/campaign"
	"gavel/internal/money"
	"gavel/internal/telemetry/span"
	"gavel/ranking"
	"gavel/targeting"
)

// Config are an auctioneer's times and limits.
type Config struct {
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
	Models Models
	Paces  Paces
	// Records may be nil.
	Records Recorder
	Rules   *Rules
	Trace   span.Tracer
	Config  Config

	pool sync.Pool // of *workspace
}

// workspace is the memory of one request.
type workspace struct {
	decider Decider
	scene   Scene
	ads     []*targeting.Ad // of the candidates
	held    []budget.Reservation
	query   targeting.Query
}

// Run decides one request. It does not fail: what cannot be known makes ads ineligible, and a page without ads says why.
// Every award holds a reservation, which the caller turns into tokens or cancels.
func (a *Auctioneer) Run(ctx context.Context, req *Request) *Decision {
	ctx, sp := a.Trace.Start(ctx, "auction.Run")
	defer sp.End()
	d := &Decision{AuctionID: req.AuctionID, At: req.Query.Now}
	ix := a.Ads.Current()
	if ix == nil {
		d.empty(req.Slots, IndexNotReady)
		return d
	}
	w, ok := a.pool.Get().(*workspace)
	if !ok {
		w = new(workspace)
	}
	d.work, d.pool = w, func(w *workspace) { a.pool.Put(w) }
	user := a.loadUser(ctx, ix, req, d)
	model := a.Models.Current()
	a.set(w, req, model, user != nil)
	pay := &purse{ctx: ctx, auctioneer: a, req: req, work: w}
	w.held = w.held[:0]
	room := w.scene.Page.room()
	for k := a.Config.Candidates; ; k *= 8 {
		a.cast(ctx, w, ix, req, model, user, k)
		d.Outcome = a.decide(ctx, w, pay)
		d.Truncated = len(w.ads) == k
		if len(d.Outcome.Placed) >= room || !d.Truncated {
			break
		}
		pay.CancelAll()
	}
	a.awaitMoney(ctx, w, pay, d, room)
	d.Scene = &w.scene
	d.award(req, w)
	sp.Str("gavel.auction_id", d.AuctionID.String())
	sp.Int("gavel.slots", len(req.Slots))
	sp.Int("gavel.candidates", len(w.ads))
	sp.Int("gavel.awards", len(d.Awards))
	if req.Explain {
		d.explain(ix, &w.query)
	}
	a.record(ctx, req, d)
	return d
}

// loadUser asks for the user's state and puts the audiences into the query: those whose lists are current in ix.
func (a *Auctioneer) loadUser(ctx context.Context, ix *targeting.Index, req *Request, d *Decision) *targeting.UserState {
	d.work.query = req.Query
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
	q := &d.work.query
	q.Audiences, q.AudiencesKnown = ix.Tables().AppendAudiences(nil, user.Lists), true
	return &user
}

// set makes the scene but for its candidates.
func (a *Auctioneer) set(w *workspace, req *Request, model Model, userKnown bool) {
	q, s := &w.query, &w.scene
	s.AuctionID, s.At, s.Seed = req.AuctionID, q.Now, req.Seed
	s.Placement, s.Country = q.Placement, q.Country
	s.RulesVersion, s.ModelVersion = a.Rules.Version, model.ModelVersion()
	s.SlotIDs = s.SlotIDs[:0]
	for _, slot := range req.Slots {
		s.SlotIDs = append(s.SlotIDs, slot.ID)
	}
	s.Page = a.Rules.Page(q.Placement, req.Slots, model.SlotFactors(string(q.Placement)))
	rules := a.Rules.Of(q.Placement)
	s.Floor, s.Exploration = a.Rules.Floor(q.Placement, q.Country).PerImpression(), rules.Exploration
	s.RelevanceWeight = nanosOf(campaign.BillClickthrough, rules.RelevanceMicrosPerClick)
	s.UserKnown = userKnown
	context := ranking.Context{
		Placement: string(q.Placement), Country: q.Country, Region: q.Region, Gender: q.Gender, AppType: q.AppType, Locale: q.Locale,
		Age: q.Age, HourOfWeek: campaign.HourOfWeek(q.Now, time.UTC), Interests: q.Interests, Query: plain(q.SearchQuery), UserHash: req.UserHash,
	}
	s.Features = context.Features()
}

// plain is a search query as the model knows it: in small letters, with single spaces.
func plain(query string) string { return strings.Join(strings.Fields(strings.ToLower(query)), " ") }

// cast matches and scores: the best k ads become the candidates of the scene.
func (a *Auctioneer) cast(ctx context.Context, w *workspace, ix *targeting.Index, req *Request, model Model, user *targeting.UserState, k int) {
	_, sp := a.Trace.Start(ctx, "targeting.Match")
	w.ads = ix.Match(&w.query, k, w.ads[:0])
	sp.Int("gavel.index_ads", ix.Len())
	sp.Int("gavel.matched", len(w.ads))
	sp.End()
	_, sp = a.Trace.Start(ctx, "ranking.Score")
	defer sp.End()
	s := &w.scene
	n := len(w.ads)
	s.Candidates = slices.Grow(s.Candidates[:0], n)[:n]
	for i, ad := range w.ads {
		c := &s.Candidates[i]
		*c = Candidate{Item: itemOf(ad), Strategy: ad.BidStrategy, PacePPM: onePPM, Floor: nanosOf(ad.BillableEvent, ad.BidFloorMicros), FrequencyCap: ad.FrequencyCap}
		a.bid(c, ad, &w.query)
		if c.FrequencyCap > 0 && user != nil {
			c.Views = user.Views[ad.AdGroupID]
		}
	}
	model.Predict(&s.Features, s.Candidates, s.Exploration.Mode != ExploreOff)
}

func itemOf(ad *targeting.Ad) ranking.Item {
	return ranking.Item{
		AdID: ad.AdID, AdGroupID: ad.AdGroupID, CampaignID: ad.CampaignID, AdAccountID: ad.AdAccountID,
		Objective: ad.Objective, Category: ad.Category, BillableEvent: ad.BillableEvent,
	}
}

// bid fills in what the ad bids for this view.
func (a *Auctioneer) bid(c *Candidate, ad *targeting.Ad, q *targeting.Query) {
	c.Bid = nanosOf(ad.BillableEvent, ad.BidMicros)
	if ad.CPAGoalMicros > 0 {
		c.CPAGoal = nanosOf(campaign.BillClickthrough, ad.CPAGoalMicros)
	}
	if m := ad.Multipliers; !m.IsZero() {
		of := func(amount money.Nanos) money.Nanos {
			return m.Effective(amount, q.AppType, string(q.Placement), q.Audiences, q.AudiencesKnown)
		}
		c.Bid, c.CPAGoal = of(c.Bid), of(c.CPAGoal)
	}
	if ad.BidStrategy != campaign.MaxBid {
		c.PacePPM = int64(math.Round(onePPM * a.Paces.Of(ad.AdGroupID, ad.BidStrategy)))
	}
}

// nanosOf is an amount per billable event: micros are per 1,000 impressions, or per click.
func nanosOf(event campaign.BillableEvent, amount money.Micros) money.Nanos {
	if event != campaign.BillClickthrough {
		return amount.PerImpression()
	}
	n, err := amount.Nanos()
	if err != nil {
		return 0 // the API refuses such amounts; a bid that came in another way never wins
	}
	return n
}

func (a *Auctioneer) decide(ctx context.Context, w *workspace, pay *purse) *Outcome {
	ctx, sp := a.Trace.Start(ctx, "auction.Decide")
	defer sp.End()
	pay.ctx = ctx
	return w.decider.Decide(&w.scene, pay)
}

// awaitMoney makes the page again when slots stay empty although an ad that wants them only lacks its first lease.
func (a *Auctioneer) awaitMoney(ctx context.Context, w *workspace, pay *purse, d *Decision, room int) {
	pending := func() bool {
		return len(d.Outcome.Placed) < room && slices.ContainsFunc(d.Outcome.Fates, func(f Fate) bool { return f.Reason == BudgetPending })
	}
	if a.Config.LeaseWait <= 0 || !pending() {
		return
	}
	waiting, cancel := context.WithTimeout(ctx, a.Config.LeaseWait)
	defer cancel()
	for pending() && a.Budget.Await(waiting) {
		pay.CancelAll()
		d.Outcome = a.decide(ctx, w, pay)
	}
}

// record hands the decision to the recorder if it is to be recorded.
func (a *Auctioneer) record(ctx context.Context, req *Request, d *Decision) {
	if a.Records == nil || !a.Records.Wants(req.AuctionID, req.Explain) {
		return
	}
	d.work.decider.Propensities(d.Scene)
	extra := Extra{RequestID: req.RequestID, Truncated: d.Truncated, Unexplained: d.Unexplained}
	if d.UserErr != nil {
		extra.UserError = d.UserErr.Error()
	}
	for _, u := range d.Unmatched {
		extra.Missed = append(extra.Missed, Missed{AdID: u.Ad.AdID, Reason: u.Reason})
	}
	a.Records.Record(ctx, d.Scene, d.Outcome, &extra)
}

// purse asks the node's wallet for the money of a page.
type purse struct {
	ctx        context.Context // of the span that is open; it lives as long as one Run
	auctioneer *Auctioneer
	req        *Request
	work       *workspace
}

// Pay implements Payer.
func (p *purse) Pay(c int, bid, price money.Nanos) (Reason, string) {
	_, sp := p.auctioneer.Trace.Start(p.ctx, "budget.Reserve")
	defer sp.End()
	ad := p.work.ads[c]
	r, refusal := p.auctioneer.Budget.Reserve(p.req.Tick, budget.Request{
		Key:      budget.Key{AdGroupID: ad.AdGroupID, Day: campaign.DayOf(p.req.Query.Now, ad.Zone)},
		Billable: ad.BillableEvent, Price: price, PriceMax: bid, PCTR: p.work.scene.Candidates[c].PCTR,
	})
	sp.Int64("gavel.ad_id", int64(ad.AdID))
	sp.Int64("gavel.price_nanos", int64(price))
	sp.Bool("gavel.reserved", refusal == budget.Reserved)
	switch refusal {
	case budget.Reserved:
		p.work.held = append(p.work.held, r)
		return Won, ""
	case budget.Exhausted:
		return BudgetExhausted, r.BlockedBy
	default:
		return BudgetPending, r.BlockedBy
	}
}

// CancelAll implements Payer.
func (p *purse) CancelAll() {
	for _, r := range p.work.held {
		p.auctioneer.Budget.Cancel(r)
	}
	p.work.held = p.work.held[:0]
}

// award turns the placed candidates into awards and names the slots that got nothing.
func (d *Decision) award(req *Request, w *workspace) {
	s, o := &w.scene, d.Outcome
	d.Awards = make([]Award, len(o.Placed))
	slot := 0
	nothing := NoEligibleAd
	if len(o.Placed) == s.Page.room() {
		nothing = AdLoadReached
	}
	for i, p := range o.Placed {
		d.empty(req.Slots[slot:p.Slot], nothing)
		slot = p.Slot + 1
		c, f := &s.Candidates[p.Bidder], &o.Fates[p.Bidder]
		d.Awards[i] = Award{Slot: req.Slots[p.Slot], Ad: w.ads[p.Bidder], Value: f.Value(), PCTR: c.PCTR, Price: p.Price, Reservation: w.held[i]}
		served := ranking.Served{
			Features: s.Features, PCTR: float32(c.PCTR), Slot: p.Slot, Placement: string(s.Placement),
			Objective: c.Objective, BillableEvent: c.BillableEvent, Category: c.Category,
		}
		d.Awards[i].Served = served.Encode()
		if p.PricedBy >= 0 {
			d.Awards[i].PricedBy = s.Candidates[p.PricedBy].AdID
		}
	}
	d.empty(req.Slots[slot:], nothing)
}

func (d *Decision) empty(slots []Slot, reason NoFillReason) {
	for _, s := range slots {
		d.NoFill = append(d.NoFill, NoFill{SlotID: s.ID, Reason: reason})
	}
}

// room is the most ads that the page can hold.
func (p *Page) room() int {
	n, last := 0, 0
	for _, s := range p.Slots {
		if n == 0 || s.Position-last > p.MinGap {
			n, last = n+1, s.Position
		}
	}
	if p.MaxAds > 0 {
		n = min(n, p.MaxAds)
	}
	return n
}

// explain adds the ads that did not match, each with the part of its targeting that kept it out.
func (d *Decision) explain(ix *targeting.Index, q *targeting.Query) {
	matched := make(map[campaign.AdID]bool, len(d.work.ads))
	for _, ad := range d.work.ads {
		matched[ad.AdID] = true
	}
	left := ix.Len() - len(matched)
	for ad, miss := range ix.All(q) {
		if left == 0 || len(matched)+len(d.Unmatched) >= MaxExplained {
			break
		}
		if matched[ad.AdID] {
			continue
		}
		left--
		reason := NotScored // matched, but below the best that were scored
		if miss != targeting.Matched {
			reason = missReasons[miss]
		}
		d.Unmatched = append(d.Unmatched, Unmatched{Ad: ad, Reason: reason})
	}
	d.Unexplained = left
}
