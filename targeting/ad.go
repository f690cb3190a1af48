package targeting

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gavel/campaign"
)

// Ad is a servable ad with its targeting parsed: immutable once in an index.
type Ad struct {
	campaign.ServingAd
	// Zone is TimeZone, loaded.
	Zone *time.Location
	Spec Spec
	// Bound is an upper bound of the ad's value per impression in nanos, for ordering; see Index and Bounds.
	Bound float64

	positive, negative []keyword
}

// Bounds says what the ranking model promises, so that the best ads can be found without scoring all.
type Bounds struct {
	// MaxCTR is the highest click probability that the model may answer, in (0, 1]. An ad is worth at most its bid for
	// BillImpression, and bid × MaxCTR for BillClickthrough, per impression.
	MaxCTR float64
}

// Validate returns an error if MaxCTR is not in (0, 1].
func (b Bounds) Validate() error {
	if !(b.MaxCTR > 0 && b.MaxCTR <= 1) {
		return fmt.Errorf("max CTR %v is not in (0, 1]", b.MaxCTR)
	}
	return nil
}

func (b Bounds) of(s *campaign.ServingAd) (float64, error) {
	if s.BidMicros <= 0 {
		return 0, fmt.Errorf("bid of %d micros is not above 0", s.BidMicros)
	}
	switch s.BillableEvent {
	case campaign.BillImpression:
		return float64(s.BidMicros.PerImpression()), nil
	case campaign.BillClickthrough:
		nanos, err := s.BidMicros.Nanos()
		if err != nil {
			return 0, fmt.Errorf("bid: %w", err)
		}
		return float64(nanos) * b.MaxCTR, nil
	}
	return 0, fmt.Errorf("billable event %q is not known", s.BillableEvent)
}

// NewAd parses one ad. An ad that returns an error must not be served: its targeting cannot be understood.
func NewAd(s campaign.ServingAd, b Bounds) (*Ad, error) { return NewParser(b).Parse(s) }

// Parser makes many ads and shares between them what is equal: time zones and specs. It is not safe for concurrent use.
type Parser struct {
	bounds Bounds
	zones  map[string]*time.Location
	specs  map[string]Spec
}

// maxSpecs is how many different specs a Parser keeps before it starts over.
const maxSpecs = 1 << 16

// NewParser returns a parser that orders ads by b.
func NewParser(b Bounds) *Parser {
	return &Parser{bounds: b, zones: map[string]*time.Location{}, specs: map[string]Spec{}}
}

// Parse is NewAd.
func (p *Parser) Parse(s campaign.ServingAd) (*Ad, error) {
	ad, err := p.parse(s)
	if err != nil {
		return nil, fmt.Errorf("parse ad %d: %w", s.AdID, err)
	}
	return ad, nil
}

func (p *Parser) parse(s campaign.ServingAd) (*Ad, error) {
	if err := p.bounds.Validate(); err != nil {
		return nil, err
	}
	ad := &Ad{ServingAd: s}
	var err error
	if ad.Bound, err = p.bounds.of(&s); err != nil {
		return nil, err
	}
	switch s.PlacementGroup {
	case placementAll, string(PlacementSearch), string(PlacementBrowse), string(PlacementOther):
	default:
		return nil, fmt.Errorf("placement group %q is not known", s.PlacementGroup)
	}
	if ad.Zone, err = p.zone(s.TimeZone); err != nil {
		return nil, err
	}
	if ad.Spec, err = p.spec(s.Targeting); err != nil {
		return nil, err
	}
	if len(s.Keywords) > MaxKeywords {
		return nil, fmt.Errorf("%d keywords, at most %d are served", len(s.Keywords), MaxKeywords)
	}
	for _, k := range s.Keywords {
		compiled, err := compileKeyword(k)
		if err != nil && !errors.Is(err, errNoWords) { // one without words is found nowhere, and is a keyword still
			return nil, err
		}
		if compiled.isNegative() {
			ad.negative = append(ad.negative, compiled)
		} else {
			ad.positive = append(ad.positive, compiled)
		}
	}
	return ad, nil
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
	p.zones[name] = zone
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
	if len(p.specs) >= maxSpecs {
		clear(p.specs)
	}
	p.specs[string(raw)] = s
	return s, nil
}

// placementAll is the placement group of ads for every placement.
const placementAll = "ALL"
