package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"gavel/ranking"
)

const woman27 = `{"placement":"BROWSE","slots":[{"id":"s1","position":3},{"id":"s2","position":9}],"user":{"id":"u42","country":"US","age":27,"interests":["925056443165"]}}`

// TestOnePageFromAuctionToLedger follows a page through the whole system: auction, impression, click, duplicates, forgery,
// billing, audit, trace, metrics.
func TestOnePageFromAuctionToLedger(t *testing.T) {
	t.Parallel()
	p := startDev(t)
	var pg page // on a busy machine the first leases may take longer than a request waits
	require.Eventually(t, func() bool { pg = p.ask(t, woman27); return len(pg.Ads) == 2 }, 10*time.Second, 10*time.Millisecond)
	require.Empty(t, pg.NoFill)
	require.NotEqual(t, pg.Ads[0].AdAccountID, pg.Ads[1].AdAccountID, "one ad of an advertiser")
	cpm, cpc := pg.Ads[0], pg.Ads[1]

	a := do(t, http.MethodGet, cpm.ImpressionURL, "", "")
	require.Equal(t, http.StatusNoContent, a.status)
	a = do(t, http.MethodGet, cpm.ImpressionURL, "", "", "Accept", "image/avif,image/webp,*/*;q=0.8")
	require.Equal(t, "image/gif", a.header.Get("Content-Type"))
	require.Equal(t, "GIF89a", string(a.body[:6]))
	require.Equal(t, http.StatusNoContent, do(t, http.MethodPost, cpm.ViewableURL, "", "").status)
	require.Equal(t, http.StatusNoContent, do(t, http.MethodGet, cpc.ImpressionURL, "", "").status)
	a = do(t, http.MethodGet, cpc.ClickURL+"?url=https://evil.example.com", "", "")
	require.Equal(t, http.StatusFound, a.status)
	location, clickID, found := strings.Cut(a.header.Get("Location"), "?epik=")
	require.True(t, found, a.header.Get("Location"))
	require.Equal(t, cpc.Creative.DestinationURL, location, "never a parameter")
	require.NotEqual(t, http.StatusNoContent, do(t, http.MethodHead, cpm.ViewableURL, "", "").status, "a HEAD must not bill")

	forged := cpm.ImpressionURL[:len(cpm.ImpressionURL)-1] + "x"
	require.Equal(t, http.StatusBadRequest, do(t, http.MethodGet, forged, "", "").status)
	click := strings.Replace(cpm.ClickURL, "/v1/c/", "/v1/e/", 1)
	require.Equal(t, http.StatusBadRequest, do(t, http.MethodGet, click, "", "").status, "a click is not an impression")

	token := func(url string) string { return url[strings.LastIndex(url, "/")+1:] }
	batch := fmt.Sprintf(`{"events":[{"token":%q},{"token":%q},{"token":"junk"}]}`, token(cpc.ViewableURL), token(cpm.ImpressionURL))
	a = do(t, http.MethodPost, p.AdsURL+"/v1/events", "", batch)
	require.Equal(t, http.StatusAccepted, a.status, string(a.body))
	require.JSONEq(t, `{"items":[{"status":"accepted"},{"status":"accepted"},{"status":"invalid","message":"the token does not verify"}]}`, string(a.body))

	want := map[string]int{"IMPRESSION BILLED": 2, "VIEWABLE BILLED": 2, "CLICK BILLED": 1}
	require.Eventually(t, func() bool { return fmt.Sprint(p.billed(t)) == fmt.Sprint(want) }, 10*time.Second, 20*time.Millisecond)
	require.Contains(t, p.requireAudit(t), "clean")
	require.Equal(t, map[string]int{"AWARENESS slot 0": 1, "CONSIDERATION slot 1": 1}, p.learnable(t), "what the model learns from")
	bought := fmt.Sprintf(`{"data":[{"event_name":"checkout","action_source":"web","event_id":"o1","event_time":%d,"user_data":{"click_id":%q},"custom_data":{"value":"19.90"}}]}`, time.Now().Unix(), clickID)
	a = do(t, http.MethodPost, p.AdsURL+"/v5/ad_accounts/"+cpc.AdAccountID+"/events", p.OperatorKey, bought)
	require.JSONEq(t, `{"num_events_received":1,"num_events_processed":1,"events":[{"status":"processed"}]}`, string(a.body))
	require.Equal(t, "CLICK "+cpc.AdID, p.credited(t, "o1"))

	trace := do(t, http.MethodGet, p.AdminURL+"/traces/latest?name=POST%20/v1/ads", "", "")
	for _, span := range []string{"POST /v1/ads", "auction.Run", "redis.LoadUser", "targeting.Match", "ranking.Score", "auction.Decide", "budget.Reserve"} {
		require.Contains(t, string(trace.body), span)
	}
	metrics := string(do(t, http.MethodGet, p.AdminURL+"/metrics", "", "").body)
	require.Contains(t, metrics, `gavel_events_committed_total{`)
	require.Contains(t, metrics, `http_server_request_duration_seconds_bucket`)
	require.NotContains(t, metrics, cpm.CampaignID, "campaign ids never label a metric")
	require.Equal(t, http.StatusOK, do(t, http.MethodGet, p.AdminURL+"/readyz", "", "").status)

	out := p.stop(t)
	require.Contains(t, out, "curl -s "+p.AdsURL+"/v1/ads")
}

// TestBadAdRequestsNameTheField holds every refusal of POST /v1/ads.
func TestBadAdRequestsNameTheField(t *testing.T) {
	t.Parallel()
	p := startDev(t)
	slots := `"slots":[{"id":"a","position":1}]`
	for name, c := range map[string]struct {
		body, field string
	}{
		"empty":               {``, ``},
		"not json":            {`{"placement":`, ``},
		"array":               {`[]`, ``},
		"two objects":         {`{"placement":"BROWSE",` + slots + `}{}`, ``},
		"no placement":        {`{` + slots + `}`, `placement`},
		"unknown placement":   {`{"placement":"HOME",` + slots + `}`, `placement`},
		"no slots":            {`{"placement":"BROWSE"}`, `slots`},
		"slot without id":     {`{"placement":"BROWSE","slots":[{"position":1}]}`, `slots[0].id`},
		"slot id twice":       {`{"placement":"BROWSE","slots":[{"id":"a"},{"id":"a"}]}`, `slots[1].id`},
		"position a string":   {`{"placement":"BROWSE","slots":[{"id":"a","position":"1"}]}`, `slots[0].position`},
		"position a fraction": {`{"placement":"BROWSE","slots":[{"id":"a","position":1.5}]}`, `slots[0].position`},
		"21 slots":            {`{"placement":"BROWSE","slots":[` + strings.TrimSuffix(strings.Repeat(`{"id":"x"},`, 21), ",") + `]}`, `slots`},
		"unknown field":       {`{"placement":"BROWSE",` + slots + `,"colour":1}`, `colour`},
		"unknown nested":      {`{"placement":"BROWSE",` + slots + `,"user":{"shoe_size":43}}`, `user.shoe_size`},
		"unknown in a slot":   {`{"placement":"BROWSE","slots":[{"id":"a","x":1}]}`, `slots[0].x`},
		"age a string":        {`{"placement":"BROWSE",` + slots + `,"user":{"age":"27"}}`, `user.age`},
		"age 0":               {`{"placement":"BROWSE",` + slots + `,"user":{"age":0}}`, `user.age`},
		"country":             {`{"placement":"BROWSE",` + slots + `,"user":{"country":"usa"}}`, `user.country`},
		"market area":         {`{"placement":"BROWSE",` + slots + `,"user":{"dma":"80"}}`, `user.dma`},
		"gender":              {`{"placement":"BROWSE",` + slots + `,"user":{"gender":"x"}}`, `user.gender`},
		"app type":            {`{"placement":"BROWSE",` + slots + `,"device":{"app_type":"watch"}}`, `device.app_type`},
		"interests a string":  {`{"placement":"BROWSE",` + slots + `,"user":{"interests":"1"}}`, `user.interests`},
		"exclusion":           {`{"placement":"BROWSE",` + slots + `,"exclude":{"ad_ids":["x"]}}`, `exclude.ad_ids[0]`},
		"explain":             {`{"placement":"BROWSE",` + slots + `,"explain":"yes"}`, `explain`},
	} {
		t.Run(name, func(t *testing.T) {
			a := do(t, http.MethodPost, p.AdsURL+"/v1/ads", p.FeedKey, c.body)
			require.Equal(t, http.StatusBadRequest, a.status, string(a.body))
			var body struct {
				Message string `json:"message"`
				Details []struct {
					Field   string `json:"field"`
					Message string `json:"message"`
				} `json:"details"`
			}
			require.NoError(t, json.Unmarshal(a.body, &body), string(a.body))
			var fields []string
			for _, d := range body.Details {
				fields = append(fields, d.Field)
				require.NotEmpty(t, d.Message)
			}
			require.Contains(t, fields, c.field, string(a.body))
		})
	}
	big := `{"placement":"BROWSE",` + slots + `,"request_id":"` + strings.Repeat("x", 65<<10) + `"}`
	require.Equal(t, http.StatusRequestEntityTooLarge, do(t, http.MethodPost, p.AdsURL+"/v1/ads", p.FeedKey, big).status)
	ok := `{"placement":"BROWSE",` + slots + `}`
	require.Equal(t, http.StatusUnauthorized, do(t, http.MethodPost, p.AdsURL+"/v1/ads", "", ok).status)
	require.Equal(t, http.StatusUnauthorized, do(t, http.MethodPost, p.AdsURL+"/v1/ads", "gvl_feed_wrong", ok).status)
	require.Equal(t, http.StatusForbidden, do(t, http.MethodPost, p.AdsURL+"/v1/ads", p.AdvertiserKey, ok).status)
	require.Equal(t, http.StatusNotFound, do(t, http.MethodPost, p.AdsURL+"/v1/nothing", p.FeedKey, ok).status)
	require.Eventually(t, func() bool { return len(p.ask(t, ok).Ads) == 1 }, 10*time.Second, 10*time.Millisecond,
		"nothing but placement and slots is required")
}

// TestAPausedCampaignLeavesAuctionsWithinASecond is the way of a change: API, outbox, indexer, Redis, replica.
func TestAPausedCampaignLeavesAuctionsWithinASecond(t *testing.T) {
	t.Parallel()
	p := startDev(t)
	var first servedAd
	require.Eventually(t, func() bool {
		pg := p.ask(t, woman27)
		if len(pg.Ads) == 2 {
			first = pg.Ads[0]
		}
		return len(pg.Ads) == 2
	}, 10*time.Second, 10*time.Millisecond)
	body := fmt.Sprintf(`[{"id":%q,"ad_account_id":%q,"status":"PAUSED"}]`, first.CampaignID, first.AdAccountID)
	a := do(t, http.MethodPatch, p.AdsURL+"/v5/ad_accounts/"+first.AdAccountID+"/campaigns", p.OperatorKey, body)
	require.Equal(t, http.StatusOK, a.status, string(a.body))
	answered := time.Now()
	require.Eventually(t, func() bool {
		for _, ad := range p.ask(t, woman27).Ads {
			if ad.CampaignID == first.CampaignID {
				return false
			}
		}
		return true
	}, 10*time.Second, 5*time.Millisecond)
	t.Logf("the first auction without it came %v after the answer", time.Since(answered))
}

// TestKilledAndStartedAgainNothingAcceptedIsLostOrBilledTwice kills the whole process at a moment of load, twice.
func TestKilledAndStartedAgainNothingAcceptedIsLostOrBilledTwice(t *testing.T) {
	t.Parallel()
	dir := keptDir(t)
	accepted := map[string]bool{}
	var all []string
	for range 3 {
		p := startDev(t, "--data", dir)
		for _, url := range all { // every event of the runs before, again
			p.deliver(t, rebase(url, p.AdsURL), accepted)
		}
		for i := range 30 {
			pg := p.ask(t, strings.Replace(woman27, "u42", fmt.Sprint("u", i), 1))
			for _, ad := range pg.Ads {
				all = append(all, ad.ImpressionURL)
				p.deliver(t, ad.ImpressionURL, accepted)
			}
		}
		p.kill()
	}
	p := startDev(t, "--data", dir)
	require.Eventually(t, func() bool { return p.billed(t)["IMPRESSION BILLED"] == len(accepted) }, 20*time.Second, 50*time.Millisecond,
		"%d accepted, the database has %v", len(accepted), p.billed(t))
	require.Contains(t, p.requireAudit(t), "clean")
	p.stop(t)
}

// deliver sends an event and remembers its token if it was accepted.
func (p *program) deliver(t *testing.T, url string, accepted map[string]bool) {
	t.Helper()
	if do(t, http.MethodGet, url, "", "").status == http.StatusNoContent {
		accepted[url[strings.LastIndex(url, "/"):]] = true
	}
}

func rebase(url, base string) string { return base + url[strings.Index(url, "/v1/"):] }

func TestServeListsEveryProblemAtOnceAndNoSecret(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATABASE_URL": "mysql://root:hunter2@h/x", "GAVEL_TOKEN_KEYS": "1:c2hvcnQ=", "GAVEL_LEASE_TTL": "1ms"}
	var environ []string
	for k, v := range env {
		environ = append(environ, k+"="+v)
	}
	var out bytes.Buffer
	err := run(t.Context(), []string{"serve"}, world{getenv: func(k string) string { return env[k] }, environ: environ, stdout: &out, stderr: &out})
	require.Error(t, err)
	for _, want := range []string{"DATABASE_URL", "REDIS_URL", "GAVEL_TOKEN_KEYS: token key 1: 5 bytes, want 32", "GAVEL_LEASE_TTL"} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "hunter2")
	require.NotContains(t, fmt.Sprintf("%+v %v %#v", config{TokenKeys: "sss"}, config{TokenKeys: "sss"}, config{TokenKeys: "sss"}), "sss")
}

// learnable counts the impressions in the database by what they carry for the model.
func (p *program) learnable(t *testing.T) map[string]int {
	t.Helper()
	db, err := openDatabase(t.Context(), p.DatabaseURL, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	var list [][]byte
	require.NoError(t, db.SelectContext(t.Context(), &list, `SELECT served FROM events WHERE kind = 'IMPRESSION'`))
	out := map[string]int{}
	for _, bytes := range list {
		require.Len(t, bytes, ranking.ServedSize)
		served, ok := ranking.DecodeServed((*[ranking.ServedSize]byte)(bytes))
		require.True(t, ok)
		require.Positive(t, served.PCTR)
		require.NotZero(t, served.Features[0])
		out[fmt.Sprintf("%s slot %d", served.Objective, served.Slot)]++
	}
	return out
}

// TestTheReadmesTableIsTheConfiguration holds the table of variables in the README against the struct.
func TestTheReadmesTableIsTheConfiguration(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	for _, row := range configTable() {
		require.Contains(t, string(readme), row)
	}
}

// TestAnEmptiedRedisComesBackByItselfWhileAdsAreServed: FLUSHALL loses no money and heals by itself.
func TestAnEmptiedRedisComesBackByItselfWhileAdsAreServed(t *testing.T) {
	t.Parallel()
	p := startDev(t)
	options, err := goredis.ParseURL(p.RedisURL)
	require.NoError(t, err)
	redis := goredis.NewClient(options)
	t.Cleanup(func() { require.NoError(t, redis.Close()) })
	before, err := redis.DBSize(t.Context()).Result()
	require.NoError(t, err)
	require.Positive(t, before)
	require.NoError(t, redis.FlushAll(t.Context()).Err())
	flushed := time.Now()
	require.Eventually(t, func() bool {
		require.Len(t, p.ask(t, woman27).Ads, 2, "served from the replica all along")
		n, err := redis.Exists(t.Context(), "{gavel:index}:meta").Result()
		return err == nil && n == 1
	}, 10*time.Second, 10*time.Millisecond)
	t.Logf("the index was back after %v", time.Since(flushed))
	for _, ad := range p.ask(t, woman27).Ads {
		require.Equal(t, http.StatusNoContent, do(t, http.MethodGet, ad.ImpressionURL, "", "").status)
	}
	require.Eventually(t, func() bool { return p.billed(t)["IMPRESSION BILLED"] == 2 }, 10*time.Second, 20*time.Millisecond)
	require.Contains(t, p.requireAudit(t), "clean")
}
