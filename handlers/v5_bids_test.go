package handlers

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"
)

const accountPath = "/v5/ad_accounts/{account}"

// conversions makes a campaign with the objective WEB_CONVERSION.
func (b *v5Bundle) conversions() (id string) {
	b.Helper()
	return first(b, b.ok("POST", accountPath+"/campaigns", `[{"name":"c","objective_type":"WEB_CONVERSION"}]`))["id"].(string)
}

func TestV5BidStrategies(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	campaignID, groupID, _ := b.tree()
	conversions := b.conversions()
	goal := func(more string) string {
		return `"optimization_goal_metadata":{"conversion_tag_v3_goal_metadata":{"cpa_goal_value_in_micro_currency":"5000000"` + more + `}}`
	}
	const cpaGoal = "optimization_goal_metadata.conversion_tag_v3_goal_metadata"
	for name, c := range map[string]struct {
		campaign, terms string
		fields          []string
	}{
		"no bid":                       {campaignID, `"name":"g"`, []string{"bid_in_micro_currency"}},
		"null":                         {campaignID, `"bid_in_micro_currency":null,"bid_strategy_type":null`, []string{"bid_in_micro_currency"}},
		"average without a bid":        {campaignID, `"bid_strategy_type":"TARGET_AVG"`, []string{"bid_in_micro_currency"}},
		"average":                      {campaignID, `"bid_strategy_type":"TARGET_AVG","bid_in_micro_currency":5`, nil},
		"automatic":                    {campaignID, `"bid_strategy_type":"AUTOMATIC_BID"`, nil},
		"automatic with a cap":         {campaignID, `"bid_strategy_type":"AUTOMATIC_BID","bid_in_micro_currency":5,"bid_multiplier":1.5`, nil},
		"bid of 0":                     {campaignID, `"bid_strategy_type":"AUTOMATIC_BID","bid_in_micro_currency":0`, []string{"bid_in_micro_currency"}},
		"unknown":                      {campaignID, `"bid_strategy_type":"LUCK"`, []string{"bid_strategy_type"}},
		"multiplier of another":        {campaignID, `"bid_in_micro_currency":5,"bid_multiplier":1.5`, []string{"bid_multiplier"}},
		"no multiplier":                {campaignID, `"bid_in_micro_currency":5,"bid_multiplier":0`, nil},
		"small multiplier":             {campaignID, `"bid_strategy_type":"AUTOMATIC_BID","bid_multiplier":0.099`, []string{"bid_multiplier"}},
		"large multiplier":             {campaignID, `"bid_strategy_type":"AUTOMATIC_BID","bid_multiplier":10.001`, []string{"bid_multiplier"}},
		"decimals":                     {campaignID, `"bid_strategy_type":"AUTOMATIC_BID","bid_multiplier":1.2345`, []string{"bid_multiplier"}},
		"a number without end":         {campaignID, `"bid_strategy_type":"AUTOMATIC_BID","bid_multiplier":1e999`, []string{"bid_multiplier"}},
		"a multiplier in words":        {campaignID, `"bid_strategy_type":"AUTOMATIC_BID","bid_multiplier":"1.5"`, []string{"bid_multiplier"}},
		"goal":                         {conversions, goal(``), nil},
		"goal with a cap":              {conversions, goal(``) + `,"bid_in_micro_currency":5`, nil},
		"goal, automatic":              {conversions, goal(``) + `,"bid_strategy_type":"AUTOMATIC_BID"`, nil},
		"goal with an average":         {conversions, goal(``) + `,"bid_strategy_type":"TARGET_AVG","bid_in_micro_currency":5`, []string{cpaGoal + ".cpa_goal_value_in_micro_currency"}},
		"goal of another objective":    {campaignID, goal(``), []string{cpaGoal + ".cpa_goal_value_in_micro_currency"}},
		"other keys":                   {conversions, goal(`,"conversion_event":"CHECKOUT","is_roas_optimized":true,"x":1`), []string{cpaGoal + ".conversion_event", cpaGoal + ".is_roas_optimized", cpaGoal + ".x"}},
		"keys that are off":            {conversions, goal(`,"is_roas_optimized":false,"learning_mode_type":"NOT_ACTIVE"`), nil},
		"goal as a number":             {conversions, strings.ReplaceAll(goal(``), `"5000000"`, `5000000`), []string{cpaGoal + ".cpa_goal_value_in_micro_currency", "bid_in_micro_currency"}},
		"goal of 0":                    {conversions, strings.ReplaceAll(goal(``), `5000000`, `0`), []string{cpaGoal + ".cpa_goal_value_in_micro_currency"}},
		"goal of an advertiser's mind": {conversions, `"optimization_goal_metadata":[]`, []string{"optimization_goal_metadata", "bid_in_micro_currency"}},
		"floor of an advertiser":       {campaignID, `"bid_in_micro_currency":5,"bid_floor_in_micro_currency":3`, []string{"bid_floor_in_micro_currency"}},
	} {
		r := b.call("POST", accountPath+"/ad_groups", `[{"campaign_id":"`+c.campaign+`","name":"g","billable_event":"CLICKTHROUGH","budget_in_micro_currency":50,`+strings.TrimPrefix(c.terms, `"name":"g"`)+`}]`)
		if strings.HasPrefix(c.terms, `"name"`) {
			r = b.call("POST", accountPath+"/ad_groups", `[{"campaign_id":"`+c.campaign+`","name":"g","billable_event":"CLICKTHROUGH","budget_in_micro_currency":50}]`)
		}
		if c.fields == nil {
			require.Equal(t, http.StatusOK, r.status, "%s: %s", name, r.raw)
			continue
		}
		require.Equal(t, http.StatusBadRequest, r.status, name)
		for i, f := range c.fields {
			c.fields[i] = "[0]." + f
		}
		require.ElementsMatch(t, c.fields, r.fields(), "%s: %s", name, r.raw)
	}

	patch := func(terms string, headers ...string) reply {
		return b.call("PATCH", accountPath+"/ad_groups", `[{"id":"`+groupID+`",`+terms+`}]`, headers...)
	}
	require.Equal(t, []string{"[0].bid_in_micro_currency"}, patch(`"bid_in_micro_currency":null`).fields(), "MAX_BID needs its bid")
	g := first(b, patch(`"bid_strategy_type":"AUTOMATIC_BID","bid_in_micro_currency":null,"bid_multiplier":1.234`).body)
	require.Equal(t, "AUTOMATIC_BID", g["bid_strategy_type"])
	require.Nil(t, g["bid_in_micro_currency"])
	require.InDelta(t, 1.234, g["bid_multiplier"], 0)
	require.ElementsMatch(t, []string{"[0].bid_in_micro_currency", "[0].bid_multiplier"}, patch(`"bid_strategy_type":"MAX_BID"`).fields())
	g = first(b, patch(`"bid_strategy_type":"TARGET_AVG","bid_in_micro_currency":9,"bid_multiplier":0`).body)
	require.Nil(t, g["bid_multiplier"])

	operator := []string{fiber.HeaderAuthorization, "Bearer " + b.operator}
	require.Equal(t, []string{"[0].bid_floor_in_micro_currency"}, patch(`"bid_floor_in_micro_currency":10`, operator...).fields(), "above the bid")
	g = first(b, patch(`"bid_floor_in_micro_currency":9`, operator...).body)
	require.InDelta(t, 9, g["bid_floor_in_micro_currency"], 0)
	require.Equal(t, []string{"[0].bid_in_micro_currency"}, patch(`"bid_in_micro_currency":8`).fields(), "below the floor")
	require.Equal(t, []string{"[0].bid_floor_in_micro_currency"}, patch(`"bid_floor_in_micro_currency":null`).fields(), "nor may an advertiser remove it")
	require.Equal(t, http.StatusOK, patch(`"bid_floor_in_micro_currency":null,"bid_in_micro_currency":8`, operator...).status)

	inConversions := first(b, b.ok("POST", accountPath+"/ad_groups", `[{"campaign_id":"`+conversions+`","name":"g","billable_event":"IMPRESSION","budget_in_micro_currency":50,`+goal(``)+`}]`))["id"].(string)
	r := b.call("PATCH", accountPath+"/ad_groups", `[{"id":"`+inConversions+`","optimization_goal_metadata":null}]`)
	require.Equal(t, []string{"[0].bid_in_micro_currency"}, r.fields(), "neither a goal nor a bid: %s", r.raw)
	g = first(b, b.ok("PATCH", accountPath+"/ad_groups", `[{"id":"`+inConversions+`","optimization_goal_metadata":null,"bid_in_micro_currency":7}]`))
	require.Nil(t, g["optimization_goal_metadata"])
}

func TestV5BidOptions(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	own := b.ok("POST", accountPath+"/audiences", `{"name":"a","audience_type":"CUSTOMER_LIST"}`)["id"].(string)
	theirs := b.call("POST", "/v5/ad_accounts/"+b.other+"/audiences", `{"name":"a","audience_type":"CUSTOMER_LIST"}`, fiber.HeaderAuthorization, "Bearer "+b.operator).body["id"].(string)
	create := func(options string) reply {
		return b.call("POST", accountPath+"/campaigns", `[{"name":"c","objective_type":"AWARENESS","bid_options":`+options+`}]`)
	}
	for options, fields := range map[string][]string{
		`{"app_type_multipliers":{"toaster":1}}`:                                {"app_type_multipliers"},
		`{"app_type_multipliers":{"ipad":1,"ipad":2}}`:                          {"app_type_multipliers.ipad"},
		`{"placement_multipliers":{"browse":1,"BROWSE":1}}`:                     {"placement_multipliers.BROWSE"},
		`{"placement_multipliers":{"browse":10.001}}`:                           {"placement_multipliers.browse"},
		`{"placement_multipliers":{"browse":-0.1,"search":1.2345}}`:             {"placement_multipliers.search", "placement_multipliers.browse"},
		`{"placement_multipliers":[]}`:                                          {"placement_multipliers"},
		`{"audience_multipliers":{"` + theirs + `":1}}`:                         {"audience_multipliers"},
		`{"audience_multipliers":{"x":1}}`:                                      {"audience_multipliers"},
		`{"audience_multipliers":{"x":"1"}}`:                                    {"audience_multipliers.x"},
		`{"audience_multipliers":{` + strings.Repeat(`"1":1,`, 100) + `"1":1}}`: {"audience_multipliers"},
		`{"gender_multipliers":{}}`:                                             {"gender_multipliers"},
		`{"update_mask":["APP_TYPE"]}`:                                          {"update_mask"},
		`5`:                                                                     {""},
	} {
		r := create(options)
		require.Equal(t, http.StatusBadRequest, r.status, options)
		for i, f := range fields {
			fields[i] = strings.TrimSuffix("[0].bid_options."+f, ".")
		}
		require.ElementsMatch(t, fields, r.fields(), "%s: %s", options, r.raw)
	}
	require.Nil(t, first(b, create(`{}`).body)["bid_options"])
	require.Nil(t, first(b, create(`null`).body)["bid_options"])

	c := first(b, create(`{"app_type_multipliers":{"iphone":1.2,"web":0},"placement_multipliers":{"RELATED_PINS":10},"audience_multipliers":{"`+own+`":0.001}}`).body)
	id := c["id"].(string)
	all := map[string]any{"app_type_multipliers": map[string]any{"iphone": 1.2, "web": 0.0}, "placement_multipliers": map[string]any{"related_pins": 10.0}, "audience_multipliers": map[string]any{own: 0.001}}
	require.Equal(t, all, c["bid_options"])
	require.Equal(t, all, b.ok("GET", accountPath+"/campaigns/"+id, "")["bid_options"])

	patch := func(terms string) reply {
		return b.call("PATCH", accountPath+"/campaigns", `[{"id":"`+id+`",`+terms+`}]`)
	}
	require.Equal(t, all, first(b, patch(`"name":"d"`).body)["bid_options"], "what is absent stays")
	require.Equal(t, []string{"[0].bid_options.update_mask"}, patch(`"bid_options":{"app_type_multipliers":{}}`).fields())
	require.Equal(t, []string{"[0].bid_options.update_mask[1]"}, patch(`"bid_options":{"update_mask":["APP_TYPE","GENDER"]}`).fields())
	require.Equal(t, []string{"[0].bid_options.audience_multipliers"}, patch(`"bid_options":{"update_mask":["AUDIENCE"],"audience_multipliers":{"`+theirs+`":1}}`).fields())
	delete(all, "placement_multipliers")
	all["app_type_multipliers"] = map[string]any{"ipad": 2.0}
	masked := `"bid_options":{"update_mask":["APP_TYPE","PLACEMENT"],"app_type_multipliers":{"ipad":2},"audience_multipliers":{"` + own + `":7}}`
	require.Equal(t, all, first(b, patch(masked).body)["bid_options"], "what is masked and absent is removed, what is not masked stays")
	require.Nil(t, first(b, patch(`"bid_options":null`).body)["bid_options"])
}

func TestV5BidFloor(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	ask := func(body string) reply { return b.call("POST", accountPath+"/bid_floor", body) }
	r := ask(`{"bid_floor_specs":[{"billable_event":"IMPRESSION","currency":"USD"},
		{"billable_event":"CLICKTHROUGH","currency":"USD","countries":["US"],"creative_type":"REGULAR","objective_type":"AWARENESS","optimization_goal_metadata":{}},
		{"billable_event":"IMPRESSION","currency":"USD","countries":["DE"]}]}`)
	require.Equal(t, http.StatusOK, r.status, r.raw)
	require.JSONEq(t, `{"bid_floors":[100000,10000,100000],"type":"bidfloor"}`, r.raw)
	r = ask(`{"bid_floor_specs":[{"billable_event":"IMPRESSION","currency":"USD"}],"targeting_spec":{"LOCATION":["US"],"GENDER":["male"]}}`)
	require.JSONEq(t, `{"bid_floors":[200000],"type":"bidfloor"}`, r.raw, "the countries of the targeting")
	r = ask(`{"bid_floor_specs":[{"billable_event":"IMPRESSION","currency":"USD"}],"targeting_spec":{"LOCATION":["US","807"]}}`)
	require.JSONEq(t, `{"bid_floors":[100000],"type":"bidfloor"}`, r.raw, "a market area says nothing of a country")

	for body, fields := range map[string][]string{
		`{}`:                     {"bid_floor_specs"},
		`[]`:                     {""},
		`{"bid_floor_specs":[]}`: {"bid_floor_specs"},
		`{"bid_floor_specs":[` + strings.Repeat(`{},`, 30) + `{}]}`: {"bid_floor_specs"},
		`{"bid_floor_specs":[{}]}`:                                  {"bid_floor_specs[0].billable_event", "bid_floor_specs[0].currency"},
		`{"bid_floor_specs":[{"billable_event":"VIDEO_V_50_MRC","currency":"EUR","countries":["US","XX"]}]}`:            {"bid_floor_specs[0].billable_event", "bid_floor_specs[0].currency", "bid_floor_specs[0].countries[1]"},
		`{"bid_floor_specs":[{"billable_event":5,"currency":"USD"}],"targeting_spec":{"GENDER":[]}}`:                    {"bid_floor_specs[0].billable_event", "targeting_spec.GENDER"},
		`{"bid_floor_specs":[{"billable_event":"IMPRESSION","currency":"USD","countries":"US"}],"targeting_spec":null}`: {"bid_floor_specs[0].countries"},
	} {
		r := ask(body)
		require.Equal(t, http.StatusBadRequest, r.status, body)
		require.ElementsMatch(t, fields, r.fields(), r.raw)
	}
	require.Equal(t, http.StatusForbidden, b.call("POST", "/v5/ad_accounts/"+b.other+"/bid_floor", `{}`).status)
	require.Equal(t, http.StatusNotFound, b.call("POST", "/v5/ad_accounts/5/bid_floor", `{}`, fiber.HeaderAuthorization, "Bearer "+b.operator).status)
}

func TestV5Category(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	create := func(category string) reply {
		return b.call("POST", "/v5/ad_accounts", `{"name":"a","country":"US","currency":"USD","iab_category":`+category+`}`, fiber.HeaderAuthorization, "Bearer "+b.operator)
	}
	for _, bad := range []string{`"IAB27"`, `"IAB0"`, `"IAB2-1"`, `""`, `5`} {
		r := create(bad)
		require.Equal(t, http.StatusBadRequest, r.status, bad)
		require.Equal(t, []string{"iab_category"}, r.fields())
	}
	require.Nil(t, create(`null`).body["iab_category"])
	for _, n := range []int{1, 22, 26} {
		r := create(strconv.Quote("IAB" + strconv.Itoa(n)))
		require.Equal(t, "IAB"+strconv.Itoa(n), r.body["iab_category"], r.raw)
	}
}
