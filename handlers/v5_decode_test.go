package handlers

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/internal/fault"
	"gavel/internal/money"
)

func fieldNames(problems []fault.Field) []string {
	out := []string{}
	for _, p := range problems {
		out = append(out, p.Name)
	}
	return out
}

func TestDecodeObjectTellsEveryProblem(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body string
		want []string
	}{
		"empty":                {`{}`, []string{}},
		"not JSON":             {`{"name":`, []string{""}},
		"not an object":        {`[]`, []string{""}},
		"null":                 {`null`, []string{""}},
		"nothing":              {``, []string{""}},
		"two values":           {`{} {}`, []string{""}},
		"no UTF-8":             {"{\"name\":\"\xff\"}", []string{""}},
		"unknown":              {`{"nam":"a","daily_spend_caps":1}`, []string{"nam", "daily_spend_caps"}},
		"case matters":         {`{"Name":"a"}`, []string{"Name"}},
		"given twice":          {`{"name":"a","name":"b"}`, []string{"name"}},
		"wrong types":          {`{"name":1,"status":true,"daily_spend_cap":"5","start_time":"now","is_campaign_budget_optimization":"yes","ad_account_id":5}`, []string{"name", "status", "daily_spend_cap", "start_time", "is_campaign_budget_optimization", "ad_account_id"}},
		"fractions":            {`{"daily_spend_cap":1.5,"lifetime_spend_cap":1e3,"start_time":1.0}`, []string{"daily_spend_cap", "lifetime_spend_cap", "start_time"}},
		"out of range":         {`{"daily_spend_cap":9223372036854775808}`, []string{"daily_spend_cap"}},
		"ids":                  {`{"ad_account_id":"-1"}`, []string{"ad_account_id"}},
		"long id":              {`{"ad_account_id":"1234567890123456789"}`, []string{"ad_account_id"}},
		"not supported":        {`{"bid_options":{"a":1},"is_flexible_daily_budgets":true,"tracking_urls":{"click":["x"]},"order_line_id":"5"}`, []string{"bid_options.a", "is_flexible_daily_budgets", "tracking_urls", "order_line_id"}},
		"switched off":         {`{"bid_options":{ },"is_flexible_daily_budgets":false,"tracking_urls":null,"is_automated_campaign":null}`, []string{}},
		"nulls are left alone": {`{"name":null,"daily_spend_cap":null,"start_time":null,"status":null}`, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var in campaignCreateRequest
			require.Equal(t, c.want, fieldNames(decodeObject([]byte(c.body), &in)))
		})
	}
}

func TestDecodedValuesArrive(t *testing.T) {
	t.Parallel()
	items, err := decodeItems([]byte(`[{"id":"9","name":"a","daily_spend_cap":null,"lifetime_spend_cap":7,"end_time":100},{"id":"8"}]`), (*campaignUpdateRequest).input)
	require.NoError(t, err)
	require.Len(t, items, 2)
	first := items[0].Input
	require.Empty(t, items[0].Problems)
	require.Equal(t, campaign.CampaignID(9), first.ID)
	require.Equal(t, campaign.Some("a"), first.Name)
	require.Equal(t, campaign.Null[money.Micros](), first.DailySpendCap)
	require.Equal(t, campaign.Some(money.Micros(7)), first.LifetimeSpendCap)
	require.Equal(t, int64(100), first.EndTime.Value.Unix())
	require.Equal(t, campaign.CampaignUpdate{ID: 8}, items[1].Input, "what is absent is absent")

	group, err := decodeItems([]byte(`[{"bid_strategy_type":"TARGET_AVG","targeting_template_ids":["5"],"bid_multiplier":0,"targeting_spec":{"GENDER":["male"]}}]`), (*adGroupUpdateRequest).input)
	require.NoError(t, err)
	require.Equal(t, []fault.Field{{Name: "targeting_template_ids", Message: "is not supported yet"}}, group[0].Problems)
	require.Equal(t, campaign.Some(campaign.TargetAvg), group[0].Input.BidStrategy)
	require.JSONEq(t, `{"GENDER":["male"]}`, string(group[0].Input.TargetingSpec.Value))

	parent, keywords, found := decodeKeywords([]byte(`{"parent_id":"5","keywords":[{"match_type":"BROAD","value":"a","bid":5},{"match_type":1,"word":"x"}]}`))
	require.Empty(t, found)
	require.Equal(t, campaign.AdGroupID(5), parent.Value)
	require.Empty(t, keywords[0].Problems)
	require.Equal(t, []string{"match_type", "word"}, fieldNames(keywords[1].Problems))
}

func TestDecodeArrayBounds(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"object": `{}`, "null": `null`, "nothing": ``, "open": `[{}`, "31 items": `[` + strings.Repeat(`{},`, 30) + `{}]`,
		"after it": `[{}] x`, "comma": `[{},]`, "not UTF-8": "[\"\xff\"]",
	} {
		_, err := decodeArray([]byte(body), 30)
		require.Equal(t, fault.Invalid, fault.CodeOf(err), name)
		require.NotEmpty(t, fault.From(err).Fields, name)
	}
	elements, err := decodeArray([]byte(` [ {} , 1 ] `), 30)
	require.NoError(t, err)
	require.Len(t, elements, 2)
}

// inputTypes are all objects that the v5 API decodes.
func inputTypes() []any {
	return []any{
		&adAccountCreate{}, &campaignCreateRequest{}, &campaignUpdateRequest{}, &adGroupCreateRequest{}, &adGroupUpdateRequest{},
		&adCreateRequest{}, &adUpdateRequest{}, &keywordsRequest{}, &keywordRequest{}, &audienceCreateRequest{}, &audienceUsersRequest{},
		&bidFloorRequest{}, &floorSpecRequest{}, &bidOptionsUpdate{}, &goalRequest{}, &conversionGoalRequest{},
	}
}

func TestEveryInputFieldIsDecoded(t *testing.T) {
	t.Parallel()
	for _, in := range inputTypes() {
		v := reflect.ValueOf(in).Elem()
		known := fieldsOf(v, map[string]inputField{})
		require.NotEmpty(t, known)
		var count func(reflect.Type) int
		count = func(st reflect.Type) (n int) {
			for i := range st.NumField() {
				f := st.Field(i)
				if f.Anonymous {
					n += count(f.Type)
					continue
				}
				n++
			}
			return n
		}
		require.Len(t, known, count(v.Type()), "%T: two fields have one JSON name, or one is no inputField", in)
		require.NotContains(t, known, "", "%T has a field without a JSON name", in)
	}
}

func FuzzDecodeCreate(f *testing.F) {
	for _, seed := range []string{
		`[{"name":"a","objective_type":"AWARENESS","daily_spend_cap":5,"start_time":1,"end_time":2,"bid_options":null}]`,
		`[{"campaign_id":"1","billable_event":"IMPRESSION","bid_in_micro_currency":5,"targeting_spec":{"GENDER":["male"]}}]`,
		`{"parent_id":"1","keywords":[{"match_type":"EXACT","value":"x"}]}`, `[]`, `[null]`, `[{"name":"\ud800"}]`, `{"user_ids":["a"],"operation_type":"ADD"}`,
		`{"bid_options":{"app_type_multipliers":{"ipad":1.1,"ipad":1e400},"audience_multipliers":{"5":0}},"optimization_goal_metadata":{"conversion_tag_v3_goal_metadata":{"cpa_goal_value_in_micro_currency":"5"}}}`,
		`{"bid_floor_specs":[{"billable_event":"IMPRESSION","currency":"USD","countries":["US"]},{"x":1}],"bid_multiplier":1.5}`,
		`{"ad_schedule":[{"day_of_week":"MONDAY","start_hour":9,"end_hour":17},{"x":1},5,null]}`,
		`{"ad_schedule":[` + strings.Repeat(`{"`+strings.Repeat("x", 64)+`":1,"y":1,"z":1},`, 41) + `{}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if elements, err := decodeArray(body, campaign.MaxBatch); err == nil {
			require.True(t, json.Valid(body), "accepted what is not JSON")
			require.LessOrEqual(t, len(elements), campaign.MaxBatch)
		} else {
			require.Equal(t, fault.Invalid, fault.CodeOf(err))
		}
		for _, in := range inputTypes() {
			problems := decodeObject(body, in)
			if len(problems) > 0 {
				require.LessOrEqual(t, len(encode(bodyOf(&fault.Error{Code: fault.Invalid, Fields: problems}))), 64<<10)
				continue
			}
			var fields map[string]json.RawMessage
			require.NoError(t, json.Unmarshal(body, &fields), "accepted what is not an object")
			known := fieldsOf(reflect.ValueOf(in).Elem(), map[string]inputField{})
			for name := range fields {
				require.Contains(t, known, name, "accepted an unknown field")
			}
		}
	})
}
