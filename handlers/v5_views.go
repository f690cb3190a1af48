package handlers

import (
	"encoding/json"
	"strconv"
	"time"

	"gavel/campaign"
	"gavel/internal/money"
)

// The entities as the v5 API shows them. A nullable field is null when there is nothing; one that v5 does not allow to be null
// is left out.

type adAccountView struct {
	ID               string  `json:"id" doc:"Ad account id."`
	Name             string  `json:"name"`
	Country          string  `json:"country" doc:"ISO 3166-1 alpha-2."`
	Currency         string  `json:"currency" doc:"ISO 4217."`
	TimeZone         string  `json:"time_zone" doc:"Gavel's own. IANA time zone."`
	Category         *string `json:"iab_category" doc:"Gavel's own. Tier-1 category of the IAB Content Taxonomy 1.0."`
	DailySpendCap    *int64  `json:"daily_spend_cap" doc:"Gavel's own. Micro currency; null for no limit."`
	LifetimeSpendCap *int64  `json:"lifetime_spend_cap" doc:"Gavel's own. Micro currency; null for no limit."`
	CreatedTime      int64   `json:"created_time" doc:"Unix seconds."`
	UpdatedTime      int64   `json:"updated_time" doc:"Unix seconds."`
}

func viewAdAccount(a campaign.AdAccount) adAccountView {
	return adAccountView{
		ID: idText(a.ID), Name: a.Name, Country: a.Country, Currency: a.Currency, TimeZone: a.TimeZone, Category: text(a.Category),
		DailySpendCap: amount(a.DailySpendCap), LifetimeSpendCap: amount(a.LifetimeSpendCap),
		CreatedTime: a.CreatedAt.Unix(), UpdatedTime: a.UpdatedAt.Unix(),
	}
}

type campaignView struct {
	ID               string          `json:"id" doc:"Campaign id."`
	AdAccountID      string          `json:"ad_account_id"`
	Name             string          `json:"name"`
	Status           string          `json:"status" enum:"ACTIVE,PAUSED,ARCHIVED"`
	Objective        string          `json:"objective_type" enum:"AWARENESS,CONSIDERATION,WEB_CONVERSION,CATALOG_SALES,VIDEO_COMPLETION"`
	CBO              bool            `json:"is_campaign_budget_optimization"`
	FlexibleBudgets  bool            `json:"is_flexible_daily_budgets" doc:"Always false."`
	Automated        bool            `json:"is_automated_campaign" doc:"Always false."`
	BidOptions       *bidOptionsView `json:"bid_options" doc:"Multipliers of the bids of its ad groups."`
	DailySpendCap    *int64          `json:"daily_spend_cap" doc:"Micro currency."`
	LifetimeSpendCap *int64          `json:"lifetime_spend_cap" doc:"Micro currency."`
	StartTime        *int64          `json:"start_time" doc:"Unix seconds."`
	EndTime          *int64          `json:"end_time" doc:"Unix seconds."`
	CreatedTime      int64           `json:"created_time" doc:"Unix seconds."`
	UpdatedTime      int64           `json:"updated_time" doc:"Unix seconds."`
	Type             string          `json:"type" enum:"campaign"`
}

func viewCampaign(c campaign.Campaign) campaignView {
	return campaignView{
		ID: idText(c.ID), AdAccountID: idText(c.AdAccountID), Name: c.Name, Status: string(c.Status), Objective: string(c.Objective),
		BidOptions: viewBidOptions(c.BidOptions),
		CBO:        c.BudgetOptimization, DailySpendCap: amount(c.DailySpendCap), LifetimeSpendCap: amount(c.LifetimeSpendCap),
		StartTime: unix(c.StartTime), EndTime: unix(c.EndTime),
		CreatedTime: c.CreatedAt.Unix(), UpdatedTime: c.UpdatedAt.Unix(), Type: "campaign",
	}
}

type adGroupView struct {
	ID             string          `json:"id" doc:"Ad group id."`
	AdAccountID    string          `json:"ad_account_id"`
	CampaignID     string          `json:"campaign_id"`
	Name           string          `json:"name"`
	Status         string          `json:"status" enum:"ACTIVE,PAUSED,ARCHIVED"`
	BillableEvent  string          `json:"billable_event" enum:"IMPRESSION,CLICKTHROUGH"`
	Bid            *int64          `json:"bid_in_micro_currency"`
	BidStrategy    string          `json:"bid_strategy_type" enum:"MAX_BID,AUTOMATIC_BID,TARGET_AVG"`
	BidMultiplier  *float64        `json:"bid_multiplier"`
	BidFloor       *int64          `json:"bid_floor_in_micro_currency" doc:"Gavel's own. Set by operators."`
	Goal           *goalView       `json:"optimization_goal_metadata"`
	Budget         *int64          `json:"budget_in_micro_currency"`
	BudgetType     string          `json:"budget_type" enum:"DAILY,LIFETIME,CBO_ADGROUP"`
	Pacing         string          `json:"pacing_delivery_type" enum:"STANDARD,ACCELERATED"`
	PlacementGroup string          `json:"placement_group" enum:"ALL,SEARCH,BROWSE,OTHER"`
	TargetingSpec  json.RawMessage `json:"targeting_spec" doc:"As in v5."`
	FrequencyCap   int             `json:"lifetime_frequency_cap,omitempty"`
	AutoTargeting  bool            `json:"auto_targeting_enabled" doc:"Always false."`
	StartTime      *int64          `json:"start_time" doc:"Unix seconds."`
	EndTime        *int64          `json:"end_time" doc:"Unix seconds."`
	AdSchedule     []scheduleView  `json:"ad_schedule" nullable:"true" doc:"Gavel's own. The hours of the week in which it serves, in the time zone of the ad account, as few entries as there can be; null for all hours."`
	CreatedTime    int64           `json:"created_time" doc:"Unix seconds."`
	UpdatedTime    int64           `json:"updated_time" doc:"Unix seconds."`
	Type           string          `json:"type" enum:"adgroup"`
}

type scheduleView struct {
	Day       string `json:"day_of_week" enum:"MONDAY,TUESDAY,WEDNESDAY,THURSDAY,FRIDAY,SATURDAY,SUNDAY"`
	StartHour int    `json:"start_hour" doc:"0 to 23."`
	EndHour   int    `json:"end_hour" doc:"1 to 24, exclusive."`
}

func viewSchedule(h campaign.WeekHours) []scheduleView {
	var list []scheduleView
	for _, e := range h.Schedule() {
		list = append(list, scheduleView(e))
	}
	return list
}

func viewAdGroup(g campaign.AdGroup) adGroupView {
	return adGroupView{
		ID: idText(g.ID), AdAccountID: idText(g.AdAccountID), CampaignID: idText(g.CampaignID), Name: g.Name, Status: string(g.Status),
		BillableEvent: string(g.BillableEvent), Bid: amount(g.Bid), BidStrategy: string(g.BidStrategy),
		BidMultiplier: viewMultiplier(g.BidMultiplier), BidFloor: amount(g.BidFloor), Goal: viewGoal(g.CPAGoal),
		Budget: amount(g.Budget), BudgetType: string(g.BudgetType), Pacing: string(g.Pacing), PlacementGroup: string(g.PlacementGroup),
		TargetingSpec: g.TargetingSpec, FrequencyCap: g.FrequencyCap, StartTime: unix(g.StartTime), EndTime: unix(g.EndTime),
		AdSchedule: viewSchedule(g.Hours), CreatedTime: g.CreatedAt.Unix(), UpdatedTime: g.UpdatedAt.Unix(), Type: "adgroup",
	}
}

type adView struct {
	ID             string  `json:"id" doc:"Ad id."`
	AdAccountID    string  `json:"ad_account_id"`
	CampaignID     string  `json:"campaign_id"`
	AdGroupID      string  `json:"ad_group_id"`
	Name           *string `json:"name"`
	Status         string  `json:"status" enum:"ACTIVE,PAUSED,ARCHIVED"`
	CreativeType   string  `json:"creative_type" enum:"REGULAR,VIDEO,MAX_VIDEO,SHOPPING,IDEA"`
	PinID          string  `json:"pin_id,omitempty"`
	Title          string  `json:"title" doc:"Gavel's own."`
	Description    string  `json:"description" doc:"Gavel's own."`
	ImageURL       string  `json:"image_url" doc:"Gavel's own."`
	DestinationURL string  `json:"destination_url"`
	CreatedTime    int64   `json:"created_time" doc:"Unix seconds."`
	UpdatedTime    int64   `json:"updated_time" doc:"Unix seconds."`
	Type           string  `json:"type" enum:"ad"`
}

func viewAd(a campaign.Ad) adView {
	v := adView{
		ID: idText(a.ID), AdAccountID: idText(a.AdAccountID), CampaignID: idText(a.CampaignID), AdGroupID: idText(a.AdGroupID),
		Status: string(a.Status), CreativeType: a.Creative.Type, Title: a.Creative.Title, Description: a.Creative.Description,
		ImageURL: a.Creative.ImageURL, DestinationURL: a.Creative.DestinationURL,
		CreatedTime: a.CreatedAt.Unix(), UpdatedTime: a.UpdatedAt.Unix(), Type: "ad",
	}
	if a.Name != "" {
		v.Name = &a.Name
	}
	if a.PinID != 0 {
		v.PinID = idText(a.PinID)
	}
	return v
}

type keywordView struct {
	ID         string `json:"id,omitempty" doc:"Keyword id."`
	MatchType  string `json:"match_type" enum:"BROAD,PHRASE,EXACT,EXACT_NEGATIVE,PHRASE_NEGATIVE"`
	Value      string `json:"value"`
	Bid        *int64 `json:"bid" doc:"Deprecated in v5: always null."`
	ParentID   string `json:"parent_id,omitempty"`
	ParentType string `json:"parent_type,omitempty" enum:"ad_group"`
	Archived   bool   `json:"archived"`
	Type       string `json:"type" enum:"keyword"`
}

func viewKeyword(k campaign.AdGroupKeyword) keywordView {
	return keywordView{
		ID: idText(k.ID), MatchType: string(k.MatchType), Value: k.Value, ParentID: idText(k.AdGroupID), ParentType: "ad_group",
		Archived: k.Archived, Type: "keyword",
	}
}

type audienceView struct {
	ID               string       `json:"id" doc:"Audience id."`
	AdAccountID      string       `json:"ad_account_id"`
	Name             string       `json:"name"`
	Description      *string      `json:"description"`
	AudienceType     string       `json:"audience_type" enum:"CUSTOMER_LIST"`
	Rule             listRuleView `json:"rule" doc:"Its customer list, which has the id of the audience."`
	Status           string       `json:"status" enum:"READY" doc:"Always READY: there is no minimum size."`
	Size             int64        `json:"size" doc:"Users in it."`
	CreatedTimestamp int64        `json:"created_timestamp" doc:"Unix seconds."`
	UpdatedTimestamp int64        `json:"updated_timestamp" doc:"Unix seconds."`
	Type             string       `json:"type" enum:"audience"`
}

type listRuleView struct {
	CustomerListID string `json:"customer_list_id"`
}

func viewAudience(a campaign.Audience) audienceView {
	v := audienceView{
		ID: idText(a.ID), AdAccountID: idText(a.AdAccountID), Name: a.Name, AudienceType: campaign.CustomerList, Rule: listRuleView{idText(a.ID)}, Status: "READY",
		Size: a.Size, CreatedTimestamp: a.CreatedAt.Unix(), UpdatedTimestamp: a.UpdatedAt.Unix(), Type: "audience",
	}
	if a.Description != "" {
		v.Description = &a.Description
	}
	return v
}

type audienceUsersView struct {
	AudienceID string `json:"audience_id"`
	Operation  string `json:"operation_type" enum:"ADD,REMOVE"`
	Received   int    `json:"received" doc:"User ids in the request."`
	Changed    int    `json:"changed" doc:"Users whose membership changed."`
}

func idText[T ~int64](id T) string { return strconv.FormatInt(int64(id), 10) }

func amount(m money.Micros) *int64 {
	if m == 0 {
		return nil
	}
	v := int64(m)
	return &v
}

func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func unix(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	v := t.Unix()
	return &v
}
