package campaign

import (
	"encoding/json"
	"fmt"
	"time"

	"gavel/internal/fault"
	"gavel/internal/money"
)

// BudgetType says what an ad group's budget is per.
type BudgetType string

// The budget types. CBOBudget means that the campaign has the budget.
const (
	DailyBudget    BudgetType = "DAILY"
	LifetimeBudget BudgetType = "LIFETIME"
	CBOBudget      BudgetType = "CBO_ADGROUP"
)

// PacingDeliveryType says how fast a budget is spent.
type PacingDeliveryType string

// The pacing types.
const (
	Standard    PacingDeliveryType = "STANDARD"
	Accelerated PacingDeliveryType = "ACCELERATED"
)

// PlacementGroup says on which surfaces an ad group serves.
type PlacementGroup string

// The placement groups.
const (
	PlacementAll    PlacementGroup = "ALL"
	PlacementSearch PlacementGroup = "SEARCH"
	PlacementBrowse PlacementGroup = "BROWSE"
	PlacementOther  PlacementGroup = "OTHER"
)

// billVideo is the v5 event that Gavel does not bill yet.
const billVideo BillableEvent = "VIDEO_V_50_MRC"

// AdGroup carries who is targeted, what is bid and, unless its campaign optimises the budget, what may be spent.
type AdGroup struct {
	ID            AdGroupID
	AdAccountID   AdAccountID
	CampaignID    CampaignID
	Name          string
	Status        Status
	BillableEvent BillableEvent
	BidStrategy   BidStrategy
	// Bid is per 1,000 impressions for BillImpression, per click for BillClickthrough. It is 0, for none, only with AutomaticBid or a
	// CPAGoal, where it is a cap; see CapMicros.
	Bid money.Micros
	// BidFloor is the least price at which its views are sold, in the unit of Bid and at most Bid; 0 = none. Operators set it.
	BidFloor money.Micros
	// BidMultiplier is only for AutomaticBid: from MinAdGroupMultiplier to MaxMultiplier; 0 = none.
	BidMultiplier PerMille
	// CPAGoal is what a conversion is worth, for the objective WebConversion: it takes the place of the bid, which caps it; 0 = none.
	CPAGoal    money.Micros
	BudgetType BudgetType
	// Budget is 0 for CBOBudget only.
	Budget         money.Micros
	Pacing         PacingDeliveryType
	PlacementGroup PlacementGroup
	// TargetingSpec is the canonical form of what was given; {} targets everyone.
	TargetingSpec json.RawMessage
	// FrequencyCap is the most impressions one user may get in a rolling 30 days; 0 = no cap.
	FrequencyCap int
	// StartTime (inclusive) and EndTime (exclusive); zero = those of the campaign.
	StartTime, EndTime time.Time
	// Hours are those of the week, in the account's time zone, in which the ad group serves; zero = all.
	Hours                WeekHours
	CreatedAt, UpdatedAt time.Time
}

// AdGroupInput creates or changes an ad group: an absent field takes its default, or stays.
type AdGroupInput struct {
	AdAccountID        Opt[AdAccountID]
	CampaignID         Opt[CampaignID]
	Name               Opt[string]
	Status             Opt[Status]
	BillableEvent      Opt[BillableEvent]
	Bid, Budget        Opt[money.Micros]
	BidStrategy        Opt[BidStrategy]
	BidFloor, CPAGoal  Opt[money.Micros]
	BidMultiplier      Opt[PerMille]
	BudgetType         Opt[BudgetType]
	Pacing             Opt[PacingDeliveryType]
	PlacementGroup     Opt[PlacementGroup]
	TargetingSpec      Opt[json.RawMessage]
	FrequencyCap       Opt[int64]
	StartTime, EndTime Opt[time.Time]
	AdSchedule         Opt[[]ScheduleInput]
}

// AdGroupUpdate changes one ad group. ID is 0 when the decoder could not read it.
type AdGroupUpdate struct {
	ID AdGroupID
	AdGroupInput
}

// ValidateTargeting checks a targeting spec and returns its canonical form. The names of its problems are paths within the spec.
type ValidateTargeting func(raw json.RawMessage) (canonical json.RawMessage, problems []fault.Field)

// newAdGroup builds an ad group below parent, which is nil when the input names no campaign of the account.
func newAdGroup(account AdAccountID, parent *Campaign, in AdGroupInput, validate ValidateTargeting) (AdGroup, []fault.Field) {
	var p fault.Fields
	g := AdGroup{
		AdAccountID: account, Status: Active, BudgetType: DailyBudget, BidStrategy: MaxBid,
		Pacing: Standard, PlacementGroup: PlacementAll, TargetingSpec: json.RawMessage(`{}`),
	}
	if parent != nil {
		g.CampaignID = parent.ID
		if parent.BudgetOptimization {
			g.BudgetType = CBOBudget
		}
	} else if in.CampaignID.Given() {
		p.Add("campaign_id", ErrCampaignNotFound.Message)
	}
	required(&p, "campaign_id", in.CampaignID)
	required(&p, "name", in.Name)
	required(&p, "billable_event", in.BillableEvent)
	in.apply(&p, &g, true, validate)
	g.checkBid(&p, parent, in)
	g.checkBudget(&p, parent, in)
	g.checkWithin(&p, parent, in)
	return g, p
}

func changedAdGroup(g AdGroup, parent *Campaign, in AdGroupInput, validate ValidateTargeting) (AdGroup, []fault.Field) {
	var p fault.Fields
	applyFixed(&p, "campaign_id", in.CampaignID, &g.CampaignID, false)
	in.apply(&p, &g, false, validate)
	g.checkBid(&p, parent, in)
	g.checkBudget(&p, parent, in)
	g.checkWithin(&p, parent, in)
	return g, p
}

// apply writes the input into g and reports every rule that g then breaks by itself.
func (in AdGroupInput) apply(p *fault.Fields, g *AdGroup, creating bool, validate ValidateTargeting) {
	checkOwnAccount(p, in.AdAccountID, g.AdAccountID)
	apply(p, "name", in.Name, &g.Name)
	apply(p, "status", in.Status, &g.Status)
	applyFixed(p, "billable_event", in.BillableEvent, &g.BillableEvent, creating)
	in.applyBid(p, g)
	applyFixed(p, "budget_type", in.BudgetType, &g.BudgetType, creating)
	applyNullable(in.Budget, &g.Budget)
	apply(p, "pacing_delivery_type", in.Pacing, &g.Pacing)
	apply(p, "placement_group", in.PlacementGroup, &g.PlacementGroup)
	in.applyTargeting(p, g, validate)
	in.applyFrequencyCap(p, g)
	applyNullable(in.StartTime, &g.StartTime)
	applyNullable(in.EndTime, &g.EndTime)
	in.applySchedule(p, g)

	if in.Name.Given() {
		checkText(p, "name", g.Name, 1, 255)
	}
	checkOneOf(p, "status", g.Status, Active, Paused, Archived)
	if in.BillableEvent.Given() {
		if in.BillableEvent.Value == billVideo {
			p.Add("billable_event", "VIDEO_V_50_MRC is not supported yet")
		} else {
			checkOneOf(p, "billable_event", in.BillableEvent.Value, BillImpression, BillClickthrough)
		}
	}
	checkAmount(p, "budget_in_micro_currency", in.Budget, MaxAmountMicros)
	checkOneOf(p, "pacing_delivery_type", g.Pacing, Standard, Accelerated)
	checkOneOf(p, "placement_group", g.PlacementGroup, PlacementAll, PlacementSearch, PlacementBrowse, PlacementOther)
	checkTime(p, "start_time", in.StartTime)
	checkTime(p, "end_time", in.EndTime)
	checkPeriod(p, g.StartTime, g.EndTime)
	if g.FrequencyCap != 0 && g.BillableEvent != "" && g.BillableEvent != BillImpression {
		p.Add("lifetime_frequency_cap", "is only for the billable_event IMPRESSION")
	}
	if g.FrequencyCap != 0 && g.EndTime.IsZero() {
		p.Add("end_time", "is required with lifetime_frequency_cap")
	}
}

func (in AdGroupInput) applyTargeting(p *fault.Fields, g *AdGroup, validate ValidateTargeting) {
	switch {
	case in.TargetingSpec.Null:
		g.TargetingSpec = json.RawMessage(`{}`)
	case in.TargetingSpec.Set:
		canonical, problems := validate(in.TargetingSpec.Value)
		p.Nest("targeting_spec", problems)
		if len(problems) == 0 {
			g.TargetingSpec = canonical
		}
	}
}

func (in AdGroupInput) applySchedule(p *fault.Fields, g *AdGroup) {
	switch {
	case in.AdSchedule.Null:
		g.Hours = WeekHours{}
	case in.AdSchedule.Set:
		g.Hours = weekHours(p, "ad_schedule", in.AdSchedule.Value)
	}
}

func (in AdGroupInput) applyFrequencyCap(p *fault.Fields, g *AdGroup) {
	f := in.FrequencyCap
	switch {
	case !f.Set:
	case f.Null:
		g.FrequencyCap = 0
	case f.Value < 1 || f.Value > MaxFrequencyCap:
		p.Add("lifetime_frequency_cap", fmt.Sprintf("must be from 1 to %d", MaxFrequencyCap))
	default:
		g.FrequencyCap = int(f.Value)
	}
}

// checkBudget holds the budget to its type and to the campaign's.
func (g AdGroup) checkBudget(p *fault.Fields, parent *Campaign, in AdGroupInput) {
	const amount = "budget_in_micro_currency"
	if !in.BudgetType.Null {
		checkOneOf(p, "budget_type", g.BudgetType, DailyBudget, LifetimeBudget, CBOBudget)
	}
	if parent != nil {
		switch {
		case parent.BudgetOptimization && g.BudgetType != CBOBudget:
			p.Add("budget_type", "must be CBO_ADGROUP: the campaign optimizes the budget")
		case !parent.BudgetOptimization && g.BudgetType == CBOBudget:
			p.Add("budget_type", "CBO_ADGROUP is only for campaigns with is_campaign_budget_optimization")
		}
	}
	switch g.BudgetType {
	case CBOBudget:
		if g.Budget != 0 {
			p.Add(amount, "must not be set: the campaign has the budget")
		}
		if g.Pacing == Accelerated {
			p.Add("pacing_delivery_type", "must be STANDARD: the campaign optimizes the budget")
		}
	case DailyBudget, LifetimeBudget:
		if g.Budget == 0 && !(in.Budget.Set && !in.Budget.Null) {
			p.Add(amount, "is required unless the campaign optimizes the budget")
		}
		if g.BudgetType == LifetimeBudget && g.EndTime.IsZero() {
			p.Add("end_time", "is required with the budget_type LIFETIME")
		}
	}
}

// checkWithin holds times that were just given to those of the campaign. A campaign that is narrowed later simply wins.
func (g AdGroup) checkWithin(p *fault.Fields, parent *Campaign, in AdGroupInput) {
	if parent == nil {
		return
	}
	if in.StartTime.Given() && g.StartTime.Before(parent.StartTime) {
		p.Add("start_time", "must not be before the start_time of the campaign")
	}
	if in.EndTime.Given() && !parent.EndTime.IsZero() && g.EndTime.After(parent.EndTime) {
		p.Add("end_time", "must not be after the end_time of the campaign")
	}
}

// budgets are the two lines of g. They always exist: without a limit they count.
func (g AdGroup) budgets() []Budget {
	lines := []Budget{
		{AdAccountID: g.AdAccountID, Scope: EntityAdGroup, ScopeID: int64(g.ID), Kind: BudgetDaily},
		{AdAccountID: g.AdAccountID, Scope: EntityAdGroup, ScopeID: int64(g.ID), Kind: BudgetLifetime},
	}
	switch g.BudgetType {
	case DailyBudget:
		lines[0].LimitMicros = g.Budget
	case LifetimeBudget:
		lines[1].LimitMicros = g.Budget
	case CBOBudget: // the campaign's lines stop it
	}
	return lines
}
