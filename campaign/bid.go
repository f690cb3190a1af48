package campaign

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"

	"gavel/internal/money"
)

// BidStrategy says what the bid of an ad group means.
type BidStrategy string

// The bid strategies of the v5 API. See docs/bidding.md.
const (
	// MaxBid bids the bid.
	MaxBid BidStrategy = "MAX_BID"
	// AutomaticBid spends the budget at the lowest price: the pacing multiplier bids, the bid caps it.
	AutomaticBid BidStrategy = "AUTOMATIC_BID"
	// TargetAvg holds the average price per billable event at the bid: single prices may be above it.
	TargetAvg BidStrategy = "TARGET_AVG"
)

// The limits of the pacing multiplier by which a controller moves the bids of AutomaticBid and TargetAvg. An index orders ads by
// MaxTargetAvg: who changes it changes the schema of the index.
const (
	// MinAutomatic and 1 bound the multiplier of AutomaticBid; StartAutomatic is where it begins, low, because what is paid too
	// much at first is not paid back.
	MinAutomatic   = 0.001
	StartAutomatic = 0.1
	// MinTargetAvg and MaxTargetAvg bound the multiplier of TargetAvg, which begins at 1.
	MinTargetAvg = 0.1
	MaxTargetAvg = 3
)

// Multiplier holds the pacing multiplier of a strategy to its limits: 1 for MaxBid whatever m is, and where the strategy begins for
// an m that is not above 0 or not a number, such as 0 for "not known".
func (s BidStrategy) Multiplier(m float64) float64 {
	known := m > 0
	switch s {
	case AutomaticBid:
		if !known {
			return StartAutomatic
		}
		return min(max(m, MinAutomatic), 1)
	case TargetAvg:
		if !known {
			return 1
		}
		return min(max(m, MinTargetAvg), MaxTargetAvg)
	case MaxBid:
	}
	return 1
}

// The caps of AUTOMATIC_BID ad groups that name none, in micros: 50 currency units per 1,000 impressions, 5 per click.
const (
	DefaultCapPerMille money.Micros = 50 * 1_000_000
	DefaultCapPerClick money.Micros = 5 * 1_000_000
)

// smallUnits are the currencies in which a unit is worth so little that the default caps are a hundred times as many.
const smallUnits = " JPY KRW HUF CLP COP "

// CapMicros is the largest bid of an ad group, in the unit of its bid, when no bid is given: of one with a CPA goal all that an event
// can be worth, since no click and no impression is worth more than a conversion; of the others the default of its currency.
func CapMicros(event BillableEvent, currency string, cpaGoal money.Micros) money.Micros {
	if cpaGoal > 0 {
		if event == BillImpression {
			return money.Micros(money.Nanos(cpaGoal).MulSat(1000))
		}
		return cpaGoal
	}
	limit := DefaultCapPerMille
	if event == BillClickthrough {
		limit = DefaultCapPerClick
	}
	if inList(smallUnits, currency) {
		limit *= 100
	}
	return limit
}

// PerMille is a multiplier in thousandths: 1200 is 1.2.
type PerMille int64

// The limits of bid multipliers.
const (
	One                  PerMille = 1000
	MaxMultiplier        PerMille = 10 * One
	MinAdGroupMultiplier PerMille = One / 10
	// MaxAudienceMultipliers is the most audiences of one campaign with a multiplier.
	MaxAudienceMultipliers = 100
)

// Multiplier is one multiplier of [BidOptions]: Key is an app type, a placement or an audience id.
type Multiplier struct {
	Key   string
	Value PerMille
}

// BidOptions are the multipliers of a campaign, by app type, placement ("search", "browse", "related_pins") and audience. What is absent is
// multiplied by 1. The zero value is none.
type BidOptions struct {
	AppTypes   map[string]PerMille     `json:"app_type,omitempty"`
	Placements map[string]PerMille     `json:"placement,omitempty"`
	Audiences  map[AudienceID]PerMille `json:"audience,omitempty"`
}

// IsZero reports whether there is no multiplier.
func (o BidOptions) IsZero() bool {
	return len(o.AppTypes) == 0 && len(o.Placements) == 0 && len(o.Audiences) == 0
}

// The app types and the placements of multipliers, in the order of their codes. That of PlacementOther is v5's related_pins.
var (
	multipliedAppTypes   = [...]string{"android_mobile", "android_tablet", "ipad", "iphone", "web", "web_mobile"}
	multipliedPlacements = [...]string{"search", "browse", "related_pins"}
	placementNames       = [...]string{string(PlacementSearch), string(PlacementBrowse), string(PlacementOther)}
)

// BidMultipliers are the multipliers of an ad group and of its campaign. The zero value changes no bid. Equal ones are ==, and there is
// no more to a copy than to a string, because every ad group of an index has one.
type BidMultipliers struct {
	// list has an entry of entryBytes for each multiplier that is not 1: its kind, its key, big endian, and its value. Entries ascend.
	list string
}

// The kinds of multipliers.
const (
	ofAdGroup = iota
	ofAppType
	ofPlacement
	ofAudience
)

const entryBytes = 1 + 8 + 2

// NewBidMultipliers joins the multipliers of a campaign with that of an ad group, 0 for none. Keys that mean nothing, and values outside
// 0..MaxMultiplier, are an error.
func NewBidMultipliers(o BidOptions, adGroup PerMille) (BidMultipliers, error) {
	var entries []string
	var bad error
	add := func(kind byte, key int64, v PerMille) {
		if key < 0 || v < 0 || v > MaxMultiplier {
			bad = fmt.Errorf("bid multiplier %d of kind %d for %d is not valid", v, kind, key)
		}
		if v != One {
			e := binary.BigEndian.AppendUint64([]byte{kind}, uint64(key))
			entries = append(entries, string(binary.BigEndian.AppendUint16(e, uint16(v))))
		}
	}
	if adGroup != 0 {
		if adGroup < MinAdGroupMultiplier {
			bad = fmt.Errorf("bid multiplier %d of an ad group is not valid", adGroup)
		}
		add(ofAdGroup, 0, adGroup)
	}
	for name, v := range o.AppTypes {
		add(ofAppType, int64(slices.Index(multipliedAppTypes[:], name)), v)
	}
	for name, v := range o.Placements {
		add(ofPlacement, int64(slices.Index(multipliedPlacements[:], name)), v)
	}
	for id, v := range o.Audiences {
		add(ofAudience, int64(id), v)
	}
	slices.Sort(entries)
	return BidMultipliers{strings.Join(entries, "")}, bad
}

// IsZero reports whether no bid is changed.
func (m BidMultipliers) IsZero() bool { return m.list == "" }

// Code is the multipliers as bytes in a string, "" for none; equal ones have equal codes.
func (m BidMultipliers) Code() string { return m.list }

// DecodeBidMultipliers reads what Code has made; ok is false for anything else.
func DecodeBidMultipliers(code string) (m BidMultipliers, ok bool) {
	if len(code)%entryBytes != 0 {
		return BidMultipliers{}, false
	}
	last := ""
	for rest := code; rest != ""; rest = rest[entryBytes:] {
		kind, key, v := firstEntry(rest)
		known := kind == ofAdGroup && key == 0 && v >= MinAdGroupMultiplier || kind == ofAppType && key < int64(len(multipliedAppTypes)) ||
			kind == ofPlacement && key < int64(len(multipliedPlacements)) || kind == ofAudience
		if !known || key < 0 || v > MaxMultiplier || v == One || rest[:entryBytes-2] <= last {
			return BidMultipliers{}, false
		}
		last = rest[:entryBytes-2]
	}
	return BidMultipliers{code}, true
}

// MarshalText implements encoding.TextMarshaler.
func (m BidMultipliers) MarshalText() ([]byte, error) {
	return base64.RawURLEncoding.AppendEncode(nil, []byte(m.list)), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *BidMultipliers) UnmarshalText(text []byte) error {
	code, err := base64.RawURLEncoding.AppendDecode(nil, text)
	known, ok := DecodeBidMultipliers(string(code))
	if err != nil || !ok {
		return fmt.Errorf("bid multipliers %q are not valid", text)
	}
	*m = known
	return nil
}

// firstEntry reads the first entry of a list.
func firstEntry(list string) (kind byte, key int64, v PerMille) {
	_ = list[entryBytes-1]
	for i := 1; i <= 8; i++ {
		key = key<<8 | int64(list[i])
	}
	return list[0], key, PerMille(list[9])<<8 | PerMille(list[10])
}

// factors are the multipliers of one request, each in thousandths.
type factors struct{ adGroup, appType, placement, audience PerMille }

// of is bid × the product of the factors, rounded down once; the largest amount when it does not fit.
func (f factors) of(bid money.Nanos) money.Nanos {
	const thousandths = 1000 * 1000 * 1000 * 1000                                               // of four factors
	product := uint64(f.adGroup) * uint64(f.appType) * uint64(f.placement) * uint64(f.audience) // at most 10,000⁴
	hi, lo := bits.Mul64(uint64(max(0, bid)), product)
	if hi >= thousandths {
		return math.MaxInt64
	}
	q, _ := bits.Div64(hi, lo, thousandths)
	return money.Nanos(min(q, math.MaxInt64))
}

// Effective is bid × the multipliers of the ad group, the app type, the placement and the audience of a request, rounded down once; never
// negative, and the largest amount when it does not fit. audiences are the user's, in any order, and mean something only if known.
//
// Of a user who is in several audiences with multipliers the highest counts, but 0 always wins: then the bid is 0 and the ad cannot be
// shown. Audiences that are not known multiply by 1; but where one of them has the multiplier 0 the bid is 0, as an ad that excludes an
// audience is not shown to a user who may be in it.
func (m BidMultipliers) Effective(bid money.Nanos, appType, placement string, audiences []AudienceID, known bool) money.Nanos {
	if m.list == "" {
		return max(0, bid)
	}
	f, some := factors{One, One, One, One}, false
	for rest := m.list; rest != ""; rest = rest[entryBytes:] {
		switch kind, key, v := firstEntry(rest); kind {
		case ofAdGroup:
			f.adGroup = v
		case ofAppType:
			if multipliedAppTypes[key] == appType {
				f.appType = v
			}
		case ofPlacement:
			if placementNames[key] == placement {
				f.placement = v
			}
		case ofAudience:
			switch meets := known && slices.Contains(audiences, AudienceID(key)); {
			case v == 0 && (meets || !known):
				return 0
			case meets && (!some || v > f.audience):
				f.audience, some = v, true
			}
		}
	}
	return f.of(bid)
}

// Most is the largest that Effective can be for any request.
func (m BidMultipliers) Most(bid money.Nanos) money.Nanos {
	f := factors{One, One, One, One}
	for rest := m.list; rest != ""; rest = rest[entryBytes:] {
		switch kind, _, v := firstEntry(rest); kind {
		case ofAdGroup:
			f.adGroup = v
		case ofAppType:
			f.appType = max(f.appType, v)
		case ofPlacement:
			f.placement = max(f.placement, v)
		case ofAudience:
			f.audience = max(f.audience, v)
		}
	}
	return f.of(bid)
}

// Offer is what an ad group bids, before its multipliers.
type Offer struct {
	Event    BillableEvent
	Strategy BidStrategy
	// Bid is per 1,000 impressions for BillImpression, per click for BillClickthrough. It is above 0; with a CPAGoal it is a cap.
	Bid money.Micros
	// CPAGoal is what a conversion is worth; 0 = none.
	CPAGoal money.Micros
}

// Base is the bid per billable event: the bid or, with a CPA goal, what the event is worth by it, CPA goal × pCVR for a click and CPA goal ×
// pCTR × pCVR for an impression, rounded down and at most the bid. Then it is × the pacing multiplier (see BidStrategy.Multiplier),
// rounded down. pCVR is the probability of a conversion once clicked. It does not fall when any of them rises.
func (o Offer) Base(pacing, pCTR, pCVR float64) money.Nanos {
	bid := o.Bid.PerImpression()
	if o.Event == BillClickthrough {
		var err error
		if bid, err = o.Bid.Nanos(); err != nil {
			return 0 // the API refuses such bids; one that came in another way never wins
		}
	}
	if o.CPAGoal > 0 {
		goal, err := o.CPAGoal.Nanos()
		if err != nil {
			return 0
		}
		worth := float64(goal) * pCVR
		if o.Event == BillImpression {
			worth *= pCTR
		}
		bid = min(bid, money.FloorScore(worth))
	}
	if m := o.Strategy.Multiplier(pacing); m != 1 {
		bid = money.FloorScore(float64(bid) * m)
	}
	return bid
}

// MostPacing is the largest pacing multiplier of a strategy.
func (s BidStrategy) MostPacing() float64 { return s.Multiplier(MaxTargetAvg) }
