package campaign

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gavel/internal/fault"
)

// The fields of a bid, as the API names them.
const (
	fieldBid        = "bid_in_micro_currency"
	fieldStrategy   = "bid_strategy_type"
	fieldMultiplier = "bid_multiplier"
	fieldFloor      = "bid_floor_in_micro_currency"
	fieldGoal       = "optimization_goal_metadata"
	fieldCPAGoal    = fieldGoal + ".conversion_tag_v3_goal_metadata.cpa_goal_value_in_micro_currency"
	fieldOptions    = "bid_options"
)

// applyBid writes what the input says of the bid, each field by itself; checkBid says whether they go together.
func (in AdGroupInput) applyBid(p *fault.Fields, g *AdGroup) {
	strategy := in.BidStrategy
	if strategy.Null { // v5: null is "not given"
		strategy = Opt[BidStrategy]{}
	}
	apply(p, fieldStrategy, strategy, &g.BidStrategy)
	checkOneOf(p, fieldStrategy, g.BidStrategy, MaxBid, AutomaticBid, TargetAvg)
	applyNullable(in.Bid, &g.Bid)
	checkAmount(p, fieldBid, in.Bid, MaxBidMicros)
	applyNullable(in.BidFloor, &g.BidFloor)
	checkAmount(p, fieldFloor, in.BidFloor, MaxBidMicros)
	applyNullable(in.CPAGoal, &g.CPAGoal)
	checkAmount(p, fieldCPAGoal, in.CPAGoal, MaxBidMicros)
	applyNullable(in.BidMultiplier, &g.BidMultiplier)
	if m := in.BidMultiplier; m.Given() && m.Value != 0 && (m.Value < MinAdGroupMultiplier || m.Value > MaxMultiplier) {
		p.Add(fieldMultiplier, "must be from 0.1 to 10, or 0 to remove it")
	}
}

// checkBid holds the parts of the bid to each other.
func (g AdGroup) checkBid(p *fault.Fields, parent *Campaign, in AdGroupInput) {
	refused := func(field string) bool {
		return slices.ContainsFunc(*p, func(f fault.Field) bool { return f.Name == field })
	}
	if g.Bid == 0 && g.CPAGoal == 0 && (g.BidStrategy == MaxBid || g.BidStrategy == TargetAvg) && !refused(fieldBid) && !refused(fieldCPAGoal) {
		p.Add(fieldBid, "is required with the bid_strategy_type "+string(g.BidStrategy))
	}
	if g.BidMultiplier != 0 && g.BidStrategy != AutomaticBid {
		p.Add(fieldMultiplier, "is only for the bid_strategy_type AUTOMATIC_BID; 0 removes it")
	}
	if g.CPAGoal != 0 && g.BidStrategy == TargetAvg {
		p.Add(fieldCPAGoal, "cannot be set together with the bid_strategy_type TARGET_AVG")
	}
	if g.CPAGoal != 0 && parent != nil && parent.Objective != WebConversion {
		p.Add(fieldCPAGoal, "is only for campaigns with the objective_type WEB_CONVERSION")
	}
	switch {
	case g.BidFloor == 0 || refused(fieldBid) || refused(fieldFloor):
	case g.Bid == 0:
		p.Add(fieldFloor, "needs a bid_in_micro_currency, which it must not be above")
	case g.BidFloor > g.Bid && !in.BidFloor.Set:
		p.Add(fieldBid, fmt.Sprintf("must not be below the bid_floor_in_micro_currency, which is %d", int64(g.BidFloor)))
	case g.BidFloor > g.Bid:
		p.Add(fieldFloor, "must not be above bid_in_micro_currency")
	}
}

// The values of an update mask.
const (
	MaskAppType   = "APP_TYPE"
	MaskPlacement = "PLACEMENT"
	MaskAudience  = "AUDIENCE"
)

// BidOptionsInput sets multipliers of a campaign. Each list takes the place of all multipliers of its kind.
type BidOptionsInput struct {
	AppTypes, Placements, Audiences Opt[[]Multiplier]
	// Mask says which lists an update replaces; of those that are not in it the multipliers stay. A create has none.
	Mask Opt[[]string]
}

// applyBidOptions writes the multipliers of the input.
func (in CampaignInput) applyBidOptions(p *fault.Fields, c *Campaign, creating bool) {
	o := in.BidOptions
	switch {
	case o.Null:
		c.BidOptions = BidOptions{}
	case o.Set:
		o.Value.apply(p, &c.BidOptions, creating)
	}
}

func (in BidOptionsInput) apply(p *fault.Fields, o *BidOptions, creating bool) {
	const mask = fieldOptions + ".update_mask"
	masked := func(string) bool { return true }
	switch {
	case creating:
	case !in.Mask.Given():
		p.Add(mask, "is required: it names what is replaced")
		return
	default:
		for i, m := range in.Mask.Value {
			if m != MaskAppType && m != MaskPlacement && m != MaskAudience {
				p.Add(fault.Index(mask, i), "must be one of AUDIENCE, APP_TYPE, PLACEMENT: there are no other multipliers")
			}
		}
		masked = func(kind string) bool { return slices.Contains(in.Mask.Value, kind) }
	}
	if masked(MaskAppType) {
		o.AppTypes = multipliers(p, "app_type_multipliers", in.AppTypes.Value, appTypeKey)
	}
	if masked(MaskPlacement) {
		o.Placements = multipliers(p, "placement_multipliers", in.Placements.Value, placementKey)
	}
	if masked(MaskAudience) {
		o.Audiences = multipliers(p, "audience_multipliers", in.Audiences.Value, audienceKey)
	}
}

// multipliers reads a list; key reads one key, or says what is wrong with it.
func multipliers[K comparable](p *fault.Fields, field string, list []Multiplier, key func(string) (K, string)) map[K]PerMille {
	field = fieldOptions + "." + field
	if len(list) > MaxAudienceMultipliers {
		p.Add(field, fmt.Sprintf("must have at most %d multipliers", MaxAudienceMultipliers))
		return nil
	}
	if len(list) == 0 {
		return nil
	}
	all := make(map[K]PerMille, len(list))
	for _, m := range list {
		k, problem := key(m.Key)
		name := field + "." + m.Key
		_, twice := all[k]
		switch {
		case problem != "":
			p.Add(field, problem)
		case twice:
			p.Add(name, "is given twice")
		case m.Value < 0 || m.Value > MaxMultiplier:
			p.Add(name, "must be from 0 to 10")
		default:
			all[k] = m.Value
		}
	}
	return all
}

func appTypeKey(s string) (key, problem string) {
	if slices.Contains(multipliedAppTypes[:], s) {
		return s, ""
	}
	return "", "the keys must be app types: " + strings.Join(multipliedAppTypes[:], ", ")
}

// placementKey takes capitals too, which v5 uses beside the small letters of its example.
func placementKey(s string) (key, problem string) {
	if lower := strings.ToLower(s); slices.Contains(multipliedPlacements[:], lower) {
		return lower, ""
	}
	return "", "the keys must be placements: " + strings.Join(multipliedPlacements[:], ", ")
}

func audienceKey(s string) (key AudienceID, problem string) {
	id, err := strconv.ParseInt(s, 10, 64)
	if err != nil || id <= 0 || s != strconv.FormatInt(id, 10) {
		return 0, "the keys must be ids of audiences"
	}
	return AudienceID(id), ""
}

// checkOptions adds a problem for each audience of c's multipliers that its account does not have: who is in an audience is its
// owner's secret, and a bid that depends on it would tell.
func (s *Service) checkOptions(ctx context.Context, tx Tx, c Campaign, problems []fault.Field) ([]fault.Field, error) {
	if len(c.BidOptions.Audiences) == 0 {
		return problems, nil
	}
	ids := make([]AudienceID, 0, len(c.BidOptions.Audiences))
	for id := range c.BidOptions.Audiences {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	owned, err := tx.AudiencesOf(ctx, c.AdAccountID, ids)
	if err != nil {
		return nil, fmt.Errorf("find audiences: %w", err)
	}
	p := fault.Fields(problems)
	for _, id := range ids {
		if !slices.Contains(owned, id) {
			p.Add(fieldOptions+".audience_multipliers", "names the audience "+strconv.FormatInt(int64(id), 10)+", which this ad account does not have")
		}
	}
	return p, nil
}
