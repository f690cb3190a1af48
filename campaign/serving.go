package campaign

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"time"

	"gavel/internal/money"
)

// Ids are 64-bit integers in Go and SQL and digit strings in JSON.
type (
	// AdAccountID names an ad account.
	AdAccountID int64
	// CampaignID names a campaign.
	CampaignID int64
	// AdGroupID names an ad group.
	AdGroupID int64
	// AdID names an ad.
	AdID int64
	// AudienceID names an audience.
	AudienceID int64
	// KeywordID names a keyword.
	KeywordID int64
	// ListID names a list of users: the members of an audience as one upload left them. An audience has one current list; replacing
	// its members makes another list current, in one step.
	ListID int64
)

// BillableEvent is what an ad group pays for.
type BillableEvent string

// The billable events that Gavel bills.
const (
	// BillImpression charges each impression at a CPM price.
	BillImpression BillableEvent = "IMPRESSION"
	// BillClickthrough charges each click.
	BillClickthrough BillableEvent = "CLICKTHROUGH"
)

// MatchType says how a keyword meets a query.
type MatchType string

// The five match types of the v5 API.
const (
	MatchBroad          MatchType = "BROAD"
	MatchPhrase         MatchType = "PHRASE"
	MatchExact          MatchType = "EXACT"
	MatchExactNegative  MatchType = "EXACT_NEGATIVE"
	MatchPhraseNegative MatchType = "PHRASE_NEGATIVE"
)

// Keyword is one keyword of an ad group.
type Keyword struct {
	MatchType MatchType `json:"match_type"`
	Value     string    `json:"value"`
}

// Creative is what the user sees of an ad.
type Creative struct {
	Type           string `json:"type"`
	Title          string `json:"title"`
	Description    string `json:"description"`
	ImageURL       string `json:"image_url"`
	DestinationURL string `json:"destination_url"`
}

// ServingAd is all that an auction needs to know of one ad, read from the ad, its ad group, its campaign and its account in
// one consistent piece. It is what the outbox carries to the targeting index.
type ServingAd struct {
	AdID        AdID        `json:"ad_id"`
	AdGroupID   AdGroupID   `json:"ad_group_id"`
	CampaignID  CampaignID  `json:"campaign_id"`
	AdAccountID AdAccountID `json:"ad_account_id"`
	Currency    string      `json:"currency"`
	// TimeZone is the account's IANA zone: it decides which day a charge belongs to.
	TimeZone string `json:"time_zone"`

	BillableEvent BillableEvent `json:"billable_event"`
	// Objective is the campaign's.
	Objective Objective `json:"objective"`
	// Category is what the account sells, as IAB2; "" = not said.
	Category string `json:"category,omitempty"`

	// BidMicros is per 1,000 impressions for BillImpression, per click for BillClickthrough. It is the cap of CapMicros where the ad
	// group names no bid, so never 0.
	BidMicros   money.Micros `json:"bid_micros"`
	BidStrategy BidStrategy  `json:"bid_strategy"`
	// BidFloorMicros is the least price at which the views are sold, in the unit of BidMicros; 0 = none.
	BidFloorMicros money.Micros `json:"bid_floor_micros,omitempty"`
	// CPAGoalMicros is what a conversion is worth; 0 = none. See Offer.
	CPAGoalMicros money.Micros `json:"cpa_goal_micros,omitempty"`
	// Multipliers are those of the campaign and of the ad group.
	Multipliers BidMultipliers `json:"multipliers,omitzero"`
	// PlacementGroup is ALL, SEARCH, BROWSE or OTHER.
	PlacementGroup string          `json:"placement_group"`
	Targeting      json.RawMessage `json:"targeting"`
	Keywords       []Keyword       `json:"keywords,omitempty"`
	// StartTime (inclusive) and EndTime (exclusive) are the intersection of the campaign's and the ad group's; zero = open.
	StartTime time.Time `json:"start_time,omitzero"`
	EndTime   time.Time `json:"end_time,omitzero"`
	// Hours are those of the week, in TimeZone, in which the ad may be shown; zero = all.
	Hours WeekHours `json:"hours,omitzero"`
	// FrequencyCap is the most impressions one user may get of the ad group in a rolling 30 days; 0 = no cap.
	FrequencyCap int      `json:"frequency_cap,omitempty"`
	Creative     Creative `json:"creative"`
}

// DayOf is the day of t in zone as yyyymmdd, for example 20261123: the period that a charge at t belongs to.
func DayOf(t time.Time, zone *time.Location) int {
	y, m, d := t.In(zone).Date()
	return y*10000 + int(m)*100 + d
}

// The entities that a Change can name.
const (
	EntityAdAccount = "AD_ACCOUNT"
	EntityCampaign  = "CAMPAIGN"
	EntityAdGroup   = "AD_GROUP"
	EntityAd        = "AD"
	EntityUser      = "USER"
	EntityAudience  = "AUDIENCE"
	EntityInterests = "INTERESTS" // all of them; the id is 0
)

// Change is one row of the outbox: this entity is not what it was. It says nothing of what the entity is now.
type Change struct {
	// ID names the row, for deleting it once it is applied.
	ID int64
	// Entity is one of the Entity constants. EntityID is the id of that entity; for EntityUser it is a [UserHash].
	Entity    string
	EntityID  int64
	CreatedAt time.Time
}

// Delta is what a set of changes means for an index: applying it twice, or after a newer one has been applied and then the
// newer one again, ends in the same state.
type Delta struct {
	// Upserts are the ads of the changed entities that may be served now, in order of their ids.
	Upserts []ServingAd
	// Removals are the ads of the changed entities that may not, in order of their ids.
	Removals []AdID
	// Users are the users whose memberships have changed, sorted. What they are members of is asked at the moment of writing it.
	Users []int64
	// Lists has the current list of every changed audience, 0 for one that has none.
	Lists map[AudienceID]ListID
	// Interests is the whole taxonomy, in order of the ids, if it has changed; nil if not.
	Interests []Interest
}

// Interest is a node of the taxonomy of interests.
type Interest struct {
	// ID is 1 to 64 visible ASCII characters.
	ID string
	// ParentID is the interest that this one is part of, "" for one at the top.
	ParentID string
	Name     string
}

// UserHash is the 64-bit hash by which a user is known everywhere behind the handlers: events, audiences, frequency counters. It is
// the first 8 bytes, big endian, of the SHA-256 of the user's id: so a customer list that names its users by SHA-256, which is how
// advertisers exchange such lists, meets the users of ad requests without anybody sending a plain id.
func UserHash(userID string) int64 { return HashPrefix(sha256.Sum256([]byte(userID))) }

// HashPrefix is the [UserHash] of a user whose id has this SHA-256.
func HashPrefix(sum [sha256.Size]byte) int64 { return int64(binary.BigEndian.Uint64(sum[:8])) }

// Membership is the lists that one user is in.
type Membership struct {
	User int64
	// Lists are sorted; none for a user who is in no list.
	Lists []ListID
}
