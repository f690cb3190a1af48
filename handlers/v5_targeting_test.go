package handlers

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// adGroup is the body of a create with more fields.
func adGroup(campaignID, more string) string {
	return strings.TrimSuffix(strings.ReplaceAll(adGroupJSON, "%CAMPAIGN", campaignID), "}") + "," + more + "}"
}

// problems are the fields that an answer names, each with its message.
func (r reply) problems(b *v5Bundle) map[string]string {
	b.Helper()
	all := map[string]string{}
	details, _ := r.body["details"].([]any)
	for _, d := range details {
		one, _ := d.(map[string]any)
		field, _ := one["field"].(string)
		all[field], _ = one["message"].(string)
	}
	return all
}

// TestTargetingIsRefusedWhenItIsWritten: each is a 400 that names the key and the value, and nothing is written.
func TestTargetingIsRefusedWhenItIsWritten(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	campaignID, groupID, _ := b.tree()
	b.loadInterests()
	const path = "/v5/ad_accounts/{account}/ad_groups"
	for spec, want := range map[string]struct{ field, message string }{
		`[]`:                                              {"", "must be a JSON object"},
		`{"gender":["male"]}`:                             {"gender", "not a key"},
		`{"LOCATION":["UK"]}`:                             {"LOCATION[0]", `"UK"`},
		`{"GEO":["US-94107"]}`:                            {"GEO[0]", `"US-94107" looks like a postal code`},
		`{"GENDER":[]}`:                                   {"GENDER", "nobody"},
		`{"GENDER":["male","x"]}`:                         {"GENDER[1]", `"x"`},
		`{"AGE_BUCKET":["18+"]}`:                          {"AGE_BUCKET[0]", `"18+"`},
		`{"MINIMUM_AGE":"20"}`:                            {"MAXIMUM_AGE", "required"},
		`{"APPTYPE":["tv"]}`:                              {"APPTYPE[0]", `"tv"`},
		`{"LOCALE":["xx"]}`:                               {"LOCALE[0]", `"xx"`},
		`{"INTEREST":["1","999"]}`:                        {"INTEREST", `"999"`},
		`{"AUDIENCE_INCLUDE":["vip"]}`:                    {"AUDIENCE_INCLUDE[0]", `"vip"`},
		`{"AUDIENCE_INCLUDE":["5"]}`:                      {"AUDIENCE_INCLUDE", "audience 5"},
		`{"AUDIENCE_EXCLUDE":["6"]}`:                      {"AUDIENCE_EXCLUDE", "audience 6"},
		`{"TARGETING_STRATEGY":["RECONNECT_WITH_USERS"]}`: {"TARGETING_STRATEGY", "needs AUDIENCE_INCLUDE"},
		`{"SHOPPING_RETARGETING":[{}]}`:                   {"SHOPPING_RETARGETING", "not supported"},
	} {
		for _, c := range []struct{ method, body string }{
			{http.MethodPost, `[` + adGroup(campaignID, `"targeting_spec":`+spec) + `]`},
			{http.MethodPatch, `[{"id":"` + groupID + `","targeting_spec":` + spec + `}]`},
		} {
			r := b.call(c.method, path, c.body)
			require.Equal(t, http.StatusBadRequest, r.status, r.raw)
			field := strings.TrimSuffix("[0].targeting_spec."+want.field, ".")
			require.Contains(t, r.problems(b)[field], want.message, r.raw)
			require.Len(t, r.problems(b), 1, r.raw)
		}
	}
	require.Len(t, b.ok("GET", path, "")["items"], 1, "nothing was written")
	require.Equal(t, map[string]any{}, b.ok("GET", path+"/"+groupID, "")["targeting_spec"])
}

// TestTargetingIsShownAsItIsMeant: values once and in order; a key with nothing in it is not there.
func TestTargetingIsShownAsItIsMeant(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	campaignID, _, _ := b.tree()
	b.loadInterests()
	audience, _ := b.ok("POST", "/v5/ad_accounts/{account}/audiences", `{"name":"a","audience_type":"CUSTOMER_LIST"}`)["id"].(string)
	const path = "/v5/ad_accounts/{account}/ad_groups"
	for spec, want := range map[string]string{
		`{}`:   `{}`,
		`null`: `{}`,
		`{"GENDER":null,"AUDIENCE_EXCLUDE":[],"SHOPPING_RETARGETING":[]}`:                                     `{}`,
		`{"GENDER":["male","female","male"],"LOCATION":["US","807"]}`:                                         `{"GENDER":["female","male"],"LOCATION":["807","US"]}`,
		`{"INTEREST":["12","1","11"]}`:                                                                        `{"INTEREST":["1","11","12"]}`,
		`{"LOCALE":["EN_us"],"GEO":["US-CA"]}`:                                                                `{"LOCALE":["en-US"],"GEO":["US-CA"]}`,
		`{"AUDIENCE_INCLUDE":["` + audience + `"],"AUDIENCE_EXCLUDE":["` + audience + `"]}`:                   `{"AUDIENCE_INCLUDE":["` + audience + `"],"AUDIENCE_EXCLUDE":["` + audience + `"]}`,
		`{"TARGETING_STRATEGY":["RECONNECT_WITH_USERS"],"AUDIENCE_INCLUDE":["` + audience + `"]}`:             `{"TARGETING_STRATEGY":["RECONNECT_WITH_USERS"],"AUDIENCE_INCLUDE":["` + audience + `"]}`,
		`{"TARGETING_STRATEGY":["FIND_NEW_CUSTOMERS"],"AUDIENCE_EXCLUDE":["` + audience + `"]}`:               `{"TARGETING_STRATEGY":["FIND_NEW_CUSTOMERS"],"AUDIENCE_EXCLUDE":["` + audience + `"]}`,
		`{"MINIMUM_AGE":"18","MAXIMUM_AGE":"65+","APPTYPE":["web"],"TARGETING_STRATEGY":["CHOOSE_YOUR_OWN"]}`: `{"MINIMUM_AGE":"18","MAXIMUM_AGE":"65+","APPTYPE":["web"],"TARGETING_STRATEGY":["CHOOSE_YOUR_OWN"]}`,
	} {
		got := first(b, b.ok("POST", path, `[`+adGroup(campaignID, `"targeting_spec":`+spec)+`]`))
		require.JSONEq(t, want, string(encode(got["targeting_spec"])))
		id, _ := got["id"].(string)
		require.JSONEq(t, want, string(encode(b.ok("GET", path+"/"+id, "")["targeting_spec"])), "and it can be read again")
	}
}

func TestAdScheduleThroughTheAPI(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	campaignID, plain, _ := b.tree()
	const path = "/v5/ad_accounts/{account}/ad_groups"
	require.Nil(t, b.ok("GET", path+"/"+plain, "")["ad_schedule"])
	g := first(b, b.ok("POST", path, `[`+adGroup(campaignID, `"ad_schedule":[
		{"day_of_week":"SUNDAY","start_hour":20,"end_hour":24},{"day_of_week":"MONDAY","start_hour":12,"end_hour":17},{"start_hour":9,"end_hour":13,"day_of_week":"MONDAY"}]`)+`]`))
	want := []any{
		map[string]any{"day_of_week": "MONDAY", "start_hour": 9.0, "end_hour": 17.0},
		map[string]any{"day_of_week": "SUNDAY", "start_hour": 20.0, "end_hour": 24.0},
	}
	id, _ := g["id"].(string)
	require.Equal(t, want, g["ad_schedule"])
	require.Equal(t, want, b.ok("GET", path+"/"+id, "")["ad_schedule"])
	require.Equal(t, want, first(b, b.ok("PATCH", path, `[{"id":"`+id+`","name":"n"}]`))["ad_schedule"], "what is not given stays")
	items, _ := b.ok("GET", path+"?ad_group_ids="+id, "")["items"].([]any)
	require.Equal(t, want, items[0].(map[string]any)["ad_schedule"])

	for schedule, want := range map[string]map[string]string{
		`[]`:       {"[0].ad_schedule": "is empty, which would be for nobody: null means all hours"},
		`{}`:       {"[0].ad_schedule": "must be an array of objects"},
		`"always"`: {"[0].ad_schedule": "must be an array of objects"},
		`[5]`:      {"[0].ad_schedule[0]": "must be an object"},
		`[null]`:   {"[0].ad_schedule[0]": "must be an object"},
		`[{"day_of_week":"MONDAY","start_hour":9,"end_hour":17},{"day_of_week":"MONDAY","start_hour":17,"end_hour":9}]`: {
			"[0].ad_schedule[1].end_hour": "is 9, must be after start_hour 17: what goes past midnight is two entries, one for each day",
		},
		`[{"day_of_week":"Monday","start_hour":"9","end_hour":24.5}]`: {
			"[0].ad_schedule[0].day_of_week": "must be one of MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY, SATURDAY, SUNDAY",
			"[0].ad_schedule[0].start_hour":  "must be an integer", "[0].ad_schedule[0].end_hour": "must be an integer",
		},
		`[{"day":"MONDAY","start_hour":0,"end_hour":24}]`:                                         {"[0].ad_schedule[0].day": "is not a known field", "[0].ad_schedule[0].day_of_week": "is required"},
		`[` + strings.Repeat(`{"day_of_week":"MONDAY","start_hour":0,"end_hour":1},`, 42) + `{}]`: {"[0].ad_schedule": "has 43 entries, at most 42 are allowed"},
	} {
		r := b.call("PATCH", path, `[{"id":"`+id+`","ad_schedule":`+schedule+`}]`)
		require.Equal(t, http.StatusBadRequest, r.status, r.raw)
		require.Equal(t, want, r.problems(b), schedule)
	}
	require.Equal(t, want, b.ok("GET", path+"/"+id, "")["ad_schedule"], "what was refused changed nothing")
	require.Nil(t, first(b, b.ok("PATCH", path, `[{"id":"`+id+`","ad_schedule":null}]`))["ad_schedule"])
}
