package handlers

import (
	"net/http"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"
)

const accountRoot = "/v5/ad_accounts/{account}"

func TestV5SpendLimitOfAnAccount(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	fresh := b.ok("GET", accountRoot, "")
	require.Nil(t, fresh["daily_spend_cap"])
	require.Nil(t, fresh["lifetime_spend_cap"])

	set := b.ok("PATCH", accountRoot, `{"daily_spend_cap":5000000,"lifetime_spend_cap":9000000}`)
	require.InDelta(t, 5_000_000, set["daily_spend_cap"], 0)
	require.InDelta(t, 9_000_000, set["lifetime_spend_cap"], 0)
	require.Equal(t, set, b.ok("GET", accountRoot, ""))
	removed := b.ok("PATCH", accountRoot, `{"daily_spend_cap":null}`, fiber.HeaderAuthorization, "Bearer "+b.operator)
	require.Nil(t, removed["daily_spend_cap"])
	require.InDelta(t, 9_000_000, removed["lifetime_spend_cap"], 0, "what is not named stays")
	require.InDelta(t, 9_000_000, b.ok("PATCH", accountRoot, `{}`)["lifetime_spend_cap"], 0)
	list := b.ok("GET", "/v5/ad_accounts", "")["items"].([]any)
	require.InDelta(t, 9_000_000, list[0].(map[string]any)["lifetime_spend_cap"], 0)
}

func TestV5SpendLimitNamesTheFieldOfEveryProblem(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	before := b.ok("GET", accountRoot, "")
	for name, c := range map[string]struct {
		body   string
		fields []string
	}{
		"no body":           {``, []string{}},
		"an array":          {`[{"daily_spend_cap":5}]`, []string{""}},
		"zero":              {`{"daily_spend_cap":0}`, []string{"daily_spend_cap"}},
		"negative":          {`{"lifetime_spend_cap":-5}`, []string{"lifetime_spend_cap"}},
		"a fraction":        {`{"lifetime_spend_cap":1.5}`, []string{"lifetime_spend_cap"}},
		"a string":          {`{"daily_spend_cap":"5"}`, []string{"daily_spend_cap"}},
		"too large":         {`{"daily_spend_cap":1000000000000001}`, []string{"daily_spend_cap"}},
		"both, and a third": {`{"daily_spend_cap":0,"lifetime_spend_cap":true,"spend_limit":5}`, []string{"lifetime_spend_cap", "spend_limit", "daily_spend_cap"}},
		"good and unknown":  {`{"daily_spend_cap":5,"currency":"EUR"}`, []string{"currency"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := b.call("PATCH", accountRoot, c.body)
			require.Equal(t, http.StatusBadRequest, r.status, r.raw)
			require.Equal(t, c.fields, r.fields(), r.raw)
			require.InDelta(t, 1, r.body["code"], 0)
			b.matches("PATCH", accountRoot, r)
		})
	}
	require.Equal(t, before, b.ok("GET", accountRoot, ""), "nothing was written")
}

func TestV5SpendLimitAndBudgetsKeepAccountsApart(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	campaignID, groupID, _ := b.tree()
	other := "/v5/ad_accounts/" + b.other
	for name, c := range map[string]struct {
		method, path, key string
		status            int
	}{
		"nobody":                          {"PATCH", accountRoot, "x", 401},
		"feed":                            {"PATCH", accountRoot, b.feed, 403},
		"another's account":               {"PATCH", other, b.advertiser, 403},
		"no account, advertiser":          {"PATCH", "/v5/ad_accounts/5", b.advertiser, 403},
		"no account, operator":            {"PATCH", "/v5/ad_accounts/5", b.operator, 404},
		"own":                             {"PATCH", accountRoot, b.advertiser, 200},
		"any, operator":                   {"PATCH", other, b.operator, 200},
		"budgets: nobody":                 {"GET", accountRoot + "/budgets", "x", 401},
		"budgets: feed":                   {"GET", accountRoot + "/budgets", b.feed, 403},
		"budgets: another's":              {"GET", other + "/budgets", b.advertiser, 403},
		"budgets: no account":             {"GET", "/v5/ad_accounts/5/budgets", b.operator, 404},
		"budgets: another's campaign":     {"GET", other + "/budgets?campaign_id=" + campaignID, b.operator, 404},
		"budgets: another's ad group":     {"GET", other + "/budgets?ad_group_id=" + groupID, b.operator, 404},
		"budgets: no campaign":            {"GET", accountRoot + "/budgets?campaign_id=0", b.advertiser, 404},
		"budgets: own":                    {"GET", accountRoot + "/budgets", b.advertiser, 200},
		"budgets: own ad group, operator": {"GET", accountRoot + "/budgets?ad_group_id=" + groupID, b.operator, 200},
	} {
		r := b.call(c.method, c.path, `{"daily_spend_cap":5}`, fiber.HeaderAuthorization, "Bearer "+c.key)
		require.Equal(t, c.status, r.status, "%s: %s", name, r.raw)
	}
	for query, fields := range map[string][]string{
		"?campaign_id=" + campaignID + "&ad_group_id=" + groupID: {"ad_group_id"},
		"?campaign_id=x":  {"campaign_id"},
		"?scope=CAMPAIGN": {"scope"},
		"?page_size=0":    {"page_size"},
		"?bookmark=x":     {"bookmark"},
	} {
		r := b.call("GET", accountRoot+"/budgets"+query, "")
		require.Equal(t, http.StatusBadRequest, r.status, query)
		require.Equal(t, fields, r.fields(), query)
	}
}

func TestV5SpendLimitOnceByItsKey(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	first := b.call("PATCH", accountRoot, `{"daily_spend_cap":5}`, "Idempotency-Key", "k")
	require.Equal(t, http.StatusOK, first.status)
	b.ok("PATCH", accountRoot, `{"daily_spend_cap":7}`)
	again := b.call("PATCH", accountRoot, `{"daily_spend_cap":5}`, "Idempotency-Key", "k")
	require.Equal(t, first.raw, again.raw)
	require.InDelta(t, 7, b.ok("GET", accountRoot, "")["daily_spend_cap"], 0, "a late retry does not undo what came after it")

	require.Equal(t, http.StatusConflict, b.call("PATCH", accountRoot, `{"daily_spend_cap":6}`, "Idempotency-Key", "k").status)
	require.Equal(t, http.StatusConflict, b.call("POST", accountRoot+"/audiences", `{"daily_spend_cap":5}`, "Idempotency-Key", "k").status)
	require.Equal(t, http.StatusBadRequest, b.call("PATCH", accountRoot, `{"daily_spend_cap":0}`, "Idempotency-Key", "k2").status)
	b.ok("PATCH", accountRoot, `{"daily_spend_cap":8}`, "Idempotency-Key", "k2")
}
