package auction_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"gavel/auction"
	"gavel/campaign"
	"gavel/internal/money"
	"gavel/ranking"
	"gavel/targeting"
)

var update = flag.Bool("update", false, "write what was decided into the golden auctions")

// minGoldens is the least number of golden auctions: fewer mean that they were not found.
const minGoldens = 40

// golden is an auction told from beginning to end: what the ads are, what the page asks for, and who is shown at which price, and why
// the others are not. Amounts are decimal numbers of currency units.
type golden struct {
	Title string `json:"title"`
	// Why says in plain words why the decision is right.
	Why string `json:"why"`
	// Rules is a rules file; absent = the default rules, but with a floor of 1.00 per 1,000 impressions.
	Rules json.RawMessage `json:"rules,omitempty"`
	Ads   []goldenAd      `json:"ads"`
	User  goldenUser      `json:"user,omitzero"`
	Page  goldenPage      `json:"page"`

	Decision *goldenDecision `json:"decision"`
}

type goldenAd struct {
	Ad int64 `json:"ad"`
	// AdGroup and Campaign are as the ad, Account is its own for each ad, unless they are said.
	AdGroup  int64  `json:"ad_group,omitempty"`
	Campaign int64  `json:"campaign,omitempty"`
	Account  int64  `json:"account,omitempty"`
	Category string `json:"category,omitempty"`
	// Objective is AWARENESS for ads that pay per impression and CONSIDERATION for those that pay per click, unless it is said.
	Objective string `json:"objective,omitempty"`
	// Bid is "5.00 CPM" or "1.20 CPC".
	Bid         string              `json:"bid"`
	BidFloor    string              `json:"bid_floor,omitempty"`
	Strategy    string              `json:"bid_strategy,omitempty"`
	Pace        float64             `json:"pace,omitempty"`
	CPAGoal     string              `json:"cpa_goal,omitempty"`
	BidOptions  campaign.BidOptions `json:"bid_options,omitzero"`
	Multiplier  int                 `json:"bid_multiplier_per_mille,omitempty"`
	Targeting   json.RawMessage     `json:"targeting,omitempty"`
	Cap         int                 `json:"lifetime_frequency_cap,omitempty"`
	ClickRate   float64             `json:"click_rate,omitempty"`
	Uncertainty float64             `json:"click_rate_log_odds_error,omitempty"`
	Conversion  float64             `json:"conversion_rate,omitempty"`
	// Budget is what is left of the ad group's budget on this node, absent = enough; Lease "pending" means that the node has asked for
	// money and has not got it.
	Budget string `json:"budget_left,omitempty"`
	Lease  string `json:"lease,omitempty"`
}

type goldenUser struct {
	Known     bool           `json:"known"`
	Lost      bool           `json:"redis_is_away,omitempty"`
	Audiences []int64        `json:"audiences,omitempty"`
	Views     map[string]int `json:"views_of_ad_groups,omitempty"`
}

type goldenPage struct {
	Placement string   `json:"placement"`
	Country   string   `json:"country,omitempty"`
	AppType   string   `json:"app_type,omitempty"`
	Interests []string `json:"interests,omitempty"`
	Exclude   []int64  `json:"exclude_accounts,omitempty"`
	Slots     []int    `json:"slots_at"`
	// Factors are what the model has estimated of the slots.
	Factors []float64 `json:"estimated_slot_factors,omitempty"`
	Seed    uint64    `json:"seed,omitempty"`
}

type goldenDecision struct {
	Winners []goldenWinner `json:"winners"`
	Empty   []string       `json:"empty_slots,omitempty"`
	Ads     []goldenFate   `json:"ads"`
}

type goldenWinner struct {
	Slot    string `json:"slot"`
	Ad      int64  `json:"ad"`
	Price   string `json:"price"`
	Because string `json:"because"`
}

type goldenFate struct {
	Ad      int64  `json:"ad"`
	Outcome string `json:"outcome"`
	Number  int    `json:"number"`
	// What follows is missing for an ad that did not match.
	Bid     string `json:"effective_bid,omitempty"`
	AtLeast string `json:"floor,omitempty"`
	Value   string `json:"value_of_a_view,omitempty"`
	Budget  string `json:"budget_line,omitempty"`
	Chance  string `json:"propensity,omitempty"`
}

func TestGoldenAuctions(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/golden/*.json")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), minGoldens, "golden auctions")
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			t.Parallel()
			checkGolden(t, file)
		})
	}
}

func checkGolden(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var g golden
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	require.NoError(t, dec.Decode(&g))
	require.NotEmpty(t, g.Title)
	require.NotEmpty(t, g.Why)
	expected := g.Decision
	g.Decision = g.decide(t)
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	require.NoError(t, enc.Encode(&g))
	if *update {
		require.NoError(t, os.WriteFile(file, out.Bytes(), 0o600))
		return
	}
	require.NotNil(t, expected, "no decision: run go test ./auction -run Golden -update, and read it")
	require.Equal(t, expected, g.Decision)
	require.Equal(t, out.String(), string(text), "not in the form that -update writes")
}

// decide runs the auction on a real index, with what the golden says of users, models, paces and budgets.
func (g *golden) decide(t *testing.T) *goldenDecision {
	t.Helper()
	text := g.Rules
	if text == nil {
		text = []byte(`{"BROWSE":{"floor_cpm_micros":1000000},"SEARCH":{"floor_cpm_micros":1000000},"OTHER":{"floor_cpm_micros":1000000}}`)
	}
	rules, err := auction.ParseRules(text)
	require.NoError(t, err)
	model := &goldenModel{slots: g.Page.Factors, ads: map[campaign.AdID]goldenAd{}}
	p := newPurse(map[campaign.AdGroupID]money.Nanos{})
	p.exhausted = true
	p.pledged = map[campaign.AdGroupID]bool{}
	bids := paces{}
	list := make([]*targeting.Ad, len(g.Ads))
	for i, ad := range g.Ads {
		s := ad.serving(t)
		list[i], err = targeting.NewAd(s, targeting.Bounds{MaxCTR: ranking.MaxCTR, MaxCVR: ranking.MaxCVR})
		require.NoError(t, err)
		model.ads[s.AdID] = ad
		if ad.Budget != "" {
			p.left[s.AdGroupID] = nanos(t, ad.Budget)
		}
		if ad.Lease == "pending" {
			p.left[s.AdGroupID], p.pledged[s.AdGroupID] = 0, true
		}
		if ad.Pace != 0 {
			bids[s.AdGroupID] = ad.Pace
		}
	}
	slices.SortFunc(list, targeting.Compare)
	lists := map[campaign.ListID]campaign.AudienceID{}
	state := targeting.UserState{Views: map[campaign.AdGroupID]int{}}
	for _, id := range g.User.Audiences {
		lists[campaign.ListID(id)] = campaign.AudienceID(id)
		state.Lists = append(state.Lists, campaign.ListID(id))
	}
	for id, n := range g.User.Views {
		group, err := strconv.ParseInt(id, 10, 64)
		require.NoError(t, err)
		state.Views[campaign.AdGroupID(group)] = n
	}
	u := users{state: state}
	if g.User.Lost {
		u.err = errors.New("redis is away")
	}
	records := &again{t: t}
	a := &auction.Auctioneer{
		Ads: ads{targeting.Build(list, targeting.Tables{Lists: lists})}, Users: u, Budget: p, Models: model, Paces: bids, Rules: rules, Records: records,
		Config: auction.Config{UserTimeout: time.Second, Candidates: 200},
	}
	d := a.Run(t.Context(), g.request())
	require.Equal(t, 1, records.n)
	return g.told(t, d)
}

func (g *golden) request() *auction.Request {
	req := &auction.Request{
		AuctionID: uuid.UUID{15: 1}, Seed: g.Page.Seed, Explain: true,
		Query: targeting.Query{
			Now: noon, Placement: targeting.Placement(g.Page.Placement), Country: g.Page.Country, AppType: g.Page.AppType, Interests: g.Page.Interests,
		},
	}
	for _, id := range g.Page.Exclude {
		req.Query.ExcludeAdAccounts = append(req.Query.ExcludeAdAccounts, campaign.AdAccountID(id))
	}
	for i, at := range g.Page.Slots {
		req.Slots = append(req.Slots, auction.Slot{ID: "slot " + strconv.Itoa(i+1), Position: at})
	}
	if g.User.Known || g.User.Lost {
		req.UserHash = 1
	}
	return req
}

// told is a decision in the words of a golden.
func (g *golden) told(t *testing.T, d *auction.Decision) *goldenDecision {
	t.Helper()
	out := &goldenDecision{Winners: []goldenWinner{}}
	values := map[campaign.AdID]string{}
	for _, c := range d.Considered() {
		f := goldenFate{
			Ad: int64(c.AdID), Outcome: c.Reason.String(), Number: int(c.Reason), Bid: per(c.Fate.Bid, c.BillableEvent), AtLeast: per(c.Fate.Floor, c.BillableEvent),
			Value: units(c.Value()), Budget: c.BlockedBy,
		}
		if d.Scene.Exploration.Mode != auction.ExploreOff {
			f.Chance = fmt.Sprintf("%.4f", c.Propensity)
		}
		values[c.AdID] = f.Value
		out.Ads = append(out.Ads, f)
	}
	for _, m := range d.Unmatched {
		out.Ads = append(out.Ads, goldenFate{Ad: int64(m.Ad.AdID), Outcome: m.Reason.String(), Number: int(m.Reason)})
	}
	for i, w := range d.Awards {
		because := "the floor"
		switch by := d.Outcome.Placed[i].PricedBy; {
		case w.PricedBy != 0:
			because = fmt.Sprintf("ad %d, which is worth %s a view", w.PricedBy, values[w.PricedBy])
		case by == auction.ByOrganic:
			because = "what the ad displaces"
		}
		out.Winners = append(out.Winners, goldenWinner{Slot: w.Slot.ID, Ad: int64(w.Ad.AdID), Price: per(w.Price, w.Ad.BillableEvent), Because: because})
	}
	for _, n := range d.NoFill {
		out.Empty = append(out.Empty, n.SlotID+": "+string(n.Reason))
	}
	return out
}

func (ad *goldenAd) serving(t *testing.T) campaign.ServingAd {
	t.Helper()
	or := func(id, other int64) int64 {
		if id != 0 {
			return id
		}
		return other
	}
	amount, unit, ok := strings.Cut(ad.Bid, " ")
	require.True(t, ok, "bid %q", ad.Bid)
	s := campaign.ServingAd{
		AdID: campaign.AdID(ad.Ad), AdGroupID: campaign.AdGroupID(or(ad.AdGroup, ad.Ad)), CampaignID: campaign.CampaignID(or(ad.Campaign, or(ad.AdGroup, ad.Ad))),
		AdAccountID: campaign.AdAccountID(or(ad.Account, 1000+ad.Ad)), Currency: "USD", TimeZone: "UTC", PlacementGroup: "ALL", Targeting: []byte(`{}`),
		BidMicros: micros(t, amount), BidStrategy: campaign.MaxBid, Category: ad.Category, FrequencyCap: ad.Cap,
	}
	switch unit {
	case "CPM":
		s.BillableEvent, s.Objective = campaign.BillImpression, campaign.Awareness
	case "CPC":
		s.BillableEvent, s.Objective = campaign.BillClickthrough, campaign.Consideration
	default:
		t.Fatalf("bid %q", ad.Bid)
	}
	if ad.Objective != "" {
		s.Objective = campaign.Objective(ad.Objective)
	}
	if ad.Strategy != "" {
		s.BidStrategy = campaign.BidStrategy(ad.Strategy)
	}
	if ad.BidFloor != "" {
		s.BidFloorMicros = micros(t, ad.BidFloor)
	}
	if ad.CPAGoal != "" {
		s.CPAGoalMicros = micros(t, ad.CPAGoal)
	}
	if ad.Targeting != nil {
		s.Targeting = ad.Targeting
	}
	var err error
	s.Multipliers, err = campaign.NewBidMultipliers(ad.BidOptions, campaign.PerMille(ad.Multiplier))
	require.NoError(t, err)
	return s
}

// micros reads "1.25".
func micros(t *testing.T, amount string) money.Micros {
	t.Helper()
	r, ok := new(big.Rat).SetString(amount)
	require.True(t, ok, "amount %q", amount)
	r.Mul(r, big.NewRat(1_000_000, 1))
	require.True(t, r.IsInt() && r.Num().IsInt64(), "amount %q", amount)
	return money.Micros(r.Num().Int64())
}

func nanos(t *testing.T, amount string) money.Nanos {
	t.Helper()
	r, ok := new(big.Rat).SetString(amount)
	require.True(t, ok, "amount %q", amount)
	r.Mul(r, big.NewRat(1_000_000_000, 1))
	require.True(t, r.IsInt() && r.Num().IsInt64(), "amount %q", amount)
	return money.Nanos(r.Num().Int64())
}

// units are nanos in currency units, to a thousandth of a nano.
func units(nanos float64) string { return strconv.FormatFloat(nanos/1e9, 'f', 12, 64) }

func per(amount money.Nanos, event campaign.BillableEvent) string {
	if event == campaign.BillClickthrough {
		return amount.String() + " a click"
	}
	return amount.String() + " an impression"
}

// goldenModel predicts what the golden says.
type goldenModel struct {
	ads   map[campaign.AdID]goldenAd
	slots []float64
}

func (m *goldenModel) Current() auction.Model       { return m }
func (m *goldenModel) ModelVersion() string         { return "golden" }
func (m *goldenModel) SlotFactors(string) []float64 { return m.slots }

func (m *goldenModel) Predict(_ *ranking.Features, list []auction.Candidate, uncertain bool) {
	for i := range list {
		c := &list[i]
		ad := m.ads[c.AdID]
		if c.PCTR = ad.ClickRate; c.PCTR == 0 {
			c.PCTR = 0.01
		}
		if c.CPAGoal > 0 {
			c.PCVR = ad.Conversion
		}
		if uncertain {
			c.StdErr = ad.Uncertainty
		}
	}
}

// again is a recorder that decides what it is given again, as it is and with the candidates the other way round.
type again struct {
	t *testing.T
	n int
}

func (r *again) Wants(uuid.UUID, bool) bool { return true }

func (r *again) Record(_ context.Context, s *auction.Scene, o *auction.Outcome, _ *auction.Extra) {
	r.n++
	decide := func(s *auction.Scene) *auction.Outcome {
		var d auction.Decider
		tape := &answers{scene: s, list: o.Answers}
		out := d.Decide(s, tape)
		d.Propensities(s)
		require.Len(r.t, o.Answers, tape.next)
		return out
	}
	require.Equal(r.t, o, decide(s))
	turned := *s
	turned.Candidates = slices.Clone(s.Candidates)
	slices.Reverse(turned.Candidates)
	out := decide(&turned)
	last := len(s.Candidates) - 1
	for i, f := range o.Fates {
		require.Equal(r.t, f, out.Fates[last-i])
	}
	require.Len(r.t, out.Placed, len(o.Placed))
	for i, p := range o.Placed {
		require.Equal(r.t, p.Price, out.Placed[i].Price)
		require.Equal(r.t, p.Slot, out.Placed[i].Slot)
		require.Equal(r.t, p.Bidder, last-out.Placed[i].Bidder)
		if by := out.Placed[i].PricedBy; by >= 0 {
			require.Equal(r.t, p.PricedBy, last-by)
		} else {
			require.Equal(r.t, p.PricedBy, by)
		}
	}
}

// answers is a payer that says again what was said.
type answers struct {
	scene *auction.Scene
	list  []auction.Answer
	next  int
}

func (a *answers) Pay(c int, _, price money.Nanos) (auction.Reason, string) {
	said := a.list[a.next]
	a.next++
	if said.AdID != a.scene.Candidates[c].AdID || said.Price != price {
		return 0, "another question"
	}
	return said.Reason, said.BlockedBy
}

func (a *answers) CancelAll() {}
