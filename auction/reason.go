package auction

import "gavel/targeting"

// Reason says how an ad left an auction. Numbers below 1000 are the IAB's loss reason codes (OpenRTB 2.6, list 5.25); those
// from 1000 on are exchange-specific, as that list provides. They are listed in docs/no-bid-reasons.md and never reused.
type Reason uint16

// The reasons.
const (
	Won             Reason = 0
	BelowFloor      Reason = 100
	LostToHigherBid Reason = 102
	Excluded        Reason = 205
	// CompetingCategory has the number of the IAB's "category exclusions".
	CompetingCategory Reason = 209

	MissSchedule  Reason = 1001
	MissPlacement Reason = 1002
	MissLocation  Reason = 1003
	MissGender    Reason = 1004
	MissAge       Reason = 1005
	MissAppType   Reason = 1006
	MissLocale    Reason = 1007
	MissInterest  Reason = 1008
	MissKeyword   Reason = 1009
	MissAudience  Reason = 1010

	FrequencyCap     Reason = 1020
	UserStateUnknown Reason = 1021
	BudgetExhausted  Reason = 1030
	BudgetPending    Reason = 1031
	AdvertiserOnPage Reason = 1040
	CampaignOnPage   Reason = 1041
	BelowOrganic     Reason = 1043
	AdLoad           Reason = 1044
	NotScored        Reason = 1045
	InvalidBid       Reason = 1046
)

type reasonText struct{ name, meaning string }

var reasonTexts = map[Reason]reasonText{
	Won:               {"WON", "the ad is on the page"},
	BelowFloor:        {"BELOW_FLOOR", "its bid is under the floor of the placement and country, or of its ad group"},
	LostToHigherBid:   {"LOST_TO_HIGHER_BID", "other ads were worth more, and the page has no more slots"},
	Excluded:          {"EXCLUDED", "the request excludes the ad or its advertiser"},
	CompetingCategory: {"COMPETING_CATEGORY", "it would stand beside an ad of the same category"},
	MissSchedule:      {"SCHEDULE", "the ad group or campaign has not started or has ended, or the ad group does not serve in this hour of the week"},
	MissPlacement:     {"PLACEMENT", "the ad group does not run on this placement"},
	MissLocation:      {"LOCATION", "the user's country, market area or region is not targeted, or not known"},
	MissGender:        {"GENDER", "the user's gender is not targeted"},
	MissAge:           {"AGE", "the user's age is not targeted, or not known"},
	MissAppType:       {"APP_TYPE", "the user's app type is not targeted, or not known"},
	MissLocale:        {"LOCALE", "the user's locale is not targeted, or not known"},
	MissInterest:      {"INTEREST", "none of the user's interests, nor of their parents, is targeted"},
	MissKeyword:       {"KEYWORD", "no keyword matches the query or the page, or a negative one does"},
	MissAudience:      {"AUDIENCE", "the user is not in an included audience, or is in an excluded one, or that is not known"},
	FrequencyCap:      {"FREQUENCY_CAP", "the user has seen the ad group as often as its cap allows in 30 days"},
	UserStateUnknown:  {"USER_STATE_UNKNOWN", "the ad group has a frequency cap and the user's count is not known"},
	BudgetExhausted:   {"BUDGET_EXHAUSTED", "a budget that the ad counts against has nothing left"},
	BudgetPending:     {"BUDGET_PENDING", "this node holds no lease of the budget yet; it has asked for one"},
	AdvertiserOnPage:  {"ADVERTISER_ON_PAGE", "the page has as many ads of the same advertiser as it may, and they are better"},
	CampaignOnPage:    {"CAMPAIGN_ON_PAGE", "the page has as many ads of the same campaign as it may, and they are better"},
	BelowOrganic:      {"BELOW_ORGANIC", "it is not worth more than the item of the feed that it would displace"},
	AdLoad:            {"AD_LOAD", "it would be on the page if every slot were open to ads; the ad load or the gap between ads keeps them empty"},
	NotScored:         {"NOT_SCORED", "the ad matches, but its highest possible value is below that of the ads that were scored"},
	InvalidBid:        {"INVALID_BID", "after all multipliers its bid is 0"},
}

// ofMoney says that the ad had no money for its price.
func (r Reason) ofMoney() bool { return r == BudgetExhausted || r == BudgetPending }

// String is the reason's name as it appears in JSON, "REASON_n" for a number that is not in the list.
func (r Reason) String() string {
	if t, ok := reasonTexts[r]; ok {
		return t.name
	}
	return "UNKNOWN"
}

// Meaning explains the reason in one clause.
func (r Reason) Meaning() string { return reasonTexts[r].meaning }

// Reasons lists every reason.
func Reasons() []Reason {
	all := make([]Reason, 0, len(reasonTexts))
	for r := range reasonTexts {
		all = append(all, r)
	}
	return all
}

var missReasons = [...]Reason{
	targeting.MissExcluded:  Excluded,
	targeting.MissSchedule:  MissSchedule,
	targeting.MissPlacement: MissPlacement,
	targeting.MissLocation:  MissLocation,
	targeting.MissGender:    MissGender,
	targeting.MissAge:       MissAge,
	targeting.MissAppType:   MissAppType,
	targeting.MissLocale:    MissLocale,
	targeting.MissInterest:  MissInterest,
	targeting.MissKeyword:   MissKeyword,
	targeting.MissAudience:  MissAudience,
}
