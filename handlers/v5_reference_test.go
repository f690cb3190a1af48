package handlers

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// reference is testdata/v5_reference.json: the fields of the v5 schemas.
type reference struct {
	Schemas map[string]struct {
		Required   []string                  `json:"required"`
		Properties map[string]referenceField `json:"properties"`
	} `json:"schemas"`
}

type referenceField struct {
	Type     string `json:"type"`
	Nullable bool   `json:"nullable"`
	Enum     []any  `json:"enum"`
}

func readReference(t *testing.T) reference {
	t.Helper()
	raw, err := os.ReadFile("testdata/v5_reference.json")
	require.NoError(t, err)
	var r reference
	require.NoError(t, json.Unmarshal(raw, &r))
	return r
}

// ours are the fields of Gavel's own.
var ours = map[string][]string{
	"adAccountCreate":       {"time_zone", "iab_category"},
	"adCreateRequest":       {"title", "description", "image_url", "ad_account_id"},
	"adUpdateRequest":       {"title", "description", "image_url", "ad_account_id"},
	"adGroupCreateRequest":  {"ad_account_id", "ad_schedule", "bid_floor_in_micro_currency"},
	"adGroupUpdateRequest":  {"ad_account_id", "ad_schedule", "bid_floor_in_micro_currency"},
	"audienceCreateRequest": {},
	"AdAccount":             {"time_zone", "iab_category", "daily_spend_cap", "lifetime_spend_cap"},
	"AdResponse":            {"title", "description", "image_url"},
	"AdGroupResponse":       {"ad_schedule", "bid_floor_in_micro_currency"},
	"customerListRequest":   {},
	"CustomerList":          {"list_type", "size"},
	"CustomerListUpload":    {"total_parts", "parts_received", "records_received", "parts_url"},
}

// What v5 requires and Gavel does not: the path has the ad account, a pin is optional, users take the place of a rule.
var optionalHere = map[string][]string{
	"campaignCreateRequest": {"ad_account_id"}, "campaignUpdateRequest": {"ad_account_id"}, "adCreateRequest": {"pin_id"}, "audienceCreateRequest": {"rule"},
	"customerListRequest": {"records"}, "uploadCreateRequest": {"total_parts"},
}

func TestV5InputsCoverTheReference(t *testing.T) {
	t.Parallel()
	ref := readReference(t)
	for name, in := range map[string]any{
		"AdAccountCreate": &adAccountCreate{}, "CampaignCreateRequest": &campaignCreateRequest{}, "CampaignUpdateRequest": &campaignUpdateRequest{},
		"AdGroupCreateRequest": &adGroupCreateRequest{}, "AdGroupUpdateRequest": &adGroupUpdateRequest{}, "AdCreateRequest": &adCreateRequest{},
		"AdUpdateRequest": &adUpdateRequest{}, "KeywordsRequest": &keywordsRequest{}, "KeywordsCommon": &keywordRequest{}, "AudienceCreateRequest": &audienceCreateRequest{},
		"CustomerListRequest": &customerListRequest{}, "CustomerListUpdateRequest": &customerListUpdateRequest{},
		"CustomerListUploadCreateRequest": &uploadCreateRequest{}, "ConversionEvents": &conversionsRequest{}, "ConversionEvent": &conversionRequest{},
		"ConversionEventCustomData": &customData{}, "ConversionEventsUserDataProperties": &userData{},
		"CampaignBidOptionsCreate": &bidOptionsCreate{}, "CampaignBidOptionsUpdate": &bidOptionsUpdate{}, "BidFloorRequest": &bidFloorRequest{},
		"BidFloorSpec": &floorSpecRequest{}, "OptimizationGoalMetadata": &goalRequest{}, "ConversionGoalMetadata": &conversionGoalRequest{},
	} {
		schema, found := ref.Schemas[name]
		require.True(t, found, name)
		v := reflect.ValueOf(in).Elem()
		known := fieldsOf(v, map[string]inputField{})
		want := slices.Sorted(maps.Keys(schema.Properties))
		want = append(want, ours[v.Type().Name()]...)
		require.ElementsMatch(t, want, slices.Collect(maps.Keys(known)), "%s: a field of v5 is unknown here, or one that is not of v5 is not listed as ours", name)
		for _, field := range schema.Required {
			if !slices.Contains(optionalHere[v.Type().Name()], field) {
				require.NotContains(t, jsonTag(v.Type(), field), "omitempty", "%s.%s is required by v5", name, field)
			}
		}
		for field, of := range schema.Properties {
			if s := known[field].Schema(newAPI(newApp()).OpenAPI().Components.Schemas); s.Type != "" {
				require.Equal(t, of.Type, s.Type, "%s.%s", name, field)
			}
		}
	}
}

// jsonTag is the tag of the field with a JSON name, embedded ones too.
func jsonTag(st reflect.Type, name string) string {
	for i := range st.NumField() {
		f := st.Field(i)
		tag := f.Tag.Get("json")
		if f.Anonymous {
			tag = jsonTag(f.Type, name)
		}
		if tag == name || strings.HasPrefix(tag, name+",") {
			return tag
		}
	}
	return ""
}

// like holds an answer to a reference schema: every field is v5's or ours, and has v5's type, nullability and values.
func (r reference) like(t *testing.T, schema string, got map[string]any) {
	t.Helper()
	s, found := r.Schemas[schema]
	require.True(t, found, schema)
	for _, field := range s.Required {
		require.Contains(t, got, field, schema)
	}
	for field, value := range got {
		of, known := s.Properties[field]
		if !known {
			require.Contains(t, append(ours[schema], "details"), field, "%s has a field that v5 does not have", schema)
			continue
		}
		if value == nil {
			require.True(t, of.Nullable, "%s.%s is null", schema, field)
			continue
		}
		is := map[reflect.Kind]string{reflect.String: "string", reflect.Float64: "integer", reflect.Bool: "boolean", reflect.Map: "object", reflect.Slice: "array"}[reflect.TypeOf(value).Kind()]
		if of.Type == "number" { // v5 calls some of its whole numbers so
			of.Type = "integer"
		}
		require.Equal(t, of.Type, is, "%s.%s = %v", schema, field, value)
		if of.Enum != nil {
			require.Contains(t, of.Enum, value, "%s.%s", schema, field)
		}
	}
}

func TestV5AnswersHaveTheShapesOfTheReference(t *testing.T) {
	t.Parallel()
	b, ref := setupV5(t), readReference(t)
	campaignID, groupID, adID := b.tree()
	const root = "/v5/ad_accounts/{account}"
	ref.like(t, "AdAccount", b.ok("GET", root, ""))
	for path, schema := range map[string]string{"/campaigns/" + campaignID: "CampaignResponse", "/ad_groups/" + groupID: "AdGroupResponse", "/ads/" + adID: "AdResponse"} {
		ref.like(t, schema, b.ok("GET", root+path, ""))
	}
	// Everything set.
	c := first(b, b.ok("POST", root+"/campaigns", `[{"name":"a","objective_type":"WEB_CONVERSION","bid_options":{"app_type_multipliers":{"ipad":1.1},"placement_multipliers":{"BROWSE":0.9}},"status":"PAUSED","is_campaign_budget_optimization":true,"lifetime_spend_cap":5,"start_time":1,"end_time":9000000000}]`))
	ref.like(t, "CampaignCreateResponseData", c)
	g := first(b, b.ok("POST", root+"/ad_groups", `[{"campaign_id":"`+c["id"].(string)+`","name":"g","billable_event":"IMPRESSION","bid_strategy_type":"AUTOMATIC_BID","bid_multiplier":1.5,"optimization_goal_metadata":{"conversion_tag_v3_goal_metadata":{"cpa_goal_value_in_micro_currency":"5000000"}},"targeting_spec":{"GENDER":["male"]},"lifetime_frequency_cap":5,"end_time":8000000000}]`))
	ref.like(t, "AdGroupResponse", g)
	require.Equal(t, "CBO_ADGROUP", g["budget_type"])
	ref.like(t, "CampaignBidOptions", c["bid_options"].(map[string]any))
	ref.like(t, "OptimizationGoalMetadata", g["optimization_goal_metadata"].(map[string]any))
	ref.like(t, "ConversionGoalMetadata", g["optimization_goal_metadata"].(map[string]any)["conversion_tag_v3_goal_metadata"].(map[string]any))
	ref.like(t, "BidFloor", b.ok("POST", root+"/bid_floor", `{"bid_floor_specs":[{"billable_event":"IMPRESSION","currency":"USD"}]}`))
	ref.like(t, "AdResponse", first(b, b.ok("POST", root+"/ads", `[{"ad_group_id":"`+groupID+`","creative_type":"VIDEO","destination_url":"http://x.example","pin_id":"394205773611545468","name":"n"}]`)))

	partly := b.ok("POST", root+"/campaigns", `[`+campaignJSON+`,{}]`)
	ref.like(t, "CampaignCreateResponse", partly)
	for _, item := range partly["items"].([]any) {
		ref.like(t, "CampaignCreateResponseItem", item.(map[string]any))
	}
	ref.like(t, "Exception", partly["items"].([]any)[1].(map[string]any)["exceptions"].([]any)[0].(map[string]any))
	ads := b.ok("POST", root+"/ads", `[`+strings.ReplaceAll(adJSON, "%GROUP", groupID)+`,{}]`)
	ref.like(t, "AdArrayResponse", ads)
	for _, item := range ads["items"].([]any) {
		ref.like(t, "AdArrayResponseElement", item.(map[string]any))
	}
	groups := b.ok("PATCH", root+"/ad_groups", `[{"id":"`+groupID+`"},{}]`)
	for _, item := range groups["items"].([]any) {
		ref.like(t, "AdGroupArrayResponseElement", item.(map[string]any))
	}

	keywords := b.ok("POST", root+"/keywords", `{"parent_id":"`+groupID+`","keywords":[{"match_type":"EXACT","value":"a"},{}]}`)
	ref.like(t, "KeywordsResponse", keywords)
	ref.like(t, "Keyword", keywords["keywords"].([]any)[0].(map[string]any))
	ref.like(t, "KeywordError", keywords["errors"].([]any)[0].(map[string]any))
	ref.like(t, "Keyword", keywords["errors"].([]any)[0].(map[string]any)["data"].(map[string]any))
	audience := b.ok("POST", root+"/audiences", `{"name":"a","audience_type":"CUSTOMER_LIST"}`)
	ref.like(t, "Audience", audience)
	ref.like(t, "Paginated", b.ok("GET", root+"/campaigns?page_size=1", ""))
	ref.like(t, "Paginated", b.ok("GET", root+"/audiences", ""))
	list := b.ok("POST", root+"/customer_lists", `{"name":"a","list_type":"HASHED_PINNER_ID"}`)
	ref.like(t, "CustomerList", list)
	uploads := root + "/customer_lists/" + list["id"].(string) + "/uploads"
	created := b.ok("POST", uploads, `{"operation":"ADD","total_parts":1}`)
	ref.like(t, "CustomerListUploadCreateResponse", created)
	upload := created["customer_list_upload"].(map[string]any)
	b.ok("PUT", uploads+"/"+upload["id"].(string)+"/parts/1", "x")
	ref.like(t, "CustomerListUpload", b.ok("POST", uploads+"/"+upload["id"].(string)+"/run", ""))
	ref.like(t, "Error", b.call("GET", root+"/campaigns/5", "").body)
}
