package auction

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"gavel/campaign"
	"gavel/internal/money"
	"gavel/targeting"
)

// Rules say how pages of each placement are made and priced. They do not change once they are in use.
type Rules struct {
	// Version is a short hash of the content: equal rules have equal versions.
	Version string
	Browse  PlacementRules
	Search  PlacementRules
	Other   PlacementRules
}

// PlacementRules are the rules of one placement. Amounts are per 1,000 impressions unless the name says otherwise.
type PlacementRules struct {
	Pricing Pricing `json:"pricing"`
	// EstimateSlotFactors prefers the factors that the ranking model has learned to SlotFactors.
	EstimateSlotFactors bool `json:"estimate_slot_factors"`
	// SlotFactors are how likely an ad in the first, second … slot is seen and acted upon, relative to the first: from 1, in (0, 1], never
	// rising. The last one counts for all slots after it.
	SlotFactors []float64 `json:"slot_factors"`
	// FloorCPMMicros is the least value of an ad, above 0; FloorCPMMicrosByCountry (ISO 3166-1 alpha-2) replaces it.
	FloorCPMMicros          money.Micros            `json:"floor_cpm_micros"`
	FloorCPMMicrosByCountry map[string]money.Micros `json:"floor_cpm_micros_by_country"`
	// MaxAds is the ad load; 0 = one per slot.
	MaxAds int `json:"max_ads"`
	// MinGap is the least number of items between two ads.
	MinGap int `json:"min_gap"`
	// MaxPerAccount and MaxPerCampaign are the most ads of one on a page; 0 = no limit.
	MaxPerAccount  int `json:"max_per_account"`
	MaxPerCampaign int `json:"max_per_campaign"`
	// SeparateCategories keeps ads of one category from following each other.
	SeparateCategories bool `json:"separate_categories"`
	// OrganicCPMMicros is what the item that an ad displaces is worth.
	OrganicCPMMicros money.Micros `json:"organic_cpm_micros"`
	// RelevanceMicrosPerClick is what a click is worth beside what is paid for it: an impression is worth that × pCTR beside its bid.
	RelevanceMicrosPerClick money.Micros `json:"relevance_micros_per_click"`
	// Exploration is how uncertain predictions are treated: off, unless it is said.
	Exploration Exploration `json:"exploration"`
}

// Limits of rules.
const (
	maxGap           = 1000
	maxRulesCPM      = money.Micros(1e12) // a million currency units per 1,000 impressions
	defaultFloorCPM  = money.Micros(100_000)
	versionHexDigits = 12
	maxExploration   = 5 // standard errors
)

// defaultFactors are 1/log2(1 + slot), the discount of DCG (Järvelin, Kekäläinen 2002), until something is known.
func defaultFactors() []float64 {
	return []float64{1, 0.63, 0.5, 0.43, 0.39, 0.36, 0.33, 0.32, 0.3, 0.29}
}

func defaultPlacement() PlacementRules {
	return PlacementRules{
		Pricing: VCG, EstimateSlotFactors: true, SlotFactors: defaultFactors(), FloorCPMMicros: defaultFloorCPM, MaxPerAccount: 1, SeparateCategories: true,
		Exploration: Exploration{Mode: ExploreOff},
	}
}

// DefaultRules are what holds without a file, and what a file need not say.
func DefaultRules() *Rules {
	r := &Rules{Browse: defaultPlacement(), Search: defaultPlacement(), Other: defaultPlacement()}
	r.Version = r.hash()
	return r
}

// hash is the version that the content has.
func (r *Rules) hash() string {
	text, err := json.Marshal(r)
	if err != nil {
		return "invalid" // a factor is NaN; Validate says so
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])[:versionHexDigits]
}

// placements is the file's form.
func (r *Rules) placements() map[string]*PlacementRules {
	return map[string]*PlacementRules{
		string(targeting.PlacementBrowse): &r.Browse, string(targeting.PlacementSearch): &r.Search, string(targeting.PlacementOther): &r.Other,
	}
}

// MarshalJSON writes all rules, as ParseRules reads them.
func (r *Rules) MarshalJSON() ([]byte, error) { return json.Marshal(r.placements()) }

// UnmarshalJSON is ParseRules.
func (r *Rules) UnmarshalJSON(text []byte) error {
	parsed, err := ParseRules(text)
	if err == nil {
		*r = *parsed
	}
	return err
}

// ParseRules reads rules: a JSON object by placement (BROWSE, SEARCH, OTHER) of objects with the fields of PlacementRules. What is left
// out is as in DefaultRules. The error tells every problem: what is not known, what is of the wrong type or out of range.
func ParseRules(text []byte) (*Rules, error) {
	var file map[string]json.RawMessage
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("auction rules: %w", err)
	}
	r := DefaultRules()
	known := r.placements()
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(file)) {
		p := known[name]
		if p == nil {
			problems = append(problems, fmt.Errorf("auction rules: %s is not a placement; BROWSE, SEARCH and OTHER are", name))
			continue
		}
		problems = append(problems, p.parse(name, file[name])...)
	}
	if err := errors.Join(append(problems, r.Validate())...); err != nil {
		return nil, err
	}
	r.Version = r.hash()
	return r, nil
}

func (p *PlacementRules) parse(placement string, text json.RawMessage) []error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return []error{fmt.Errorf("auction rules: %s: %w", placement, err)}
	}
	into := map[string]any{
		"pricing": &p.Pricing, "estimate_slot_factors": &p.EstimateSlotFactors, "floor_cpm_micros": &p.FloorCPMMicros,
		"floor_cpm_micros_by_country": &p.FloorCPMMicrosByCountry, "max_ads": &p.MaxAds, "min_gap": &p.MinGap, "max_per_account": &p.MaxPerAccount,
		"max_per_campaign": &p.MaxPerCampaign, "separate_categories": &p.SeparateCategories, "organic_cpm_micros": &p.OrganicCPMMicros,
		"relevance_micros_per_click": &p.RelevanceMicrosPerClick, "slot_factors": &p.SlotFactors, "exploration": &p.Exploration,
	}
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if into[name] == nil {
			problems = append(problems, fmt.Errorf("auction rules: %s.%s is not known", placement, name))
		} else if err := json.Unmarshal(fields[name], into[name]); err != nil {
			problems = append(problems, fmt.Errorf("auction rules: %s.%s: %w", placement, name, err))
		}
	}
	return problems
}

// Validate returns every problem, nil if there is none.
func (r *Rules) Validate() error {
	var problems []error
	byName := r.placements()
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		for _, problem := range byName[name].problems() {
			problems = append(problems, fmt.Errorf("auction rules: %s.%s", name, problem))
		}
	}
	return errors.Join(problems...)
}

func (p *PlacementRules) problems() (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	within := func(name string, value, lo, hi int64) {
		if value < lo || value > hi {
			bad("%s is %d, must be from %d to %d", name, value, lo, hi)
		}
	}
	if p.Pricing != GSP && p.Pricing != VCG {
		bad("pricing is %q, must be GSP or VCG", p.Pricing)
	}
	if n := len(p.SlotFactors); n == 0 || n > MaxPageSlots || !factorsAreSound(p.SlotFactors) {
		bad("slot_factors must be 1 to %d numbers that begin with 1, never rise and are above 0", MaxPageSlots)
	}
	within("floor_cpm_micros", int64(p.FloorCPMMicros), 1, int64(maxRulesCPM))
	for _, country := range slices.Sorted(maps.Keys(p.FloorCPMMicrosByCountry)) {
		name := fmt.Sprintf("floor_cpm_micros_by_country[%q]", country)
		if len(country) != 2 || country[0] < 'A' || country[0] > 'Z' || country[1] < 'A' || country[1] > 'Z' {
			bad("%s: a country has two capital letters", name)
		}
		within(name, int64(p.FloorCPMMicrosByCountry[country]), 1, int64(maxRulesCPM))
	}
	within("max_ads", int64(p.MaxAds), 0, MaxPageSlots)
	within("min_gap", int64(p.MinGap), 0, maxGap)
	within("max_per_account", int64(p.MaxPerAccount), 0, MaxPageSlots)
	within("max_per_campaign", int64(p.MaxPerCampaign), 0, MaxPageSlots)
	within("organic_cpm_micros", int64(p.OrganicCPMMicros), 0, int64(maxRulesCPM))
	within("relevance_micros_per_click", int64(p.RelevanceMicrosPerClick), 0, int64(maxRulesCPM))
	switch p.Exploration.Mode {
	case ExploreOff, ExploreThompson, ExploreUCB:
	default:
		bad("exploration.mode is %q, must be OFF, THOMPSON or UCB", p.Exploration.Mode)
	}
	if scale := p.Exploration.Scale; !(scale >= 0 && scale <= maxExploration) || scale == 0 && p.Exploration.Mode != ExploreOff {
		bad("exploration.scale is %v, must be above 0 and at most %d, or 0 with the mode OFF", scale, maxExploration)
	}
	return problems
}

// factorsAreSound is true for 1 and what follows it without rising or reaching 0. NaN is not.
func factorsAreSound(factors []float64) bool {
	last := 1.0
	for i, f := range factors {
		if !(f > 0 && f <= last) || i == 0 && f != 1 {
			return false
		}
		last = f
	}
	return true
}

// Of are the rules of a placement, those of OTHER for one that is not known.
func (r *Rules) Of(placement targeting.Placement) *PlacementRules {
	switch placement {
	case targeting.PlacementBrowse:
		return &r.Browse
	case targeting.PlacementSearch:
		return &r.Search
	}
	return &r.Other
}

// Floor is the least value of an ad, per 1,000 impressions.
func (r *Rules) Floor(placement targeting.Placement, country string) money.Micros {
	p := r.Of(placement)
	if floor, ok := p.FloorCPMMicrosByCountry[country]; ok {
		return floor
	}
	return p.FloorCPMMicros
}

// Page is what a page with these slots allows. Slots are in order of position; when none has a position, their order counts. estimated
// are the factors that the ranking model has learned, nil for none; factors that are not sound are not used.
func (r *Rules) Page(placement targeting.Placement, slots []Slot, estimated []float64) Page {
	p := r.Of(placement)
	factors := p.SlotFactors
	if p.EstimateSlotFactors && len(estimated) > 0 && factorsAreSound(estimated) {
		factors = estimated
	}
	page := Page{
		Slots: make([]PageSlot, min(len(slots), MaxPageSlots)), MaxAds: p.MaxAds, MinGap: p.MinGap, MaxPerAccount: p.MaxPerAccount,
		MaxPerCampaign: p.MaxPerCampaign, SeparateCategories: p.SeparateCategories, Organic: float64(p.OrganicCPMMicros.PerImpression()), Pricing: p.Pricing,
	}
	positioned := slices.ContainsFunc(slots, func(s Slot) bool { return s.Position != 0 })
	for i := range page.Slots {
		page.Slots[i] = PageSlot{Position: i, Factor: factors[min(i, len(factors)-1)]}
		if positioned {
			page.Slots[i].Position = slots[i].Position
		}
	}
	return page
}

// BidFloor is the least bid with which an ad can be shown in each of the countries on one placement at least: per 1,000 impressions for
// BillImpression, per click for BillClickthrough, where ctr says how likely an ad is clicked on a placement. Without countries it is
// that of a country without a floor of its own.
func (r *Rules) BidFloor(billable campaign.BillableEvent, countries []string, ctr func(targeting.Placement) float64) money.Micros {
	if len(countries) == 0 {
		countries = []string{""}
	}
	floor := money.Micros(0)
	for _, country := range countries {
		least := money.Micros(math.MaxInt64)
		for _, placement := range []targeting.Placement{targeting.PlacementBrowse, targeting.PlacementSearch, targeting.PlacementOther} {
			bid := r.Floor(placement, country)
			if billable == campaign.BillClickthrough {
				// Nanos per impression ÷ clicks per impression are nanos per click; CeilPrice rounds any score up, here one in micros.
				bid = money.Micros(money.CeilPrice(float64(bid.PerImpression()) / ctr(placement) / 1000))
			}
			least = min(least, bid)
		}
		floor = max(floor, least)
	}
	return cmp.Or(floor, 1)
}
