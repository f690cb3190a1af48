package targeting

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gavel/campaign"
	"gavel/internal/money"
)

// Ad is a servable ad. It is small, because there are millions: what the ads of an ad group have in common is in Group. It is
// immutable, and a copy is as good.
type Ad struct {
	AdID campaign.AdID
	*Group
	// creative is what appendCreative makes.
	creative string
}

// Group is what the ads of an ad group have in common.
type Group struct {
	AdGroupID   campaign.AdGroupID
	CampaignID  campaign.CampaignID
	AdAccountID campaign.AdAccountID
	Currency    string
	// Zone is the account's time zone.
	Zone *time.Location
	// Objective is the campaign's, Category what the account sells ("IAB2"; "" = not said).
	Objective     campaign.Objective
	Category      string
	BillableEvent campaign.BillableEvent
	BidStrategy   campaign.BidStrategy
	// BidMicros is per 1,000 impressions for BillImpression, per click for BillClickthrough. See campaign.Offer.
	BidMicros money.Micros
	// BidFloorMicros is the least price in the unit of BidMicros, CPAGoalMicros what a conversion is worth; 0 = none.
	BidFloorMicros, CPAGoalMicros money.Micros
	Multipliers                   campaign.BidMultipliers
	// FrequencyCap is the most impressions one user may get in a rolling 30 days; 0 = no cap.
	FrequencyCap int
	// Bound is an upper bound of the value per impression in nanos, for ordering; see Index and Bounds.
	Bound float64

	code code
	key  codeKey
}

// Creative is what the user sees of the ad.
func (ad *Ad) Creative() campaign.Creative {
	r := reader{s: ad.creative}
	return campaign.Creative{Type: r.text(), Title: r.text(), Description: r.text(), ImageURL: r.text(), DestinationURL: r.text()}
}

func appendCreative(dst []byte, c campaign.Creative) []byte {
	for _, s := range []string{c.Type, c.Title, c.Description, c.ImageURL, c.DestinationURL} {
		dst = appendText(dst, s)
	}
	return dst
}

// Rule is the ad's targeting in plain form.
func (ad *Ad) Rule() *Rule { return ad.code.rule() }

// Compare is the order of an index: the highest bound first; among equal bounds ads with equal targeting stand together, and
// those in order of their ids.
func Compare(a, b *Ad) int {
	return cmp.Or(compareRows(a.Group, b.Group), cmp.Compare(a.AdID, b.AdID))
}

// compareRows is 0 for groups whose ads share a row: those with one bound and one targeting.
func compareRows(a, b *Group) int {
	if a.Bound != b.Bound {
		return cmp.Compare(b.Bound, a.Bound)
	}
	return bytes.Compare(a.key[:], b.key[:])
}

// Offer is what the group bids, before its multipliers.
func (g *Group) Offer() campaign.Offer {
	return campaign.Offer{Event: g.BillableEvent, Strategy: g.BidStrategy, Bid: g.BidMicros, CPAGoal: g.CPAGoalMicros}
}

// Bounds says what the ranking model is taken to answer at most, so that the best ads can be found without scoring all. A model that
// answers more makes an ad worth more than its bound: then the order is an estimate.
type Bounds struct {
	// MaxCTR is the highest click probability that the model may answer, MaxCVR the highest probability of a conversion once clicked;
	// both in (0, 1].
	//
	// An ad is worth at most its bid for BillImpression, and bid × MaxCTR for BillClickthrough, per impression, where the bid is what
	// campaign.Offer.Base and then BidMultipliers.Most make of these probabilities and of the largest pacing multiplier of its strategy.
	// These are the functions that make effective bids, and none falls when what it is given rises: so no bid of a request is above the
	// bound, to the nano. A relevance term is not in it.
	MaxCTR, MaxCVR float64
}

// Validate returns an error if MaxCTR or MaxCVR is not in (0, 1].
func (b Bounds) Validate() error {
	if !(b.MaxCTR > 0 && b.MaxCTR <= 1) {
		return fmt.Errorf("max CTR %v is not in (0, 1]", b.MaxCTR)
	}
	if !(b.MaxCVR > 0 && b.MaxCVR <= 1) {
		return fmt.Errorf("max CVR %v is not in (0, 1]", b.MaxCVR)
	}
	return nil
}

// of is the bound of a group's ads.
func (b Bounds) of(g *Group) (float64, error) {
	switch {
	case g.BidMicros <= 0 || g.BidMicros > money.MaxMicros:
		return 0, fmt.Errorf("bid of %d micros is not above 0, or too large", g.BidMicros)
	case g.BidFloorMicros < 0 || g.BidFloorMicros > g.BidMicros:
		return 0, fmt.Errorf("floor of %d micros is not within the bid", g.BidFloorMicros)
	case g.CPAGoalMicros < 0 || g.CPAGoalMicros > money.MaxMicros:
		return 0, fmt.Errorf("CPA goal of %d micros is below 0, or too large", g.CPAGoalMicros)
	}
	bid := float64(g.Multipliers.Most(g.Offer().Base(g.BidStrategy.MostPacing(), b.MaxCTR, b.MaxCVR)))
	if g.BillableEvent == campaign.BillClickthrough {
		return bid * b.MaxCTR, nil
	}
	return bid, nil
}

// NewAd parses one ad. An ad that returns an error must not be served: its targeting cannot be understood.
func NewAd(s campaign.ServingAd, b Bounds) (*Ad, error) { return NewParser(b).Parse(s) }

// Parser makes many ads and shares between them what is equal: groups, time zones and specs. It is not safe for concurrent use.
type Parser struct {
	bounds Bounds
	zones  map[string]*time.Location
	specs  map[string]Spec
	codes  map[string]sharedCode
	texts  map[string]string // currencies, and codes of multipliers
	last   *Group            // ads of one group come together
	// parsed is the group of the ad that was parsed last, from, which is without its creative.
	parsed *Group
	from   campaign.ServingAd
}

// sharedCode is a code with its key.
type sharedCode struct {
	code code
	key  codeKey
}

// maxKept is how many different specs or codes a Parser keeps before it starts over.
const maxKept = 1 << 16

// NewParser returns a parser that orders ads by b.
func NewParser(b Bounds) *Parser {
	return &Parser{
		bounds: b, zones: map[string]*time.Location{}, specs: map[string]Spec{}, codes: map[string]sharedCode{}, texts: map[string]string{},
	}
}

// Parse is NewAd.
func (p *Parser) Parse(s campaign.ServingAd) (*Ad, error) {
	if p.parsed == nil || !sameGroup(&s, &p.from) {
		group, err := p.group(&s)
		if err != nil {
			return nil, fmt.Errorf("parse ad %d: %w", s.AdID, err)
		}
		p.remember(&s, group)
	}
	return &Ad{AdID: s.AdID, Group: p.parsed, creative: string(appendCreative(nil, s.Creative))}, nil
}

// sameGroup reports whether the ads differ at most in their ids and creatives. Unequal ones may have equal groups all the same.
func sameGroup(a, b *campaign.ServingAd) bool {
	return a.AdGroupID == b.AdGroupID && a.CampaignID == b.CampaignID && a.AdAccountID == b.AdAccountID &&
		a.Currency == b.Currency && a.TimeZone == b.TimeZone && a.BillableEvent == b.BillableEvent && a.BidMicros == b.BidMicros &&
		a.Objective == b.Objective && a.Category == b.Category && a.BidStrategy == b.BidStrategy && a.BidFloorMicros == b.BidFloorMicros &&
		a.CPAGoalMicros == b.CPAGoalMicros && a.Multipliers == b.Multipliers &&
		a.PlacementGroup == b.PlacementGroup && a.FrequencyCap == b.FrequencyCap && a.Hours == b.Hours &&
		a.StartTime.Equal(b.StartTime) && a.EndTime.Equal(b.EndTime) &&
		bytes.Equal(a.Targeting, b.Targeting) && slices.Equal(a.Keywords, b.Keywords)
}

// remember keeps the group of an ad for the next ads. What the caller may write to is copied.
func (p *Parser) remember(s *campaign.ServingAd, g *Group) {
	targeting, keywords := append(p.from.Targeting[:0], s.Targeting...), append(p.from.Keywords[:0], s.Keywords...)
	p.parsed, p.from = g, *s
	p.from.Creative, p.from.Targeting, p.from.Keywords = campaign.Creative{}, targeting, keywords
}

func (p *Parser) group(s *campaign.ServingAd) (*Group, error) {
	if err := p.bounds.Validate(); err != nil {
		return nil, err
	}
	g := &Group{
		AdGroupID: s.AdGroupID, CampaignID: s.CampaignID, AdAccountID: s.AdAccountID, Currency: p.text(s.Currency),
		BidMicros: s.BidMicros, BidFloorMicros: s.BidFloorMicros, CPAGoalMicros: s.CPAGoalMicros, FrequencyCap: s.FrequencyCap,
	}
	if err := g.setCodes(codesOf(s)); err != nil {
		return nil, fmt.Errorf("%q, %q, %q or %q: %w", s.BillableEvent, s.Objective, s.BidStrategy, s.Category, err)
	}
	var err error
	if g.Multipliers, err = p.multipliers(s.Multipliers.Code()); err != nil {
		return nil, err
	}
	if g.Bound, err = p.bounds.of(g); err != nil {
		return nil, err
	}
	if g.Zone, err = p.zone(s.TimeZone); err != nil {
		return nil, err
	}
	raw, err := p.encode(s)
	if err != nil {
		return nil, err
	}
	g.code, g.key = p.share(raw)
	return p.intern(*g), nil
}

// intern returns the last group again if this one is equal.
func (p *Parser) intern(g Group) *Group {
	if p.last == nil || *p.last != g {
		p.last = &g
	}
	return p.last
}

// encode makes the code of an ad's targeting.
func (p *Parser) encode(s *campaign.ServingAd) ([]byte, error) {
	placement := placementCode(s.PlacementGroup)
	if placement < 0 {
		return nil, fmt.Errorf("placement group %q is not known", s.PlacementGroup)
	}
	spec, err := p.spec(s.Targeting)
	if err != nil {
		return nil, err
	}
	if len(s.Keywords) > MaxKeywords {
		return nil, fmt.Errorf("%d keywords, at most %d are served", len(s.Keywords), MaxKeywords)
	}
	rule := Rule{PlacementGroup: s.PlacementGroup, Hours: s.Hours, Spec: spec, keywords: make([]keyword, len(s.Keywords))}
	if !s.StartTime.IsZero() {
		rule.StartMicros = s.StartTime.UnixMicro()
	}
	if !s.EndTime.IsZero() {
		rule.EndMicros = s.EndTime.UnixMicro()
	}
	if !s.Hours.IsZero() {
		rule.Zone = s.TimeZone
	}
	for i, k := range s.Keywords {
		if rule.keywords[i], err = compileKeyword(k); err != nil && !errors.Is(err, errNoWords) {
			return nil, err // one without words is found nowhere, and is a keyword still
		}
	}
	return rule.appendCode(nil), nil
}

// share returns the code and its key; equal ones have one string in common.
func (p *Parser) share(raw []byte) (code, codeKey) {
	if known, ok := p.codes[string(raw)]; ok {
		return known.code, known.key
	}
	if len(p.codes) >= maxKept {
		clear(p.codes)
	}
	c := code(raw)
	known := sharedCode{c, c.hash()}
	p.codes[string(c)] = known
	return c, known.key
}

func (p *Parser) text(s string) string {
	if shared, ok := p.texts[s]; ok {
		return shared
	}
	s = strings.Clone(s)
	p.texts[s] = s
	return s
}

func (p *Parser) zone(name string) (*time.Location, error) {
	if zone, ok := p.zones[name]; ok {
		return zone, nil
	}
	if name == "" || name == "Local" { // what they mean depends on the machine, or on whom one asks
		return nil, fmt.Errorf("time zone %q has no fixed meaning", name)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("load time zone %q: %w", name, err)
	}
	p.zones[strings.Clone(name)] = zone
	return zone, nil
}

func (p *Parser) spec(raw json.RawMessage) (Spec, error) {
	if s, ok := p.specs[string(raw)]; ok {
		return s, nil
	}
	s, problems := ParseSpec(raw)
	if len(problems) > 0 {
		return Spec{}, fmt.Errorf("targeting_spec: %s %s", problems[0].Name, problems[0].Message)
	}
	if len(p.specs) >= maxKept {
		clear(p.specs)
	}
	p.specs[string(raw)] = s
	return s, nil
}

// What a group says of itself in one byte each, by code. Groups share these strings. An objective may be missing.
var (
	billableEvents = [...]campaign.BillableEvent{campaign.BillImpression, campaign.BillClickthrough}
	objectives     = [...]campaign.Objective{
		"", campaign.Awareness, campaign.Consideration, campaign.WebConversion, campaign.CatalogSales, campaign.VideoCompletion,
	}
	strategies = [...]campaign.BidStrategy{campaign.MaxBid, campaign.AutomaticBid, campaign.TargetAvg}
	categories = func() (list [1 + campaign.IABCategories]string) {
		for code := range list {
			list[code] = campaign.CategoryOf(code)
		}
		return list
	}()
)

var (
	errUnknownCode        = errors.New("not known")
	errUnknownMultipliers = errors.New("bid multipliers are not valid")
)

// codes are the places of a group's event, objective, strategy and category in their lists; what is not there is 255.
type codes [4]byte

func codesOf(s *campaign.ServingAd) codes {
	strategy := s.BidStrategy
	if strategy == "" {
		strategy = campaign.MaxBid
	}
	return codes{
		byte(slices.Index(billableEvents[:], s.BillableEvent)), byte(slices.Index(objectives[:], s.Objective)),
		byte(slices.Index(strategies[:], strategy)), byte(slices.Index(categories[:], s.Category)),
	}
}

// codes are those of setCodes.
func (g *Group) codes() codes {
	return codesOf(&campaign.ServingAd{BillableEvent: g.BillableEvent, Objective: g.Objective, BidStrategy: g.BidStrategy, Category: g.Category})
}

// setCodes sets what the codes stand for, or returns errUnknownCode.
func (g *Group) setCodes(c codes) error {
	if int(c[0]) >= len(billableEvents) || int(c[1]) >= len(objectives) || int(c[2]) >= len(strategies) || int(c[3]) >= len(categories) {
		return errUnknownCode
	}
	g.BillableEvent, g.Objective, g.BidStrategy, g.Category = billableEvents[c[0]], objectives[c[1]], strategies[c[2]], categories[c[3]]
	return nil
}

// multipliers are those of a code, sharing its bytes with others that are equal, or errUnknownMultipliers.
func (p *Parser) multipliers(code string) (campaign.BidMultipliers, error) {
	if code == "" {
		return campaign.BidMultipliers{}, nil
	}
	if len(p.texts) >= maxKept {
		clear(p.texts)
	}
	m, ok := campaign.DecodeBidMultipliers(p.text(code))
	if !ok {
		return m, errUnknownMultipliers
	}
	return m, nil
}
