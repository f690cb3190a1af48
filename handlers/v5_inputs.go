package handlers

import (
	"encoding/json"

	"gavel/campaign"
	"gavel/internal/fault"
)

// The inputs of the v5 API. Tags make the schema; the rules are the service's.

type adAccountCreate struct {
	Name     textIn[string] `json:"name" maxLength:"256" doc:"Ad account name."`
	Country  textIn[string] `json:"country" pattern:"^[A-Z]{2}$" doc:"ISO 3166-1 alpha-2." example:"US"`
	Currency textIn[string] `json:"currency" pattern:"^[A-Z]{3}$" doc:"ISO 4217; fixed." example:"USD"`
	TimeZone textIn[string] `json:"time_zone,omitempty" doc:"Gavel's own. IANA time zone that decides what a day of a daily budget is; fixed. Default UTC." example:"Europe/Berlin"`
	Category textIn[string] `json:"iab_category,omitempty" nullable:"true" pattern:"^IAB([1-9]|1[0-9]|2[0-6])$" doc:"Gavel's own. What the account sells, as a tier-1 category of the IAB Content Taxonomy 1.0: IAB1 to IAB26; fixed. A page may keep two ads of one category apart." example:"IAB22"`
	Owner    offIn          `json:"owner_user_id,omitempty" enum:"null"`
}

func (in *adAccountCreate) input() campaign.AdAccountInput {
	return campaign.AdAccountInput{Name: in.Name.Opt, Country: in.Country.Opt, Currency: in.Currency.Opt, TimeZone: in.TimeZone.Opt, Category: in.Category.Opt}
}

type adAccountUpdate struct {
	DailySpendCap    amountIn `json:"daily_spend_cap,omitempty" nullable:"true" minimum:"1" maximum:"1000000000000000" doc:"Micro currency per day of the ad account, for all its campaigns together; null removes it."`
	LifetimeSpendCap amountIn `json:"lifetime_spend_cap,omitempty" nullable:"true" minimum:"1" maximum:"1000000000000000" doc:"Micro currency, for all its campaigns together, ever. May be set beside daily_spend_cap; null removes it."`
}

func (in *adAccountUpdate) input() campaign.AdAccountUpdate {
	return campaign.AdAccountUpdate{DailySpendCap: in.DailySpendCap.Opt, LifetimeSpendCap: in.LifetimeSpendCap.Opt}
}

// CampaignFields are the fields that create and update of campaigns share. It is exported because reflection passes over embedded types that are not.
type CampaignFields struct {
	AdAccountID      idIn[campaign.AdAccountID] `json:"ad_account_id,omitempty" doc:"The ad account of the path."`
	Status           textIn[campaign.Status]    `json:"status,omitempty" enum:"ACTIVE,PAUSED,ARCHIVED" doc:"Default ACTIVE."`
	CBO              boolIn                     `json:"is_campaign_budget_optimization,omitempty" nullable:"true" doc:"The campaign's cap is the budget of its ad groups, which have none. Fixed once created. Default false."`
	DailySpendCap    amountIn                   `json:"daily_spend_cap,omitempty" nullable:"true" minimum:"1" maximum:"1000000000000000" doc:"Micro currency per day of the ad account. Excludes lifetime_spend_cap; null removes it."`
	LifetimeSpendCap amountIn                   `json:"lifetime_spend_cap,omitempty" nullable:"true" minimum:"1" maximum:"1000000000000000" doc:"Micro currency. Excludes daily_spend_cap; null removes it."`
	StartTime        timeIn                     `json:"start_time,omitempty" nullable:"true" doc:"Unix seconds; null removes it."`
	EndTime          timeIn                     `json:"end_time,omitempty" nullable:"true" doc:"Unix seconds, after start_time; null removes it."`

	OrderLine       offIn `json:"order_line_id,omitempty" enum:"null"`
	TrackingURLs    offIn `json:"tracking_urls,omitempty" enum:"null,{}"`
	DefaultBudget   offIn `json:"default_ad_group_budget_in_micro_currency,omitempty" enum:"null,0"`
	FlexibleBudgets offIn `json:"is_flexible_daily_budgets,omitempty" enum:"null,false"`
	Automated       offIn `json:"is_automated_campaign,omitempty" enum:"null,false"`
	PerformancePlus offIn `json:"is_performance_plus,omitempty" enum:"null,false"`
}

func (in *CampaignFields) input(name textIn[string], objective textIn[campaign.Objective]) campaign.CampaignInput {
	return campaign.CampaignInput{
		AdAccountID: in.AdAccountID.Opt, Name: name.Opt, Status: in.Status.Opt, Objective: objective.Opt, BudgetOptimization: in.CBO.Opt,
		DailySpendCap: in.DailySpendCap.Opt, LifetimeSpendCap: in.LifetimeSpendCap.Opt, StartTime: in.StartTime.Opt, EndTime: in.EndTime.Opt,
	}
}

type campaignCreateRequest struct {
	Name      textIn[string]             `json:"name" minLength:"1" maxLength:"255" doc:"Campaign name."`
	Objective textIn[campaign.Objective] `json:"objective_type" enum:"AWARENESS,CONSIDERATION,WEB_CONVERSION,CATALOG_SALES,VIDEO_COMPLETION" doc:"Fixed once created."`
	Bids      objectIn[bidOptionsCreate] `json:"bid_options,omitempty" doc:"Multipliers of the bids of its ad groups."`
	CampaignFields
}

func (in *campaignCreateRequest) input() campaign.CampaignInput {
	c := in.CampaignFields.input(in.Name, in.Objective)
	c.BidOptions = inputOf(in.Bids.Opt, func(o *bidOptionsCreate) campaign.BidOptionsInput { return o.BidMultiplierFields.input() })
	return c
}

type campaignUpdateRequest struct {
	ID        idIn[campaign.CampaignID]  `json:"id" doc:"Campaign id."`
	Name      textIn[string]             `json:"name,omitempty" minLength:"1" maxLength:"255" doc:"Campaign name."`
	Objective textIn[campaign.Objective] `json:"objective_type,omitempty" enum:"AWARENESS,CONSIDERATION,WEB_CONVERSION,CATALOG_SALES,VIDEO_COMPLETION" doc:"Cannot be changed."`
	Bids      objectIn[bidOptionsUpdate] `json:"bid_options,omitempty" doc:"Multipliers of the bids of its ad groups; null removes all."`
	CampaignFields
}

func (in *campaignUpdateRequest) input() campaign.CampaignUpdate {
	objective := in.Objective
	if objective.Null { // v5: null leaves it
		objective = textIn[campaign.Objective]{}
	}
	c := in.CampaignFields.input(in.Name, objective)
	c.BidOptions = inputOf(in.Bids.Opt, (*bidOptionsUpdate).input)
	return campaign.CampaignUpdate{ID: in.ID.Value, CampaignInput: c}
}

// AdGroupFields are the fields that create and update of ad groups share. It is exported because reflection passes over embedded types that are not.
type AdGroupFields struct {
	AdAccountID    idIn[campaign.AdAccountID]          `json:"ad_account_id,omitempty" doc:"The ad account of the path."`
	Status         textIn[campaign.Status]             `json:"status,omitempty" enum:"ACTIVE,PAUSED,ARCHIVED" doc:"Default ACTIVE."`
	Bid            amountIn                            `json:"bid_in_micro_currency,omitempty" nullable:"true" minimum:"1" maximum:"1000000000000" doc:"Per 1,000 impressions for IMPRESSION, per click for CLICKTHROUGH. Required for MAX_BID and TARGET_AVG, unless a CPA goal takes its place. For AUTOMATIC_BID and beside a CPA goal it is a cap; null removes it."`
	BidStrategy    textIn[campaign.BidStrategy]        `json:"bid_strategy_type,omitempty" nullable:"true" enum:"MAX_BID,AUTOMATIC_BID,TARGET_AVG" doc:"MAX_BID bids the bid. AUTOMATIC_BID spends the budget at the lowest price. TARGET_AVG holds the average price at the bid. Default MAX_BID."`
	BidMultiplier  perMilleIn                          `json:"bid_multiplier,omitempty" minimum:"0" maximum:"10" doc:"From 0.1 to 10 with at most 3 decimals, only for AUTOMATIC_BID; 0 removes it."`
	BidFloor       amountIn                            `json:"bid_floor_in_micro_currency,omitempty" nullable:"true" minimum:"1" maximum:"1000000000000" doc:"Gavel's own, for operators only. The least price at which its views are sold, in the unit of the bid and not above it; null removes it."`
	Goal           objectIn[goalRequest]               `json:"optimization_goal_metadata,omitempty" doc:"Only a CPA goal is supported, for campaigns with the objective WEB_CONVERSION and not with TARGET_AVG; null removes it."`
	Budget         amountIn                            `json:"budget_in_micro_currency,omitempty" nullable:"true" minimum:"1" maximum:"1000000000000000" doc:"Required unless the campaign optimizes the budget, and then not allowed."`
	BudgetType     textIn[campaign.BudgetType]         `json:"budget_type,omitempty" enum:"DAILY,LIFETIME,CBO_ADGROUP" doc:"LIFETIME needs end_time. Fixed once created. Default DAILY, or CBO_ADGROUP when the campaign optimizes the budget."`
	Pacing         textIn[campaign.PacingDeliveryType] `json:"pacing_delivery_type,omitempty" enum:"STANDARD,ACCELERATED" doc:"Default STANDARD."`
	PlacementGroup textIn[campaign.PlacementGroup]     `json:"placement_group,omitempty" enum:"ALL,SEARCH,BROWSE,OTHER" doc:"Default ALL."`
	TargetingSpec  specIn                              `json:"targeting_spec,omitempty" nullable:"true" doc:"As in v5; a key that is absent targets everyone. Given anew, it replaces the whole spec."`
	FrequencyCap   intIn[int64]                        `json:"lifetime_frequency_cap,omitempty" nullable:"true" minimum:"1" maximum:"10000" doc:"Most impressions for one user in a rolling 30 days. Only for IMPRESSION, and needs end_time; null removes it."`
	StartTime      timeIn                              `json:"start_time,omitempty" nullable:"true" doc:"Unix seconds, not before the campaign's; null removes it."`
	EndTime        timeIn                              `json:"end_time,omitempty" nullable:"true" doc:"Unix seconds, after start_time and not after the campaign's; null removes it."`
	AdSchedule     scheduleIn                          `json:"ad_schedule,omitempty" nullable:"true" doc:"Gavel's own. The hours of the week in which the ad group serves, in the time zone of the ad account; entries may overlap. Null means all hours."`

	AutoTargeting        offIn `json:"auto_targeting_enabled,omitempty" enum:"null,false"`
	CreativeOptimization offIn `json:"is_creative_optimization,omitempty" enum:"null,false"`
	PromotionLevel       offIn `json:"promotion_application_level,omitempty" enum:"null,\"NONE\""`
	Promotion            offIn `json:"promotion_id,omitempty" enum:"null,\"0\""`
	TargetingTemplates   offIn `json:"targeting_template_ids,omitempty" enum:"null,[],[\"0\"]"`
	TrackingURLs         offIn `json:"tracking_urls,omitempty" enum:"null,{}"`
}

func (in *AdGroupFields) input() campaign.AdGroupInput {
	return campaign.AdGroupInput{
		AdAccountID: in.AdAccountID.Opt, Status: in.Status.Opt, Budget: in.Budget.Opt, BudgetType: in.BudgetType.Opt, Pacing: in.Pacing.Opt,
		PlacementGroup: in.PlacementGroup.Opt, TargetingSpec: in.TargetingSpec.Opt, FrequencyCap: in.FrequencyCap.Opt,
		StartTime: in.StartTime.Opt, EndTime: in.EndTime.Opt, AdSchedule: in.AdSchedule.Opt,
		Bid: in.Bid.Opt, BidStrategy: in.BidStrategy.Opt, BidMultiplier: in.BidMultiplier.Opt, BidFloor: in.BidFloor.Opt, CPAGoal: cpaGoal(in.Goal.Opt),
	}
}

type scheduleRequest struct {
	Day       textIn[string] `json:"day_of_week" enum:"MONDAY,TUESDAY,WEDNESDAY,THURSDAY,FRIDAY,SATURDAY,SUNDAY" doc:"Day in the time zone of the ad account."`
	StartHour intIn[int64]   `json:"start_hour" minimum:"0" maximum:"23" doc:"First hour."`
	EndHour   intIn[int64]   `json:"end_hour" minimum:"1" maximum:"24" doc:"The hour before which it ends: 17 is until 16:59. What goes past midnight is two entries, one for each day."`
}

func (in *scheduleRequest) input() campaign.ScheduleInput {
	return campaign.ScheduleInput{Day: in.Day.Opt, StartHour: in.StartHour.Opt, EndHour: in.EndHour.Opt}
}

type adGroupCreateRequest struct {
	CampaignID idIn[campaign.CampaignID]      `json:"campaign_id" doc:"Campaign of the ad group."`
	Name       textIn[string]                 `json:"name" minLength:"1" maxLength:"255" doc:"Ad group name."`
	Billable   textIn[campaign.BillableEvent] `json:"billable_event" enum:"IMPRESSION,CLICKTHROUGH" doc:"Fixed once created."`
	AdGroupFields
}

func (in *adGroupCreateRequest) input() campaign.AdGroupInput {
	g := in.AdGroupFields.input()
	g.CampaignID, g.Name, g.BillableEvent = in.CampaignID.Opt, in.Name.Opt, in.Billable.Opt
	return g
}

type adGroupUpdateRequest struct {
	ID         idIn[campaign.AdGroupID]       `json:"id" doc:"Ad group id."`
	CampaignID idIn[campaign.CampaignID]      `json:"campaign_id,omitempty" doc:"Cannot be changed."`
	Name       textIn[string]                 `json:"name,omitempty" minLength:"1" maxLength:"255" doc:"Ad group name."`
	Billable   textIn[campaign.BillableEvent] `json:"billable_event,omitempty" enum:"IMPRESSION,CLICKTHROUGH" doc:"Cannot be changed."`
	AdGroupFields
}

func (in *adGroupUpdateRequest) input() campaign.AdGroupUpdate {
	g := in.AdGroupFields.input()
	g.CampaignID, g.Name, g.BillableEvent = in.CampaignID.Opt, in.Name.Opt, in.Billable.Opt
	return campaign.AdGroupUpdate{ID: in.ID.Value, AdGroupInput: g}
}

// AdFields are the fields that create and update of ads share. It is exported because reflection passes over embedded types that are not.
type AdFields struct {
	AdAccountID idIn[campaign.AdAccountID] `json:"ad_account_id,omitempty" doc:"The ad account of the path."`
	Name        textIn[string]             `json:"name,omitempty" nullable:"true" maxLength:"255" doc:"Ad name."`
	Status      textIn[campaign.Status]    `json:"status,omitempty" enum:"ACTIVE,PAUSED,ARCHIVED" doc:"Default ACTIVE."`
	PinID       idIn[int64]                `json:"pin_id,omitempty" nullable:"true" doc:"The pin that the ad promotes, if any. Fixed once created."`
	Title       textIn[string]             `json:"title,omitempty" nullable:"true" maxLength:"100" doc:"Gavel's own: what the pin would say."`
	Description textIn[string]             `json:"description,omitempty" nullable:"true" maxLength:"800" doc:"Gavel's own: what the pin would say."`
	ImageURL    textIn[string]             `json:"image_url,omitempty" nullable:"true" maxLength:"2048" doc:"Gavel's own: what the pin would show. http or https."`

	GridClickType  ignoredIn `json:"grid_click_type,omitempty"`
	PinDeleted     offIn     `json:"is_pin_deleted,omitempty" enum:"null,false"`
	Removable      offIn     `json:"is_removable,omitempty" enum:"null,false"`
	AndroidLink    offIn     `json:"android_deep_link,omitempty" enum:"null"`
	IOSLink        offIn     `json:"ios_deep_link,omitempty" enum:"null"`
	CarouselLinks  offIn     `json:"carousel_android_deep_links,omitempty" enum:"null,[]"`
	CarouselURLs   offIn     `json:"carousel_destination_urls,omitempty" enum:"null,[]"`
	CarouselIOS    offIn     `json:"carousel_ios_deep_links,omitempty" enum:"null,[]"`
	ClickTracking  offIn     `json:"click_tracking_url,omitempty" enum:"null"`
	ViewTracking   offIn     `json:"view_tracking_url,omitempty" enum:"null"`
	TrackingURLs   offIn     `json:"tracking_urls,omitempty" enum:"null,{}"`
	CallToAction   offIn     `json:"customizable_cta_type,omitempty" enum:"null"`
	DisclosureType offIn     `json:"disclosure_type,omitempty" enum:"null,\"NO_DISCLOSURE\""`
	DisclosureURL  offIn     `json:"disclosure_url,omitempty" enum:"null"`
	LeadForm       offIn     `json:"lead_form_id,omitempty" enum:"null"`
	Quiz           offIn     `json:"quiz_pin_data,omitempty" enum:"null"`
}

func (in *AdFields) input() campaign.AdInput {
	return campaign.AdInput{
		AdAccountID: in.AdAccountID.Opt, Name: in.Name.Opt, Status: in.Status.Opt, PinID: in.PinID.Opt,
		Title: in.Title.Opt, Description: in.Description.Opt, ImageURL: in.ImageURL.Opt,
	}
}

type adCreateRequest struct {
	AdGroupID      idIn[campaign.AdGroupID] `json:"ad_group_id" doc:"Ad group of the ad."`
	CreativeType   textIn[string]           `json:"creative_type" enum:"REGULAR,VIDEO,MAX_VIDEO,SHOPPING,IDEA" doc:"How the feed renders it. Fixed once created."`
	DestinationURL textIn[string]           `json:"destination_url" maxLength:"2048" doc:"Where a click leads: http or https."`
	AdFields
}

func (in *adCreateRequest) input() campaign.AdInput {
	a := in.AdFields.input()
	a.AdGroupID, a.CreativeType, a.DestinationURL = in.AdGroupID.Opt, in.CreativeType.Opt, in.DestinationURL.Opt
	return a
}

type adUpdateRequest struct {
	ID             idIn[campaign.AdID]      `json:"id" doc:"Ad id."`
	AdGroupID      idIn[campaign.AdGroupID] `json:"ad_group_id,omitempty" doc:"Cannot be changed."`
	CreativeType   textIn[string]           `json:"creative_type,omitempty" enum:"REGULAR,VIDEO,MAX_VIDEO,SHOPPING,IDEA" doc:"Cannot be changed."`
	DestinationURL textIn[string]           `json:"destination_url,omitempty" maxLength:"2048" doc:"Where a click leads: http or https."`
	AdFields
}

func (in *adUpdateRequest) input() campaign.AdUpdate {
	a := in.AdFields.input()
	a.AdGroupID, a.CreativeType, a.DestinationURL = in.AdGroupID.Opt, in.CreativeType.Opt, in.DestinationURL.Opt
	return campaign.AdUpdate{ID: in.ID.Value, AdInput: a}
}

type keywordRequest struct {
	MatchType textIn[campaign.MatchType] `json:"match_type" enum:"BROAD,PHRASE,EXACT,EXACT_NEGATIVE,PHRASE_NEGATIVE" doc:"How the keyword meets a query."`
	Value     textIn[string]             `json:"value" minLength:"1" maxLength:"120" doc:"Keyword."`
	Bid       ignoredIn                  `json:"bid,omitempty" doc:"Deprecated in v5: ignored, and null in answers."`
}

func (in *keywordRequest) input() campaign.KeywordInput {
	return campaign.KeywordInput{MatchType: in.MatchType.Opt, Value: in.Value.Opt}
}

type keywordsRequest struct {
	ParentID idIn[campaign.AdGroupID] `json:"parent_id" doc:"Ad group that gets the keywords."`
	Keywords keywordListIn            `json:"keywords" doc:"The keywords, 1 to 1000."`
}

type audienceCreateRequest struct {
	AdAccountID idIn[campaign.AdAccountID] `json:"ad_account_id,omitempty" doc:"The ad account of the path."`
	Name        textIn[string]             `json:"name" minLength:"1" maxLength:"256" doc:"Audience name."`
	Type        textIn[string]             `json:"audience_type" enum:"CUSTOMER_LIST" doc:"The one type that exists yet."`
	Description textIn[string]             `json:"description,omitempty" nullable:"true" maxLength:"1000" doc:"Audience description."`
	Rule        listRuleIn                 `json:"rule,omitempty" doc:"customer_list_id names a customer list, which is an audience already: it is given the name and description, and returned. Without it an empty audience is created."`
}

func (in *audienceCreateRequest) input() campaign.AudienceInput {
	return campaign.AudienceInput{AdAccountID: in.AdAccountID.Opt, Name: in.Name.Opt, Type: in.Type.Opt, Description: in.Description.Opt, CustomerList: in.Rule.Opt}
}

type audienceUsersRequest struct {
	Operation textIn[string] `json:"operation_type" enum:"ADD,REMOVE" doc:"What to do with the users."`
	UserIDs   textsIn        `json:"user_ids" minItems:"1" maxItems:"10000" doc:"User ids as ad requests name them, of at most 128 bytes."`
}

func (in *audienceUsersRequest) input() campaign.AudienceUsersInput {
	return campaign.AudienceUsersInput{Operation: in.Operation.Opt, UserIDs: in.UserIDs.Opt}
}

// decodeItem reads one object as D and returns it as the service's input, with the decoder's problems.
func decodeItem[D, In any](raw json.RawMessage, input func(*D) In) campaign.Item[In] {
	var d D
	found := decodeObject(raw, &d)
	return campaign.Item[In]{Input: input(&d), Problems: found}
}

// decodeItems reads an array of 1 to 30 objects as D.
func decodeItems[D, In any](body []byte, input func(*D) In) ([]campaign.Item[In], error) {
	elements, err := decodeArray(body, campaign.MaxBatch)
	if err != nil {
		return nil, err
	}
	items := make([]campaign.Item[In], len(elements))
	for i, raw := range elements {
		items[i] = decodeItem(raw, input)
	}
	return items, nil
}

// decodeKeywords reads a v5 keywords request.
func decodeKeywords(body []byte) (parent campaign.Opt[campaign.AdGroupID], items []campaign.Item[campaign.KeywordInput], found []fault.Field) {
	var in keywordsRequest
	found = decodeObject(body, &in)
	return in.ParentID.Opt, in.Keywords.items, found
}
