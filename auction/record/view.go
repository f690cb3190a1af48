package record

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"gavel/auction"
	"gavel/campaign"
	"gavel/internal/money"
)

// Explanation is a record for people and programs: ids as digit strings, amounts as integers of nanos with the same in currency units
// beside. A price, bid or floor is per billable event of its ad: per impression or per click.
type Explanation struct {
	AuctionID string    `json:"auction_id" format:"uuid"`
	RequestID string    `json:"request_id" doc:"The caller's name of the request."`
	At        time.Time `json:"at"`
	Placement string    `json:"placement"`
	Country   string    `json:"country"`
	UserKnown bool      `json:"user_known" doc:"The user's state was loaded. Else ads with a frequency cap do not serve."`
	UserError string    `json:"user_error,omitempty" doc:"Why it was not."`

	Versions DecisionVersions `json:"versions"`
	Seed     string           `json:"seed" doc:"What exploration drew from, 64 bits as digits."`
	Page     DecisionPage     `json:"page"`

	Winners    []DecisionWinner    `json:"winners" nullable:"false" doc:"The ads on the page, in order of their slots."`
	EmptySlots []string            `json:"empty_slots" nullable:"false"`
	Candidates []DecisionCandidate `json:"candidates" nullable:"false" doc:"Every ad that matched, most valuable first."`
	Truncated  bool                `json:"truncated" doc:"More ads matched than the best that were candidates."`
	Budget     []DecisionPayment   `json:"budget" nullable:"false" doc:"What the budget was asked, in that order. A refusal means that the page was made and priced again without the ad."`
	NotMatched []DecisionMiss      `json:"not_matched" nullable:"false" doc:"Ads that did not match; only if the request asked for an explanation."`
	NotListed  int                 `json:"not_listed" doc:"How many ads more not_matched leaves out."`
}

// DecisionVersions say what decided.
type DecisionVersions struct {
	Program string `json:"program"`
	Rules   string `json:"rules" doc:"Hash of the auction's rules."`
	Model   string `json:"model" doc:"Snapshot of the ranking model."`
}

// DecisionPage are the rules of the page.
type DecisionPage struct {
	Pricing            string         `json:"pricing" enum:"GSP,VCG"`
	PriceRule          string         `json:"price_rule" doc:"The pricing rule in words."`
	Slots              []DecisionSlot `json:"slots" nullable:"false"`
	MaxAds             int            `json:"max_ads" doc:"Most ads on the page; 0: one per slot."`
	MinGap             int            `json:"min_gap" doc:"Least number of items between two ads."`
	MaxPerAccount      int            `json:"max_per_account" doc:"0: no limit."`
	MaxPerCampaign     int            `json:"max_per_campaign" doc:"0: no limit."`
	SeparateCategories bool           `json:"separate_categories" doc:"Two ads of one category may not follow each other."`
	OrganicNanos       float64        `json:"organic_nanos" doc:"What the item that an ad displaces is worth, per impression: an ad must be worth more."`
	FloorNanos         int64          `json:"floor_nanos" doc:"The least that a view is sold for, per impression."`
	Floor              string         `json:"floor"`
	RelevanceNanos     int64          `json:"relevance_weight_nanos" doc:"What a click is worth to the feed itself."`
	Relevance          string         `json:"relevance_weight"`
	Exploration        string         `json:"exploration" enum:"OFF,THOMPSON,UCB"`
	ExplorationScale   float64        `json:"exploration_scale"`
}

// DecisionSlot is a place on the page.
type DecisionSlot struct {
	SlotID   string  `json:"slot_id"`
	Position int     `json:"position"`
	Factor   float64 `json:"factor" doc:"How likely an ad here is seen and acted upon, relative to the first slot."`
}

// DecisionWinner is an ad on the page and how its price came about.
type DecisionWinner struct {
	SlotID     string             `json:"slot_id"`
	Position   int                `json:"position"`
	AdID       string             `json:"ad_id" pattern:"^\\d+$"`
	PriceNanos int64              `json:"price_nanos"`
	Price      string             `json:"price"`
	Per        string             `json:"per" enum:"IMPRESSION,CLICKTHROUGH" doc:"What the price is for."`
	SetBy      string             `json:"set_by" enum:"AD,FLOOR,ORGANIC" doc:"What the ad had to beat: the next ad, the floor, or the organic value."`
	RunnerUp   *DecisionCandidate `json:"runner_up,omitempty" doc:"The next ad, without which the price would be lower; under VCG the most valuable one of those."`
	Inputs     DecisionCandidate  `json:"inputs" doc:"What the ad's value and price were made from."`
}

// DecisionCandidate is an ad that matched.
type DecisionCandidate struct {
	AdID          string `json:"ad_id" pattern:"^\\d+$"`
	AdGroupID     string `json:"ad_group_id" pattern:"^\\d+$"`
	CampaignID    string `json:"campaign_id" pattern:"^\\d+$"`
	AdAccountID   string `json:"ad_account_id" pattern:"^\\d+$"`
	Objective     string `json:"objective,omitempty"`
	Category      string `json:"category,omitempty"`
	BillableEvent string `json:"billable_event" enum:"IMPRESSION,CLICKTHROUGH"`
	BidStrategy   string `json:"bid_strategy,omitempty"`

	Reason     int    `json:"reason" doc:"See docs/no-bid-reasons.md; 0 is WON."`
	ReasonName string `json:"reason_name"`
	Meaning    string `json:"meaning"`
	BudgetLine string `json:"budget_line,omitempty" doc:"Of BUDGET_EXHAUSTED: the line with nothing left, for example CAMPAIGN DAILY."`

	BidNanos          int64  `json:"bid_nanos" doc:"What the advertiser bids, with its multipliers; the cap of a bid that follows from a goal, 0 for none."`
	Bid               string `json:"bid"`
	CPAGoalNanos      int64  `json:"cpa_goal_nanos,omitempty" doc:"What a conversion is worth to the advertiser: the bid is the goal times pcvr, and per impression times pctr."`
	CPAGoal           string `json:"cpa_goal,omitempty"`
	PacePPM           int64  `json:"pace_ppm" doc:"Multiplies the bid, in millionths."`
	EffectiveBidNanos int64  `json:"effective_bid_nanos" doc:"The bid after its pace: no price is above it."`
	EffectiveBid      string `json:"effective_bid"`
	FloorNanos        int64  `json:"floor_nanos" doc:"The larger of the ad group's floor and that of the page, which for clicks is divided by the rate."`
	Floor             string `json:"floor"`

	PCTR           float64 `json:"pctr" doc:"Predicted click probability in the first slot."`
	PCVR           float64 `json:"pcvr,omitempty" doc:"Predicted probability of a conversion after a click."`
	StdErr         float64 `json:"std_err,omitempty" doc:"Standard error of the logit of pctr."`
	Rate           float64 `json:"rate" doc:"Probability of the billable event that it was ranked by: 1 for impressions; for clicks pctr, as exploration changed it."`
	RelevanceNanos float64 `json:"relevance_nanos" doc:"What a view is worth to the feed itself."`
	ValueNanos     float64 `json:"value_nanos" doc:"effective_bid_nanos × rate + relevance_nanos: what ads are ranked by."`
	Propensity     float64 `json:"propensity" doc:"Probability that the ad is on the page, over the draws of exploration."`
	FrequencyCap   int     `json:"frequency_cap,omitempty" doc:"Most views in 30 days."`
	Views          int     `json:"views,omitempty" doc:"Those that were known of."`
}

// DecisionPayment is a question to the budget and its answer.
type DecisionPayment struct {
	AdID       string `json:"ad_id" pattern:"^\\d+$"`
	PriceNanos int64  `json:"price_nanos"`
	Price      string `json:"price"`
	Promised   bool   `json:"promised"`
	Reason     int    `json:"reason"`
	ReasonName string `json:"reason_name"`
	BudgetLine string `json:"budget_line,omitempty"`
}

// DecisionMiss is an ad that did not match.
type DecisionMiss struct {
	AdID       string `json:"ad_id" pattern:"^\\d+$"`
	Reason     int    `json:"reason"`
	ReasonName string `json:"reason_name"`
	Meaning    string `json:"meaning"`
}

// What DecisionPage.PriceRule says.
const (
	gspRule = "A winner pays the least bid with which it would still be ranked above the runner-up: (value of the runner-up - its own relevance) / rate, rounded up, at least its floor, at most its effective bid."
	vcgRule = "A winner pays what its presence costs the other ads, per expected billable event of its slot, rounded, at least its floor, at most its effective bid."
)

// Explain makes the explanation of a record. The indexes of r must be valid, as Decode leaves them.
func Explain(r *Record) *Explanation {
	e := &Explanation{
		AuctionID: r.AuctionID.String(), RequestID: r.RequestID, At: r.At, Placement: string(r.Placement), Country: r.Country,
		UserKnown: r.UserKnown, UserError: r.UserError, Versions: DecisionVersions{r.Program, r.RulesVersion, r.ModelVersion},
		Seed: strconv.FormatUint(r.Seed, 10), Page: explainPage(&r.Scene), Truncated: r.Truncated, NotListed: r.Unexplained,
		Winners: make([]DecisionWinner, 0, len(r.Placed)), EmptySlots: []string{}, Candidates: make([]DecisionCandidate, 0, len(r.Candidates)),
		Budget: make([]DecisionPayment, 0, len(r.Answers)), NotMatched: make([]DecisionMiss, 0, len(r.Missed)),
	}
	filled := make([]bool, len(r.Page.Slots))
	for _, p := range r.Placed {
		filled[p.Slot] = true
		e.Winners = append(e.Winners, r.winner(p))
	}
	for i, full := range filled {
		if !full {
			e.EmptySlots = append(e.EmptySlots, r.SlotIDs[i])
		}
	}
	for _, i := range r.byValue() {
		e.Candidates = append(e.Candidates, r.candidate(i))
	}
	for _, a := range r.Answers {
		e.Budget = append(e.Budget, DecisionPayment{
			AdID: idText(a.AdID), PriceNanos: int64(a.Price), Price: a.Price.String(), Promised: a.Reason == auction.Won,
			Reason: int(a.Reason), ReasonName: a.Reason.String(), BudgetLine: a.BlockedBy,
		})
	}
	for _, m := range r.Missed {
		e.NotMatched = append(e.NotMatched, DecisionMiss{AdID: idText(m.AdID), Reason: int(m.Reason), ReasonName: m.Reason.String(), Meaning: m.Reason.Meaning()})
	}
	return e
}

func explainPage(s *auction.Scene) DecisionPage {
	p := DecisionPage{
		Pricing: string(s.Page.Pricing), PriceRule: gspRule, Slots: make([]DecisionSlot, len(s.Page.Slots)), MaxAds: s.Page.MaxAds, MinGap: s.Page.MinGap,
		MaxPerAccount: s.Page.MaxPerAccount, MaxPerCampaign: s.Page.MaxPerCampaign, SeparateCategories: s.Page.SeparateCategories,
		OrganicNanos: finite(s.Page.Organic), FloorNanos: int64(s.Floor), Floor: s.Floor.String(),
		RelevanceNanos: int64(s.RelevanceWeight), Relevance: s.RelevanceWeight.String(),
		Exploration: string(s.Exploration.Mode), ExplorationScale: finite(s.Exploration.Scale),
	}
	if s.Page.Pricing == auction.VCG {
		p.PriceRule = vcgRule
	}
	for i, slot := range s.Page.Slots {
		p.Slots[i] = DecisionSlot{s.SlotIDs[i], slot.Position, finite(slot.Factor)}
	}
	return p
}

// byValue are the indexes of the candidates in the order in which they were ranked.
func (r *Record) byValue() []int {
	order := make([]int, len(r.Candidates))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(r.Fates[b].Value(), r.Fates[a].Value()), cmp.Compare(r.Candidates[a].AdID, r.Candidates[b].AdID))
	})
	return order
}

func (r *Record) winner(p auction.Placed) DecisionWinner {
	w := DecisionWinner{
		SlotID: r.SlotIDs[p.Slot], Position: r.Page.Slots[p.Slot].Position, PriceNanos: int64(p.Price), Price: p.Price.String(),
		Inputs: r.candidate(p.Bidder),
	}
	w.AdID, w.Per = w.Inputs.AdID, w.Inputs.BillableEvent
	switch p.PricedBy {
	case auction.ByFloor:
		w.SetBy = "FLOOR"
	case auction.ByOrganic:
		w.SetBy = "ORGANIC"
	default:
		w.SetBy = "AD"
		next := r.candidate(p.PricedBy)
		w.RunnerUp = &next
	}
	return w
}

func (r *Record) candidate(i int) DecisionCandidate {
	c, f := &r.Candidates[i], &r.Fates[i]
	out := DecisionCandidate{
		AdID: idText(c.AdID), AdGroupID: idText(c.AdGroupID), CampaignID: idText(c.CampaignID), AdAccountID: idText(c.AdAccountID),
		Objective: string(c.Objective), Category: c.Category, BillableEvent: string(c.BillableEvent), BidStrategy: string(c.Strategy),
		Reason: int(f.Reason), ReasonName: f.Reason.String(), Meaning: f.Reason.Meaning(), BudgetLine: f.BlockedBy,
		PacePPM: c.PacePPM, PCTR: finite(c.PCTR), PCVR: finite(c.PCVR), StdErr: finite(c.StdErr), Rate: finite(f.Rate),
		RelevanceNanos: finite(f.Relevance), ValueNanos: finite(f.Value()), Propensity: finite(f.Propensity), FrequencyCap: c.FrequencyCap, Views: c.Views,
	}
	out.BidNanos, out.Bid = amount(c.Bid)
	out.EffectiveBidNanos, out.EffectiveBid = amount(f.Bid)
	out.FloorNanos, out.Floor = amount(f.Floor)
	if c.CPAGoal != 0 {
		out.CPAGoalNanos, out.CPAGoal = amount(c.CPAGoal)
	}
	return out
}

// amount is n as a number and in currency units.
func amount(n money.Nanos) (int64, string) { return int64(n), n.String() }

func idText[T campaign.AdID | campaign.AdGroupID | campaign.CampaignID | campaign.AdAccountID](id T) string {
	return fmt.Sprint(int64(id))
}

// finite is what JSON can say of x: a score that is not a number is 0, one without end the largest number.
func finite(x float64) float64 {
	switch {
	case math.IsNaN(x):
		return 0
	case math.IsInf(x, 0):
		return math.Copysign(math.MaxFloat64, x)
	}
	return x
}
