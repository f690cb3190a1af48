package torture

// Campaign is one of the row's campaigns, each with one ad group and one ad.
type Campaign struct {
	Account, Campaign, AdGroup, Ad int64
	Currency, TimeZone             string
	// Class is hot, scarce or plain: scarce ones have a budget of tens of impressions.
	Class string
	// Billable is IMPRESSION or CLICKTHROUGH; BidMicros is per 1,000 impressions or per click.
	Billable  string
	BidMicros int64
	// Limits are the budget lines that stop.
	Limits []Limit
}

// Line is a budget line: CAMPAIGN or AD_GROUP, an id, and DAILY or LIFETIME.
type Line struct {
	Scope string
	ID    int64
	Kind  string
}

// Limit is what an advertiser allows on a line.
type Limit struct {
	Line
	Micros int64
}
