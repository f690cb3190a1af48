package handlers

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gofiber/fiber/v2"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/campaign/postgres"
	conversions "gavel/event/postgres"
	"gavel/internal/money"
	"gavel/internal/testenv"
	"gavel/targeting"
)

// v5Bundle is the v5 API on a database of the test's own, with an account and a key of each kind.
type v5Bundle struct {
	*testing.T
	app                        *fiber.App
	api                        huma.API
	db                         *sqlx.DB
	ring                       *campaign.KeyRing
	svc                        *campaign.Service
	now                        time.Time // the service's clock
	account, other             string
	operator, advertiser, feed string
}

func newApp() *fiber.App {
	app := fiber.New(appConfig())
	app.Use(wholeBody)
	return app
}

func setupV5(t *testing.T) *v5Bundle {
	t.Helper()
	db := sqlx.MustConnect("postgres", testenv.Postgres(t))
	store := postgres.NewStore(db)
	t.Cleanup(func() {
		require.NoError(t, store.Close())
		require.NoError(t, db.Close())
	})
	b := &v5Bundle{T: t, db: db, app: newApp(), now: time.Now(), ring: campaign.NewKeyRing(store, slog.New(slog.DiscardHandler))}
	b.svc = campaign.NewService(campaign.Config{
		Store: store, ValidateTargeting: targeting.Canonicalize, CheckKeyword: targeting.CheckKeyword, CheckInterests: targeting.CheckTaxonomy,
		TargetingOptions: targeting.Options, Now: func() time.Time { return b.now }, Random: rand.Reader,
	})
	b.api = RegisterV5(b.app, b.svc, b.ring, conversions.NewConversions(db), aFloor)

	own, other := b.newAccount(), b.newAccount()
	b.account, b.other = idText(own), idText(other)
	b.operator = b.newKey(campaign.KeyInput{Name: "operator", Role: campaign.RoleOperator})
	b.advertiser = b.newKey(campaign.KeyInput{Name: "advertiser", Role: campaign.RoleAdvertiser, AdAccountID: own})
	b.feed = b.newKey(campaign.KeyInput{Name: "feed", Role: campaign.RoleFeed})
	require.NoError(t, b.ring.Refresh(t.Context()))
	return b
}

func (b *v5Bundle) newAccount() campaign.AdAccountID {
	b.Helper()
	a, err := b.svc.CreateAdAccount(b.Context(), campaign.Item[campaign.AdAccountInput]{Input: campaign.AdAccountInput{
		Name: campaign.Some("a"), Country: campaign.Some("US"), Currency: campaign.Some("USD"),
	}})
	require.NoError(b, err)
	return a.ID
}

func (b *v5Bundle) newKey(in campaign.KeyInput) string {
	b.Helper()
	_, text, err := b.svc.CreateKey(b.Context(), in)
	require.NoError(b, err)
	return text
}

// reply is an answer: its JSON in body.
type reply struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

// call sends a request as the advertiser; headers are name, value pairs and win. {account} in the path is its account.
func (b *v5Bundle) call(method, path, body string, headers ...string) reply {
	b.Helper()
	var r reply
	r.status, r.header, r.raw = b.send(method, path, body, headers...)
	require.NoError(b, json.Unmarshal([]byte(r.raw), &r.body), "%s %s: %s", method, path, r.raw)
	return r
}

// send is call without reading the answer.
func (b *v5Bundle) send(method, path, body string, headers ...string) (status int, header http.Header, raw string) {
	b.Helper()
	path = strings.ReplaceAll(path, "{account}", b.account)
	req := httptest.NewRequestWithContext(context.Background(), method, path, strings.NewReader(body))
	req.Header.Set(fiber.HeaderAuthorization, "Bearer "+b.advertiser)
	req.Header.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := b.app.Test(req, -1)
	require.NoError(b, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(b, err)
	return resp.StatusCode, resp.Header, string(text)
}

// ok is call for what must succeed; the answer is held to the schema that the document promises.
func (b *v5Bundle) ok(method, path, body string, headers ...string) map[string]any {
	b.Helper()
	r := b.call(method, path, body, headers...)
	require.Equal(b, http.StatusOK, r.status, "%s %s: %s", method, path, r.raw)
	require.Contains(b, r.header.Get(fiber.HeaderContentType), fiber.MIMEApplicationJSON)
	b.matches(method, path, r)
	return r.body
}

// matches holds an answer to the document.
func (b *v5Bundle) matches(method, path string, r reply) {
	b.Helper()
	path, _, _ = strings.Cut(strings.ReplaceAll(path, "{account}", "{ad_account_id}"), "?")
	for documented, item := range b.api.OpenAPI().Paths {
		op := map[string]*huma.Operation{http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodPatch: item.Patch, http.MethodPut: item.Put}[method]
		if op == nil || !samePath(documented, path) {
			continue
		}
		response := op.Responses[strconv.Itoa(r.status)]
		if response == nil {
			response = op.Responses["default"]
		}
		schema := response.Content[fiber.MIMEApplicationJSON].Schema
		var res huma.ValidateResult
		huma.Validate(b.api.OpenAPI().Components.Schemas, schema, huma.NewPathBuffer(nil, 0), huma.ModeReadFromServer, r.body, &res)
		require.Empty(b, res.Errors, "%s %s does not match its schema: %s", method, path, r.raw)
		return
	}
	b.Fatalf("%s %s is not in the document", method, path)
}

func samePath(documented, path string) bool {
	d, p := strings.Split(documented, "/"), strings.Split(path, "/")
	if len(d) != len(p) {
		return false
	}
	for i := range d {
		if d[i] != p[i] && !strings.HasPrefix(d[i], "{") {
			return false
		}
	}
	return true
}

// first is the data of the first item of a batch answer.
func first(b *v5Bundle, body map[string]any) map[string]any {
	b.Helper()
	items, _ := body["items"].([]any)
	require.NotEmpty(b, items)
	data, ok := items[0].(map[string]any)["data"].(map[string]any)
	require.True(b, ok, "no data: %v", items[0])
	return data
}

// Bodies of valid creates.
const (
	campaignJSON = `{"name":"Autumn","objective_type":"AWARENESS"}`
	adGroupJSON  = `{"campaign_id":"%CAMPAIGN","name":"Women","billable_event":"IMPRESSION","bid_in_micro_currency":2000000,"budget_in_micro_currency":10000000}`
	adJSON       = `{"ad_group_id":"%GROUP","creative_type":"REGULAR","destination_url":"https://shop.example/"}`
)

// tree creates a campaign, an ad group and an ad and returns their ids.
func (b *v5Bundle) tree() (campaignID, groupID, adID string) {
	b.Helper()
	campaignID, _ = first(b, b.ok("POST", "/v5/ad_accounts/{account}/campaigns", `[`+campaignJSON+`]`))["id"].(string)
	groupID, _ = first(b, b.ok("POST", "/v5/ad_accounts/{account}/ad_groups", `[`+strings.ReplaceAll(adGroupJSON, "%CAMPAIGN", campaignID)+`]`))["id"].(string)
	adID, _ = first(b, b.ok("POST", "/v5/ad_accounts/{account}/ads", `[`+strings.ReplaceAll(adJSON, "%GROUP", groupID)+`]`))["id"].(string)
	return campaignID, groupID, adID
}

// fields are those that the details of an error name.
func (r reply) fields() []string {
	names := []string{}
	details, _ := r.body["details"].([]any)
	for _, d := range details {
		name, _ := d.(map[string]any)["field"].(string)
		names = append(names, name)
	}
	return names
}

// aFloor is 100,000 per 1,000 impressions and 5,000 per click, twice that in the US.
func aFloor(billable campaign.BillableEvent, countries []string) money.Micros {
	floor := money.Micros(100_000)
	if billable == campaign.BillClickthrough {
		floor = 5_000
	}
	if slices.Equal(countries, []string{"US"}) {
		floor *= 2
	}
	return floor
}
