package handlers

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"
)

func TestV5CreateReadChange(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	campaignID, groupID, adID := b.tree()

	c := b.ok("GET", "/v5/ad_accounts/{account}/campaigns/"+campaignID, "")
	require.Equal(t, "Autumn", c["name"])
	require.Equal(t, "campaign", c["type"])
	require.Nil(t, c["daily_spend_cap"])
	c = first(b, b.ok("PATCH", "/v5/ad_accounts/{account}/campaigns", `[{"id":"`+campaignID+`","daily_spend_cap":5000000,"status":"PAUSED"}]`))
	require.InDelta(t, 5_000_000, c["daily_spend_cap"], 0)
	require.Equal(t, "Autumn", c["name"], "what is not given stays")
	c = first(b, b.ok("PATCH", "/v5/ad_accounts/{account}/campaigns", `[{"id":"`+campaignID+`","daily_spend_cap":null}]`))
	require.Nil(t, c["daily_spend_cap"], "null clears")
	require.Equal(t, "PAUSED", c["status"])

	g := first(b, b.ok("PATCH", "/v5/ad_accounts/{account}/ad_groups", `[{"id":"`+groupID+`","targeting_spec":{"GENDER":["female"]},"end_time":8000000000,"lifetime_frequency_cap":3}]`))
	require.Equal(t, map[string]any{"GENDER": []any{"female"}}, g["targeting_spec"])
	require.InDelta(t, 3, g["lifetime_frequency_cap"], 0)
	require.Equal(t, g, b.ok("GET", "/v5/ad_accounts/{account}/ad_groups/"+groupID, ""))
	a := first(b, b.ok("PATCH", "/v5/ad_accounts/{account}/ads", `[{"id":"`+adID+`","title":"<b>&","name":"n","pin_id":null}]`))
	require.Equal(t, "<b>&", a["title"])
	require.Equal(t, a, b.ok("GET", "/v5/ad_accounts/{account}/ads/"+adID, ""))

	k := b.ok("POST", "/v5/ad_accounts/{account}/keywords", `{"parent_id":"`+groupID+`","keywords":[{"match_type":"BROAD","value":"shoes"},{"match_type":"NO","value":""}]}`)
	require.Len(t, k["keywords"], 1)
	require.Len(t, k["errors"], 1)
	list := b.ok("GET", "/v5/ad_accounts/{account}/keywords?ad_group_id="+groupID+"&match_types=BROAD&match_types=EXACT", "")
	require.Len(t, list["items"], 1)

	audience := b.ok("POST", "/v5/ad_accounts/{account}/audiences", `{"name":"buyers","audience_type":"CUSTOMER_LIST","description":"of shoes"}`)
	audiencePath := "/v5/ad_accounts/{account}/audiences/" + audience["id"].(string)
	users := b.ok("POST", audiencePath+"/users", `{"operation_type":"ADD","user_ids":["u1","u2","u1"]}`)
	require.InDelta(t, 2, users["changed"], 0)
	require.InDelta(t, 3, users["received"], 0)
	require.InDelta(t, 2, b.ok("GET", audiencePath, "")["size"], 0)
	require.Len(t, b.ok("GET", "/v5/ad_accounts/{account}/audiences", "")["items"], 1)

	created := b.ok("POST", "/v5/ad_accounts", `{"name":"New","country":"DE","currency":"EUR","time_zone":"Europe/Berlin"}`, fiber.HeaderAuthorization, "Bearer "+b.operator)
	require.Equal(t, "Europe/Berlin", created["time_zone"])
	require.Len(t, b.ok("GET", "/v5/ad_accounts", "", fiber.HeaderAuthorization, "Bearer "+b.operator)["items"], 3)
	own := b.ok("GET", "/v5/ad_accounts", "")["items"].([]any)
	require.Len(t, own, 1, "an advertiser sees its own account")
	require.Equal(t, own[0], any(b.ok("GET", "/v5/ad_accounts/{account}", "")))
}

func TestV5NamesTheFieldOfEveryProblem(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	campaignID, groupID, adID := b.tree()
	group := func(more string) string {
		return `[` + strings.ReplaceAll(strings.TrimSuffix(adGroupJSON, "}"), "%CAMPAIGN", campaignID) + more + `}]`
	}
	ad := func(more string) string {
		return `[` + strings.ReplaceAll(strings.TrimSuffix(adJSON, "}"), "%GROUP", groupID) + more + `}]`
	}
	for name, c := range map[string]struct {
		method, path, body string
		status             int
		fields             []string
	}{
		"no body":                   {"POST", "campaigns", ``, 400, []string{}},
		"not JSON":                  {"POST", "campaigns", `[{"name":]`, 400, []string{""}},
		"an object":                 {"POST", "campaigns", campaignJSON, 400, []string{""}},
		"no items":                  {"POST", "campaigns", `[]`, 400, []string{""}},
		"31 items":                  {"POST", "campaigns", `[` + strings.Repeat(campaignJSON+",", 30) + campaignJSON + `]`, 400, []string{""}},
		"unknown field":             {"POST", "campaigns", `[{"name":"a","objective_type":"AWARENESS","colour":"red"}]`, 400, []string{"[0].colour"}},
		"missing and wrong":         {"POST", "campaigns", `[{"name":5,"daily_spend_cap":"x"}]`, 400, []string{"[0].name", "[0].daily_spend_cap", "[0].objective_type"}},
		"every item":                {"POST", "campaigns", `[{"name":"","objective_type":"AWARENESS"},{"name":"a","objective_type":"FUN"}]`, 400, []string{"[0].name", "[1].objective_type"}},
		"other account in the item": {"POST", "campaigns", `[{"name":"a","objective_type":"AWARENESS","ad_account_id":"5"}]`, 400, []string{"[0].ad_account_id"}},
		"flexible budgets":          {"POST", "campaigns", `[{"name":"a","objective_type":"AWARENESS","is_flexible_daily_budgets":true}]`, 400, []string{"[0].is_flexible_daily_budgets"}},
		"draft":                     {"POST", "campaigns", `[{"name":"a","objective_type":"AWARENESS","status":"DRAFT"}]`, 400, []string{"[0].status"}},
		"update without id":         {"PATCH", "campaigns", `[{"name":"a"}]`, 400, []string{"[0].id"}},
		"update of a number":        {"PATCH", "campaigns", `[{"id":5,"name":"a"}]`, 400, []string{"[0].id"}},
		"update of nothing":         {"PATCH", "campaigns", `[{"id":"5"}]`, 404, []string{"[0].id"}},
		"fixed objective":           {"PATCH", "campaigns", `[{"id":"` + campaignID + `","objective_type":"CONSIDERATION"}]`, 400, []string{"[0].objective_type"}},
		"targeting":                 {"POST", "ad_groups", group(`,"targeting_spec":{"GENDER":["robot"],"AGE":5}`), 400, []string{"[0].targeting_spec.GENDER[0]", "[0].targeting_spec.AGE"}},
		"video":                     {"POST", "ad_groups", strings.Replace(group(""), `"IMPRESSION"`, `"VIDEO_V_50_MRC"`, 1), 400, []string{"[0].billable_event"}},
		"goal":                      {"POST", "ad_groups", group(`,"optimization_goal_metadata":{"frequency_goal_metadata":{"frequency":2}}`), 400, []string{"[0].optimization_goal_metadata.frequency_goal_metadata"}},
		"template":                  {"POST", "ad_groups", group(`,"targeting_template_ids":["643"]`), 400, []string{"[0].targeting_template_ids"}},
		"auto targeting":            {"POST", "ad_groups", group(`,"auto_targeting_enabled":true`), 400, []string{"[0].auto_targeting_enabled"}},
		"cap without end":           {"POST", "ad_groups", group(`,"lifetime_frequency_cap":3`), 400, []string{"[0].end_time"}},
		"no such campaign":          {"POST", "ad_groups", strings.Replace(group(""), campaignID, "5", 1), 400, []string{"[0].campaign_id"}},
		"script":                    {"POST", "ads", strings.Replace(ad(""), "https://shop.example/", "javascript:alert(1)", 1), 400, []string{"[0].destination_url"}},
		"tracking":                  {"POST", "ads", ad(`,"tracking_urls":{"click":["https://x.example"]}`), 400, []string{"[0].tracking_urls"}},
		"carousel":                  {"POST", "ads", strings.Replace(ad(""), "REGULAR", "CAROUSEL", 1), 400, []string{"[0].creative_type"}},
		"pin as number":             {"POST", "ads", ad(`,"pin_id":123`), 400, []string{"[0].pin_id"}},
		"moved ad":                  {"PATCH", "ads", `[{"id":"` + adID + `","ad_group_id":"5"}]`, 400, []string{"[0].ad_group_id"}},
		"keywords of a campaign":    {"POST", "keywords", `{"parent_id":"C5","keywords":[{"match_type":"BROAD","value":"a"}]}`, 400, []string{"parent_id"}},
		"keywords of nothing":       {"POST", "keywords", `{"parent_id":"5","keywords":[{"match_type":"BROAD","value":"a"}]}`, 400, []string{"parent_id"}},
		"no keywords":               {"POST", "keywords", `{"parent_id":"` + groupID + `","keywords":[]}`, 400, []string{"keywords"}},
		"keywords is an object":     {"POST", "keywords", `{"parent_id":"` + groupID + `","keywords":{}}`, 400, []string{"keywords"}},
		"bad keywords":              {"POST", "keywords", `{"parent_id":"` + groupID + `","keywords":[{"value":"a"},{"match_type":"BROAD","value":" "}]}`, 400, []string{"keywords[0].match_type", "keywords[1].value"}},
		"audience":                  {"POST", "audiences", `{"audience_type":"VISITOR","rule":{"retention_days":5}}`, 400, []string{"rule", "name", "audience_type"}},
		"users of no audience":      {"POST", "audiences/5/users", `{"operation_type":"ADD","user_ids":["u"]}`, 404, []string{}},
		"users":                     {"POST", "audiences/5/users", `{"operation_type":"SET","user_ids":[""]}`, 400, []string{"operation_type", "user_ids[0]"}},
		"page size":                 {"GET", "campaigns?page_size=251", ``, 400, []string{"page_size"}},
		"page of letters":           {"GET", "campaigns?page_size=x", ``, 400, []string{"page_size"}},
		"order":                     {"GET", "ads?order=UP", ``, 400, []string{"order"}},
		"statuses":                  {"GET", "ads?entity_statuses=GONE", ``, 400, []string{"entity_statuses[0]"}},
		"ids":                       {"GET", "campaigns?campaign_ids=5&campaign_ids=x", ``, 400, []string{"campaign_ids[1]"}},
		"unknown parameter":         {"GET", "campaigns?limit=5&page=2", ``, 400, []string{"limit", "page"}},
		"bookmark":                  {"GET", "campaigns?bookmark=x", ``, 400, []string{"bookmark"}},
		"campaign id":               {"GET", "campaigns/x5", ``, 400, []string{"campaign_id"}},
		"no campaign":               {"GET", "campaigns/5", ``, 404, []string{}},
		"no ad group":               {"GET", "ad_groups/5", ``, 404, []string{}},
		"no ad":                     {"GET", "ads/0", ``, 404, []string{}},
		"no audience":               {"GET", "audiences/5", ``, 404, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := b.call(c.method, "/v5/ad_accounts/{account}/"+c.path, c.body)
			require.Equal(t, c.status, r.status, r.raw)
			require.Equal(t, c.fields, r.fields(), r.raw)
			require.NotEmpty(t, r.body["message"])
			require.NotZero(t, r.body["code"])
		})
	}
	r := b.call("POST", "/v5/ad_accounts", `{"name":"","time_zone":"Mars"}`, fiber.HeaderAuthorization, "Bearer "+b.operator)
	require.Equal(t, 400, r.status)
	require.Equal(t, []string{"country", "currency", "name", "time_zone"}, r.fields())
}

func TestV5BatchIsPartlyWritten(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	body := b.ok("POST", "/v5/ad_accounts/{account}/campaigns", `[`+campaignJSON+`,{"name":"","objective_type":"x"},`+campaignJSON+`]`)
	items := body["items"].([]any)
	require.Len(t, items, 3)
	require.Empty(t, items[0].(map[string]any)["exceptions"])
	bad := items[1].(map[string]any)
	require.NotContains(t, bad, "data")
	exceptions := bad["exceptions"].([]any)
	require.Len(t, exceptions, 1)
	x := exceptions[0].(map[string]any)
	require.InDelta(t, 1, x["code"], 0)
	require.Contains(t, x["message"], "name must not be empty")
	require.Equal(t, "[1].name", x["details"].([]any)[0].(map[string]any)["field"])
	require.Len(t, b.ok("GET", "/v5/ad_accounts/{account}/campaigns", "")["items"], 2)

	_, groupID, _ := b.tree()
	ads := b.ok("POST", "/v5/ad_accounts/{account}/ads", `[`+strings.ReplaceAll(adJSON, "%GROUP", groupID)+`,{}]`)["items"].([]any)
	require.NotContains(t, ads[0], "exceptions")
	require.Contains(t, ads[1].(map[string]any)["exceptions"], "message", "v5 has one exception for an ad, not a list")

	r := b.call("POST", "/v5/ad_accounts/{account}/campaigns", `[{},{}]`)
	require.Equal(t, 400, r.status)
	require.Len(t, r.body["items"], 2)
	b.matches("POST", "/v5/ad_accounts/{account}/campaigns", r)
}

func TestV5Keys(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	campaignID, _, _ := b.tree()
	const path = "/v5/ad_accounts/{account}/campaigns"
	other := "/v5/ad_accounts/" + b.other + "/campaigns"
	for name, c := range map[string]struct {
		method, path, authorization string
		status                      int
	}{
		"nobody":                      {"GET", path, "", 401},
		"no scheme":                   {"GET", path, b.advertiser, 401},
		"basic":                       {"GET", path, "Basic " + b.advertiser, 401},
		"unknown":                     {"GET", path, "Bearer gvl_advertiser_x", 401},
		"feed":                        {"GET", path, "Bearer " + b.feed, 403},
		"own":                         {"GET", path, "Bearer " + b.advertiser, 200},
		"scheme in lower case":        {"GET", path, "bearer " + b.advertiser, 200},
		"operator":                    {"GET", path, "Bearer " + b.operator, 200},
		"other account":               {"GET", other, "Bearer " + b.advertiser, 403},
		"other account's campaign":    {"GET", other + "/" + campaignID, "Bearer " + b.advertiser, 403},
		"no such account":             {"GET", "/v5/ad_accounts/5/campaigns", "Bearer " + b.advertiser, 403},
		"no such account, operator":   {"GET", "/v5/ad_accounts/5/campaigns", "Bearer " + b.operator, 404},
		"account, operator":           {"GET", "/v5/ad_accounts/5", "Bearer " + b.operator, 404},
		"foreign campaign":            {"GET", other + "/" + campaignID, "Bearer " + b.operator, 404},
		"accounts by an advertiser":   {"POST", "/v5/ad_accounts", "Bearer " + b.advertiser, 403},
		"key before what is wrong":    {"POST", other + "?x=1", "Bearer " + b.advertiser, 403},
		"nobody before what is wrong": {"POST", path + "?x=1", "", 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := b.call(c.method, c.path, "", fiber.HeaderAuthorization, c.authorization)
			require.Equal(t, c.status, r.status, r.raw)
			require.Equal(t, c.status == 401, r.header.Get(fiber.HeaderWWWAuthenticate) != "")
		})
	}
}

func TestV5IdempotencyKey(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	const path = "/v5/ad_accounts/{account}/campaigns"
	first := b.call("POST", path, `[`+campaignJSON+`]`, "Idempotency-Key", "k1")
	again := b.call("POST", path, `[`+campaignJSON+`]`, "Idempotency-Key", "k1")
	require.Equal(t, 200, first.status)
	require.Equal(t, first.raw, again.raw)
	require.Len(t, b.ok("GET", path, "")["items"], 1)

	reused := b.call("POST", path, `[`+campaignJSON+`,`+campaignJSON+`]`, "Idempotency-Key", "k1")
	require.Equal(t, http.StatusConflict, reused.status)
	require.Contains(t, reused.body["message"], "Idempotency-Key")
	elsewhere := b.call("POST", "/v5/ad_accounts/{account}/audiences", `[`+campaignJSON+`]`, "Idempotency-Key", "k1")
	require.Contains(t, []int{400, 409}, elsewhere.status, "not the answer of another call")
	long := b.call("POST", path, `[`+campaignJSON+`]`, "Idempotency-Key", strings.Repeat("k", 129))
	require.Equal(t, 400, long.status)
	require.Equal(t, []string{"Idempotency-Key"}, long.fields())

	failed := b.call("POST", path, `[{}]`, "Idempotency-Key", "k2")
	require.Equal(t, 400, failed.status)
	b.ok("POST", path, `[`+campaignJSON+`]`, "Idempotency-Key", "k2")
}

func TestV5Pages(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	const path = "/v5/ad_accounts/{account}/campaigns"
	b.ok("POST", path, `[`+strings.Repeat(campaignJSON+",", 6)+campaignJSON+`]`)
	for _, order := range []string{"ASCENDING", "DESCENDING"} {
		var ids []string
		query := "?page_size=3&order=" + order
		for bookmark := ""; ; {
			page := b.ok("GET", path+query+bookmark, "")
			for _, item := range page["items"].([]any) {
				ids = append(ids, item.(map[string]any)["id"].(string))
			}
			next, more := page["bookmark"].(string)
			if !more {
				break
			}
			bookmark = "&bookmark=" + next
			wrong := b.call("GET", "/v5/ad_accounts/{account}/ads"+query+bookmark, "")
			require.Equal(t, []string{"bookmark"}, wrong.fields(), "a bookmark of another list")
		}
		require.Len(t, ids, 7)
		for i := 1; i < len(ids); i++ {
			require.Equal(t, order == "ASCENDING", ids[i-1] < ids[i])
		}
	}
	exact := b.ok("GET", path+"?page_size=7", "")
	require.Nil(t, exact["bookmark"], "no empty last page")

	id := exact["items"].([]any)[0].(map[string]any)["id"].(string)
	b.ok("PATCH", path, `[{"id":"`+id+`","status":"ARCHIVED"}]`)
	require.Len(t, b.ok("GET", path, "")["items"], 6, "archived ones are not listed unless asked for")
	require.Len(t, b.ok("GET", path+"?entity_statuses=ARCHIVED", "")["items"], 1)
	require.Len(t, b.ok("GET", path+"?campaign_ids="+id+"&campaign_ids=5&entity_statuses=ARCHIVED&entity_statuses=DRAFT", "")["items"], 1)
	require.Empty(t, b.ok("GET", path+"?campaign_ids="+id, "")["items"])
}

func TestV5LargeBodies(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	const path = "/v5/ad_accounts/{account}/campaigns"
	body := `[` + campaignJSON + strings.Repeat(" ", maxV5Body) + `]`
	require.Equal(t, http.StatusRequestEntityTooLarge, b.call("POST", path, body).status)
	b.ok("POST", path, body[:len(body)-maxV5Body+1024-1]+`]`)

	audience := b.ok("POST", "/v5/ad_accounts/{account}/audiences", `{"name":"a","audience_type":"CUSTOMER_LIST"}`)
	var ids strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&ids, `,"%0128d"`, i)
	}
	users := "/v5/ad_accounts/{account}/audiences/" + audience["id"].(string) + "/users"
	require.InDelta(t, 10_000, b.ok("POST", users, `{"operation_type":"ADD","user_ids":[`+ids.String()[1:]+`]}`)["changed"], 0)
	require.Equal(t, []string{"user_ids"}, b.call("POST", users, `{"operation_type":"ADD","user_ids":["x"`+ids.String()+`]}`).fields())
}

func TestV5WithoutADatabase(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	const path = "/v5/ad_accounts/{account}/campaigns"
	_, err := b.db.ExecContext(t.Context(), `ALTER TABLE campaigns RENAME TO hidden`)
	require.NoError(t, err)
	r := b.call("GET", path, "")
	require.Equal(t, http.StatusInternalServerError, r.status)
	require.JSONEq(t, `{"code":12,"message":"internal error"}`, r.raw, "what the database says stays here")

	_, err = b.db.ExecContext(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	require.NoError(t, err)
	b.db.SetMaxOpenConns(1)
	held, err := b.db.Connx(t.Context()) // the one connection there is
	require.NoError(t, err)
	r = b.call("GET", path, "")
	require.NoError(t, held.Close())
	require.Equal(t, http.StatusServiceUnavailable, r.status, r.raw)
	require.NotEmpty(t, r.header.Get(fiber.HeaderRetryAfter))
	require.InDelta(t, 11, r.body["code"], 0)
}
