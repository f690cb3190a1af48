package campaign

import (
	"time"

	"gavel/internal/fault"
	"gavel/internal/money"
)

// Status is whether an entity may serve. An ad serves when it, its ad group and its campaign are all ACTIVE.
type Status string

// The statuses. The v5 drafts do not exist yet.
const (
	Active   Status = "ACTIVE"
	Paused   Status = "PAUSED"
	Archived Status = "ARCHIVED"
)

// Objective is what a campaign is for.
type Objective string

// The objectives of the v5 API.
const (
	Awareness       Objective = "AWARENESS"
	Consideration   Objective = "CONSIDERATION"
	WebConversion   Objective = "WEB_CONVERSION"
	CatalogSales    Objective = "CATALOG_SALES"
	VideoCompletion Objective = "VIDEO_COMPLETION"
)

// Campaign groups ad groups under one objective and, at most, one spend cap.
type Campaign struct {
	ID          CampaignID
	AdAccountID AdAccountID
	Name        string
	Status      Status
	Objective   Objective
	// BudgetOptimization (CBO) means that the cap below is the budget and that the ad groups have none.
	BudgetOptimization bool
	// DailySpendCap and LifetimeSpendCap exclude each other; 0 = none.
	DailySpendCap, LifetimeSpendCap money.Micros
	// BidOptions multiply the bids of its ad groups.
	BidOptions BidOptions
	// StartTime (inclusive) and EndTime (exclusive); zero = open.
	StartTime, EndTime   time.Time
	CreatedAt, UpdatedAt time.Time
}

// CampaignInput creates or changes a campaign: an absent field takes its default, or stays.
type CampaignInput struct {
	AdAccountID                     Opt[AdAccountID]
	Name                            Opt[string]
	Status                          Opt[Status]
	Objective                       Opt[Objective]
	BudgetOptimization              Opt[bool]
	DailySpendCap, LifetimeSpendCap Opt[money.Micros]
	BidOptions                      Opt[BidOptionsInput]
	StartTime, EndTime              Opt[time.Time]
}

// CampaignUpdate changes one campaign. ID is 0 when the decoder could not read it.
type CampaignUpdate struct {
	ID CampaignID
	CampaignInput
}

func newCampaign(account AdAccountID, in CampaignInput) (Campaign, []fault.Field) {
	var p fault.Fields
	c := Campaign{AdAccountID: account, Status: Active}
	required(&p, "name", in.Name)
	required(&p, "objective_type", in.Objective)
	in.apply(&p, &c, true)
	return c, p
}

func changedCampaign(c Campaign, in CampaignInput) (Campaign, []fault.Field) {
	var p fault.Fields
	in.apply(&p, &c, false)
	return c, p
}

// apply writes the input into c and reports every rule that c then breaks.
func (in CampaignInput) apply(p *fault.Fields, c *Campaign, creating bool) {
	checkOwnAccount(p, in.AdAccountID, c.AdAccountID)
	apply(p, "name", in.Name, &c.Name)
	apply(p, "status", in.Status, &c.Status)
	applyFixed(p, "objective_type", in.Objective, &c.Objective, creating)
	cbo := in.BudgetOptimization
	if cbo.Null { // v5: null is "not given"
		cbo = Opt[bool]{}
	}
	applyFixed(p, "is_campaign_budget_optimization", cbo, &c.BudgetOptimization, creating)
	applyNullable(in.DailySpendCap, &c.DailySpendCap)
	applyNullable(in.LifetimeSpendCap, &c.LifetimeSpendCap)
	in.applyBidOptions(p, c, creating)
	applyNullable(in.StartTime, &c.StartTime)
	applyNullable(in.EndTime, &c.EndTime)

	if in.Name.Given() {
		checkText(p, "name", c.Name, 1, 255)
	}
	checkOneOf(p, "status", c.Status, Active, Paused, Archived)
	if in.Objective.Given() {
		checkOneOf(p, "objective_type", c.Objective, Awareness, Consideration, WebConversion, CatalogSales, VideoCompletion)
	}
	checkAmount(p, "daily_spend_cap", in.DailySpendCap, MaxAmountMicros)
	checkAmount(p, "lifetime_spend_cap", in.LifetimeSpendCap, MaxAmountMicros)
	checkTime(p, "start_time", in.StartTime)
	checkTime(p, "end_time", in.EndTime)
	checkPeriod(p, c.StartTime, c.EndTime)
	switch {
	case c.DailySpendCap != 0 && c.LifetimeSpendCap != 0:
		p.Add("lifetime_spend_cap", "cannot be set together with daily_spend_cap")
	case c.BudgetOptimization && c.DailySpendCap == 0 && c.LifetimeSpendCap == 0:
		p.Add("daily_spend_cap", "campaign budget optimization needs daily_spend_cap or lifetime_spend_cap")
	}
}

// budgets are the two lines of c. They always exist: without a limit they count.
func (c Campaign) budgets() []Budget {
	return []Budget{
		{AdAccountID: c.AdAccountID, Scope: EntityCampaign, ScopeID: int64(c.ID), Kind: BudgetDaily, LimitMicros: c.DailySpendCap},
		{AdAccountID: c.AdAccountID, Scope: EntityCampaign, ScopeID: int64(c.ID), Kind: BudgetLifetime, LimitMicros: c.LifetimeSpendCap},
	}
}
