package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"gavel/campaign"
	"gavel/internal/fault"
	"gavel/internal/money"
)

// perMilleIn is a multiplier: a number with at most three decimals.
type perMilleIn struct {
	campaign.Opt[campaign.PerMille]
}

func (f *perMilleIn) decode(raw json.RawMessage, name string, p *fault.Fields) {
	if isNull(raw) {
		f.Opt = campaign.Null[campaign.PerMille]()
		return
	}
	m, problem := perMille(raw)
	if problem != "" {
		p.Add(name, problem)
		return
	}
	f.Opt = campaign.Some(m)
}

// perMille reads a number in thousandths, or says what is wrong with it. What is outside the limits of a multiplier is for the rules.
func perMille(raw json.RawMessage) (m campaign.PerMille, problem string) {
	const most = 1e9 // far more than any multiplier, and exact in a float
	v, err := strconv.ParseFloat(string(raw), 64)
	switch rounded := math.Round(v * 1000); {
	case err != nil && !errors.Is(err, strconv.ErrRange) || raw[0] != '-' && (raw[0] < '0' || raw[0] > '9'):
		return 0, "must be a number"
	case err != nil || v > most || v < -most:
		return 0, "is out of range"
	case rounded/1000 != v: // what was read is not the number nearest to any with three decimals
		return 0, "must have at most 3 decimals"
	default:
		return campaign.PerMille(rounded), ""
	}
}

// Schema implements huma.SchemaProvider.
func (*perMilleIn) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeNumber, Format: "double"}
}

// multipliersIn is an object of multipliers by key, in the order in which they are given.
type multipliersIn struct {
	campaign.Opt[[]campaign.Multiplier]
}

func (f *multipliersIn) decode(raw json.RawMessage, name string, p *fault.Fields) {
	if isNull(raw) {
		f.Opt = campaign.Null[[]campaign.Multiplier]()
		return
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		p.Add(name, "must be an object of numbers")
		return
	}
	var list []campaign.Multiplier
	for told := 0; dec.More() && len(list) <= campaign.MaxAudienceMultipliers && told < maxUnknown; {
		t, err := dec.Token()
		key, _ := t.(string)
		var value json.RawMessage
		if err == nil {
			err = dec.Decode(&value)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			p.Add(name, notJSON(err))
			return
		}
		m, problem := perMille(value)
		if problem != "" {
			told++
			p.Add(fault.Join(name, shortened(key)), problem)
		}
		list = append(list, campaign.Multiplier{Key: shortened(key), Value: m})
	}
	f.Opt = campaign.Some(list)
}

// Schema implements huma.SchemaProvider.
func (*multipliersIn) Schema(huma.Registry) *huma.Schema {
	least, most := 0.0, 10.0
	return &huma.Schema{
		Type: huma.TypeObject, Nullable: true,
		AdditionalProperties: &huma.Schema{Type: huma.TypeNumber, Format: "double", Minimum: &least, Maximum: &most},
	}
}

// objectIn is an object whose fields are those of D.
type objectIn[D any] struct{ campaign.Opt[D] }

func (f *objectIn[D]) decode(raw json.RawMessage, name string, p *fault.Fields) {
	if isNull(raw) {
		f.Opt = campaign.Null[D]()
		return
	}
	var d D
	p.Nest(name, decodeObject(raw, &d))
	f.Opt = campaign.Some(d)
}

// Schema implements huma.SchemaProvider.
func (*objectIn[D]) Schema(r huma.Registry) *huma.Schema {
	s := *r.Schema(reflect.TypeFor[D](), false, "")
	s.Nullable = true
	return &s
}

// digitsIn is an amount in micro currency as a string of digits.
type digitsIn struct{ campaign.Opt[money.Micros] }

func (f *digitsIn) decode(raw json.RawMessage, name string, p *fault.Fields) {
	text := decodeValue[string](raw, name, "a string of digits", p)
	f.Opt = campaign.Opt[money.Micros]{Set: text.Set, Null: text.Null}
	if !text.Given() {
		return
	}
	v, err := strconv.ParseUint(text.Value, 10, 63)
	switch {
	case errors.Is(err, strconv.ErrRange):
		p.Add(name, "is out of range")
	case err != nil:
		p.Add(name, "must be a string of digits")
	default:
		f.Value = money.Micros(v)
		return
	}
	f.Opt = campaign.Opt[money.Micros]{}
}

// Schema implements huma.SchemaProvider.
func (*digitsIn) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: `^[0-9]+$`}
}

type bidOptionsCreate struct {
	BidMultiplierFields
}

type bidOptionsUpdate struct {
	BidMultiplierFields
	Mask textsIn `json:"update_mask" doc:"Which of APP_TYPE, PLACEMENT and AUDIENCE are replaced; the others stay."`
}

// BidMultiplierFields are the multipliers of bid_options. It is exported because reflection passes over embedded types that are not.
type BidMultiplierFields struct {
	AppTypes   multipliersIn `json:"app_type_multipliers,omitempty" doc:"From 0 to 10 by app type: android_mobile, android_tablet, ipad, iphone, web, web_mobile. 0 never bids; what is absent is 1. At most 3 decimals."`
	Placements multipliersIn `json:"placement_multipliers,omitempty" doc:"From 0 to 10 by placement: search, browse, related_pins."`
	Audiences  multipliersIn `json:"audience_multipliers,omitempty" doc:"From 0 to 10 by the id of an audience, at most 100. Of several the highest counts, but 0 always wins."`
}

func (in *BidMultiplierFields) input() campaign.BidOptionsInput {
	return campaign.BidOptionsInput{AppTypes: in.AppTypes.Opt, Placements: in.Placements.Opt, Audiences: in.Audiences.Opt}
}

func (in *bidOptionsUpdate) input() campaign.BidOptionsInput {
	o := in.BidMultiplierFields.input()
	o.Mask = in.Mask.Opt
	return o
}

// inputOf is what an object means to the service; null stays null.
func inputOf[D, In any](o campaign.Opt[D], input func(*D) In) campaign.Opt[In] {
	out := campaign.Opt[In]{Set: o.Set, Null: o.Null}
	if o.Given() {
		out.Value = input(&o.Value)
	}
	return out
}

type goalRequest struct {
	Conversion objectIn[conversionGoalRequest] `json:"conversion_tag_v3_goal_metadata,omitempty" doc:"Only for campaigns with the objective WEB_CONVERSION."`
	Frequency  offIn                           `json:"frequency_goal_metadata,omitempty" enum:"null,{}"`
	ScrollUp   offIn                           `json:"scrollup_goal_metadata,omitempty" enum:"null,{}"`
}

type conversionGoalRequest struct {
	CPAGoal     digitsIn `json:"cpa_goal_value_in_micro_currency,omitempty" nullable:"true" doc:"What a conversion is worth: the bid for an impression is this × the probabilities of a click and of a conversion after it."`
	Attribution offIn    `json:"attribution_windows,omitempty" enum:"null,{}"`
	Event       offIn    `json:"conversion_event,omitempty" enum:"null"`
	Tag         offIn    `json:"conversion_tag_id,omitempty" enum:"null"`
	ROAS        offIn    `json:"is_roas_optimized,omitempty" enum:"null,false"`
	Learning    offIn    `json:"learning_mode_type,omitempty" enum:"null,\"NOT_ACTIVE\""`
	Reporting   offIn    `json:"reporting_event,omitempty" enum:"null"`
}

// cpaGoal is the one goal that there is: null and an object without it remove it.
func cpaGoal(goal campaign.Opt[goalRequest]) campaign.Opt[money.Micros] {
	switch {
	case !goal.Set:
		return campaign.Opt[money.Micros]{}
	case goal.Value.Conversion.Value.CPAGoal.Given():
		return goal.Value.Conversion.Value.CPAGoal.Opt
	}
	return campaign.Null[money.Micros]()
}

// The bids of entities as they are shown.

type bidOptionsView struct {
	AppTypes   map[string]float64 `json:"app_type_multipliers,omitempty"`
	Placements map[string]float64 `json:"placement_multipliers,omitempty"`
	Audiences  map[string]float64 `json:"audience_multipliers,omitempty"`
}

// Schema implements huma.SchemaProvider: a reference could not be null.
func (*bidOptionsView) Schema(huma.Registry) *huma.Schema {
	of := func() *huma.Schema {
		return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: &huma.Schema{Type: huma.TypeNumber, Format: "double"}}
	}
	return &huma.Schema{Type: huma.TypeObject, Nullable: true, AdditionalProperties: false, Properties: map[string]*huma.Schema{
		"app_type_multipliers": of(), "placement_multipliers": of(), "audience_multipliers": of(),
	}}
}

func viewBidOptions(o campaign.BidOptions) *bidOptionsView {
	if o.IsZero() {
		return nil
	}
	text := func(s string) string { return s }
	return &bidOptionsView{viewMultipliers(o.AppTypes, text), viewMultipliers(o.Placements, text), viewMultipliers(o.Audiences, idText)}
}

func viewMultipliers[K comparable](m map[K]campaign.PerMille, name func(K) string) map[string]float64 {
	out := make(map[string]float64, len(m))
	for k, v := range m {
		out[name(k)] = float64(v) / 1000 // the nearest to the decimals that were given
	}
	return out
}

func viewMultiplier(m campaign.PerMille) *float64 {
	if m == 0 {
		return nil
	}
	v := float64(m) / 1000
	return &v
}

type goalView struct {
	Conversion conversionGoalView `json:"conversion_tag_v3_goal_metadata"`
}

// Schema implements huma.SchemaProvider: a reference could not be null.
func (*goalView) Schema(r huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, Nullable: true, AdditionalProperties: false, Properties: map[string]*huma.Schema{
		"conversion_tag_v3_goal_metadata": r.Schema(reflect.TypeFor[conversionGoalView](), true, ""),
	}}
}

type conversionGoalView struct {
	CPAGoal string `json:"cpa_goal_value_in_micro_currency"`
}

func viewGoal(goal money.Micros) *goalView {
	if goal == 0 {
		return nil
	}
	return &goalView{conversionGoalView{strconv.FormatInt(int64(goal), 10)}}
}

// floorsAreOperators adds a problem to each item that would set a floor, unless an operator is calling: what the views of the feed are
// sold for at least is not the buyer's to say.
func floorsAreOperators[In any](ctx context.Context, items []campaign.Item[In], floor func(In) campaign.Opt[money.Micros]) {
	if who, _ := ctx.Value(principalKey{}).(campaign.Principal); who.Role == campaign.RoleOperator {
		return
	}
	for i := range items {
		if floor(items[i].Input).Set {
			items[i].Problems = append(items[i].Problems, fault.Field{Name: "bid_floor_in_micro_currency", Message: "may be set by an operator only"})
		}
	}
}

const bidFloorPath = accountsPath + "/{ad_account_id}/bid_floor"

// BidFloor is the least bid, in the unit of a bid, with which an ad group can win a view in any of the countries; none means everywhere.
// It must be safe for concurrent use.
type BidFloor func(billable campaign.BillableEvent, countries []string) money.Micros

type bidFloorRequest struct {
	Specs     floorSpecsIn `json:"bid_floor_specs" minItems:"1" maxItems:"30" doc:"What to bid for."`
	Targeting specIn       `json:"targeting_spec,omitempty" nullable:"true" doc:"Its LOCATION stands for the countries of the specs that name none; the rest changes no floor."`
}

type floorSpecRequest struct {
	Billable  textIn[campaign.BillableEvent] `json:"billable_event" enum:"IMPRESSION,CLICKTHROUGH" doc:"What is billed."`
	Currency  textIn[string]                 `json:"currency" pattern:"^[A-Z]{3}$" doc:"That of the ad account."`
	Countries textsIn                        `json:"countries,omitempty" doc:"ISO 3166-1 alpha-2. None means everywhere."`
	Creative  ignoredIn                      `json:"creative_type,omitempty"`
	Objective ignoredIn                      `json:"objective_type,omitempty"`
	Goal      ignoredIn                      `json:"optimization_goal_metadata,omitempty"`
}

// floorSpecsIn is the list of a bidFloorRequest; each has problems of its own.
type floorSpecsIn struct {
	campaign.Opt[[]*floorSpecRequest]
}

func (f *floorSpecsIn) decode(raw json.RawMessage, name string, p *fault.Fields) {
	elements := decodeValue[[]json.RawMessage](raw, name, "an array of objects", p)
	if !elements.Given() {
		return
	}
	if n := len(elements.Value); n < 1 || n > campaign.MaxBatch {
		p.Add(name, fmt.Sprintf("must have 1 to %d elements, has %d", campaign.MaxBatch, n))
		return
	}
	f.Set = true
	for i, element := range elements.Value {
		spec := &floorSpecRequest{}
		p.Nest(fault.Index(name, i), decodeObject(element, spec))
		f.Value = append(f.Value, spec)
	}
}

// Schema implements huma.SchemaProvider.
func (*floorSpecsIn) Schema(r huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeArray, Items: r.Schema(reflect.TypeFor[floorSpecRequest](), true, "")}
}

type bidFloorView struct {
	Floors []int64 `json:"bid_floors" nullable:"false" doc:"One per spec, in its order: micro currency, per 1,000 impressions or per click as a bid is."`
	Type   string  `json:"type" enum:"bidfloor"`
}

func (v *v5) registerBidFloor() {
	op := v.operation(http.MethodPost, bidFloorPath, "ad_groups_bid_floor/get", "ad_groups", "Get bid floors", managers...)
	op.Description = "The least bid that can win at all, for each spec. Where floors differ by placement or country, the lowest of those that are meant. " +
		"For CLICKTHROUGH it is the least with which an ad of the highest click probability reaches the floor of an impression."
	register(v, op, v.getBidFloor)
	v.describeBody(http.MethodPost, bidFloorPath, v.schema(reflect.TypeFor[bidFloorRequest]()), "Specs.",
		reflect.TypeFor[bidFloorView](), reflect.TypeFor[errorBody]())
}

type bidFloorInput struct {
	AccountPath
	JSONBody
}

func (v *v5) getBidFloor(ctx context.Context, in *bidFloorInput) (*jsonOutput, error) {
	account, err := v.svc.AdAccount(ctx, in.account())
	if err != nil {
		return nil, err
	}
	var request bidFloorRequest
	p := fault.Fields(decodeObject(in.RawBody, &request))
	if !request.Specs.Given() && len(p) == 0 {
		p.Add("bid_floor_specs", "is required")
	}
	everywhere := request.locations(&p, v.svc)
	floors := make([]int64, 0, len(request.Specs.Value))
	for i, spec := range request.Specs.Value {
		countries := spec.check(&p, fault.Index("bid_floor_specs", i), account.Currency)
		if len(countries) == 0 {
			countries = everywhere
		}
		if len(p) == 0 {
			floors = append(floors, int64(v.floor(spec.Billable.Value, countries)))
		}
	}
	if err := p.Err("invalid input"); err != nil {
		return nil, err
	}
	return &jsonOutput{Status: http.StatusOK, ContentType: "application/json", Body: encode(bidFloorView{Floors: floors, Type: "bidfloor"})}, nil
}

// locations are the countries of the targeting spec, none where a market area stands beside them or there is no spec.
func (r *bidFloorRequest) locations(p *fault.Fields, svc *campaign.Service) []string {
	if !r.Targeting.Given() {
		return nil
	}
	canonical, problems := svc.CheckTargeting(r.Targeting.Value)
	p.Nest("targeting_spec", problems)
	var spec struct {
		Locations []string `json:"LOCATION"`
	}
	if len(problems) > 0 || json.Unmarshal(canonical, &spec) != nil || slices.ContainsFunc(spec.Locations, func(l string) bool { return !campaign.IsCountry(l) }) {
		return nil
	}
	return spec.Locations
}

// check reports what is wrong with a spec, beside what its decoder has, and returns its countries.
func (s *floorSpecRequest) check(p *fault.Fields, name, currency string) []string {
	add := func(field, message string) {
		at := fault.Join(name, field)
		if !slices.ContainsFunc(*p, func(f fault.Field) bool { return f.Name == at }) {
			p.Add(at, message)
		}
	}
	if b := s.Billable.Value; b != campaign.BillImpression && b != campaign.BillClickthrough {
		add("billable_event", "must be one of IMPRESSION, CLICKTHROUGH")
	}
	if s.Currency.Value != currency {
		add("currency", "must be that of the ad account, "+currency)
	}
	for i, c := range s.Countries.Value {
		if !campaign.IsCountry(c) {
			add(fault.Index("countries", i), "must be an ISO 3166-1 alpha-2 country code")
		}
	}
	return s.Countries.Value
}
