package torture

import (
	"fmt"
	"time"
)

// The scopes and kinds of budget lines, as the database names them.
const (
	scopeAccount  = "AD_ACCOUNT"
	scopeCampaign = "CAMPAIGN"
	scopeAdGroup  = "AD_GROUP"
	daily         = "DAILY"
	lifetime      = "LIFETIME"
)

// The classes of campaigns.
const (
	Hot    = "hot"    // a high bid, shown to everybody
	Scarce = "scarce" // the highest bids, and a budget of tens of impressions
	Plain  = "plain"
)

// Campaign is one of the row's campaigns, each with one ad group and one ad.
type Campaign struct {
	Account, Campaign, AdGroup, Ad int64
	Currency, TimeZone             string
	// Class is Hot, Scarce or Plain.
	Class string
	// Clicks says that the ad group pays per click; else it pays per impression.
	Clicks bool
	// BidMicros is per 1,000 impressions or per click.
	BidMicros int64
	// CBO says that the campaign has the budget.
	CBO bool
	// Limits are the budget lines that stop.
	Limits []Limit
}

// Line is a budget line: AD_ACCOUNT, CAMPAIGN or AD_GROUP, an id, and DAILY or LIFETIME.
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

// How the campaigns' audiences are cut: a page is of three plain ones, and now and then of a scarce one.
const (
	plainAudiences  = 40
	scarceAudiences = 20
)

func plainAudience(n int) string  { return fmt.Sprintf("p%d", n%plainAudiences) }
func scarceAudience(n int) string { return fmt.Sprintf("s%d", n%scarceAudiences) }

// priceMax is the most that an event of the ad may cost: nanos.
func (k *Campaign) priceMax(kind string) int64 {
	switch {
	case k.Clicks && kind == click:
		return k.BidMicros * nanosPerMicro
	case !k.Clicks && kind == impression:
		return k.BidMicros // per 1,000 impressions, in micros: as many nanos for each
	default:
		return 0
	}
}

// isDay reports whether day (yyyymmdd) is the account's local day at some moment between from and to, a second more on each side.
func (k *Campaign) isDay(day int, from, to time.Time) bool {
	zone, err := time.LoadLocation(k.TimeZone)
	if err != nil {
		return false
	}
	of := func(t time.Time) int {
		y, m, d := t.In(zone).Date()
		return y*10000 + int(m)*100 + d
	}
	return day == of(from.Add(-clockSlack)) || day == of(to.Add(clockSlack))
}
