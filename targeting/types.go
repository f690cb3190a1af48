package targeting

import (
	"time"

	"gavel/campaign"
)

// Placement is a surface of the feed.
type Placement string

// The placements of the v5 API: the home feed, search results, and related pins.
const (
	PlacementBrowse Placement = "BROWSE"
	PlacementSearch Placement = "SEARCH"
	PlacementOther  Placement = "OTHER"
)

// Query is what is known of one ad request. The zero value of a field means "not known".
type Query struct {
	Now       time.Time
	Placement Placement
	// Country is ISO 3166-1 alpha-2 ("US"), Region ISO 3166-2 ("US-CA"), DMA a US market area ("807").
	Country, Region, DMA string
	// Gender is "male", "female" or "unknown"; "" means unknown.
	Gender string
	// Age in years; 0 = not known.
	Age int
	// Locale is a BCP 47 tag ("en-US"); "en_US" is read the same.
	Locale string
	// AppType is one of the v5 app types ("iphone").
	AppType   string
	Interests []string
	// SearchQuery is what the user typed; Keywords are those of the page. See MaxPhraseBytes and MaxPageKeywords.
	SearchQuery string
	Keywords    []string
	// Audiences are those the user is a member of, and mean something only if AudiencesKnown. A request without a user id
	// knows no audiences.
	Audiences      []campaign.AudienceID
	AudiencesKnown bool
	// ExcludeAdAccounts and ExcludeAds are the request's own exclusions.
	ExcludeAdAccounts []campaign.AdAccountID
	ExcludeAds        []campaign.AdID
}

// UserState is what Redis knows of one user.
type UserState struct {
	// Lists are those that the user is in, sorted; the [Tables] of an index say whose they are.
	Lists []campaign.ListID
	// Views are the impressions of each ad group in the last 30 days, of ad groups that have a cap. Ad groups without one are absent.
	Views map[campaign.AdGroupID]int
}

// Miss says which part of the targeting kept an ad from a query; Matched (0) is none.
type Miss uint8

// The parts of targeting, in the order in which they are checked.
const (
	Matched Miss = iota
	MissExcluded
	MissSchedule
	MissPlacement
	MissLocation
	MissGender
	MissAge
	MissAppType
	MissLocale
	MissInterest
	MissKeyword
	MissAudience
)

// String names the part in lower case: "location".
func (m Miss) String() string {
	names := [...]string{
		"matched", "excluded", "schedule", "placement", "location", "gender", "age", "app type", "locale", "interest", "keyword",
		"audience",
	}
	if int(m) < len(names) {
		return names[m]
	}
	return "unknown"
}
