package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// API is the management API of one node, as an operator uses it.
type API struct {
	// URL is a node's AdsURL, Key an operator's key.
	URL, Key string
	http     http.Client
}

const apiWithin = 10 * time.Second

// newAPI returns a client of the management API.
func newAPI(url, key string) *API {
	return &API{URL: url, Key: key, http: http.Client{Timeout: apiWithin, Transport: &http.Transport{MaxIdleConnsPerHost: 8, IdleConnTimeout: idleFor}}}
}

// Send sends a body and reads the answer, which must be a 2xx, into into.
func (a *API) Send(ctx context.Context, method, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.URL+path, bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	req.Header.Set("Authorization", "Bearer "+a.Key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.http.Do(req)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %w", method, path, &StatusError{resp.StatusCode, string(answer)})
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// StatusError is an answer that is not a 2xx.
type StatusError struct {
	Status int
	Body   string
}

// Error implements error.
func (e *StatusError) Error() string { return fmt.Sprintf("status %d: %.500s", e.Status, e.Body) }

// batchAnswer is v5's answer to a batch.
type batchAnswer struct {
	Items []struct {
		Data struct {
			ID string `json:"id"`
		} `json:"data"`
		Exceptions []struct {
			Message string `json:"message"`
		} `json:"exceptions"`
	} `json:"items"`
}

// SendBatch creates or updates a batch of entities, all of which must succeed, and returns their ids.
func (a *API) SendBatch(ctx context.Context, method, path string, items []any) ([]int64, error) {
	var answer batchAnswer
	if err := a.Send(ctx, method, path, items, &answer); err != nil {
		return nil, err
	}
	ids := make([]int64, len(items))
	for i := range items {
		if i >= len(answer.Items) || len(answer.Items[i].Exceptions) > 0 {
			return nil, fmt.Errorf("%s %s: item %d was refused: %+v", method, path, i, answer.Items)
		}
		id, err := strconv.ParseInt(answer.Items[i].Data.ID, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s %s: item %d has no id: %w", method, path, i, err)
		}
		ids[i] = id
	}
	return ids, nil
}

// The size of a row's world.
const (
	campaignCount = 500
	accountCount  = 50
	endTime       = 4_102_444_800 // 2100-01-01: lifetime budgets must end
)

// dollar is 1,000,000 micros of whatever currency.
const dollar = 1_000_000

// planned is a campaign before it has ids.
type planned struct {
	Campaign
	interests []string
	// budget is the ad group's in micros, 0 with CBO; budgetKind DAILY or LIFETIME. cap is the campaign's, of capKind.
	budget, cap         int64
	budgetKind, capKind string
}

// planCampaigns are the 500 campaigns: 5 % hot, 10 % scarce, the rest plain; the same in every run.
func planCampaigns() []planned {
	r := rand.New(rand.NewPCG(3, 7)) //nolint:gosec // the same in every run
	zones := []string{"UTC", "America/Los_Angeles", "Europe/Berlin", "Asia/Tokyo", "Pacific/Auckland", "America/Sao_Paulo", "Asia/Kolkata"}
	currencies := []string{"USD", "EUR", "GBP"}
	between := func(low, high float64) int64 { return int64((low + (high-low)*r.Float64()) * dollar) }
	list := make([]planned, campaignCount)
	for i := range list {
		k, account := &list[i], i%accountCount
		k.TimeZone, k.Currency = zones[account%len(zones)], currencies[account%len(currencies)]
		k.Class, k.BidMicros, k.budget, k.budgetKind = Plain, between(3, 11), between(40, 80), daily
		switch {
		case i/accountCount == 0 && account%2 == 0: // 25 of 500
			k.Class, k.BidMicros, k.budget = Hot, between(6, 9), 5000*dollar
		case i/accountCount == 1: // 50 of 500
			k.Class, k.BidMicros = Scarce, between(12, 15)
			k.budget = k.BidMicros * (20 + r.Int64N(40)) / 1000 // 20 to 60 impressions at the bid
			k.interests = []string{scarceAudience(account)}
		default:
			k.interests = []string{plainAudience(i)}
		}
		k.odd(i, between)
	}
	return list
}

// odd gives some plain campaigns what not every campaign has.
func (k *planned) odd(i int, between func(low, high float64) int64) {
	if k.Class != Plain {
		return
	}
	if i%8 == 3 {
		k.Clicks, k.BidMicros = true, between(0.8, 2.2)
		k.budget *= 2
	}
	switch {
	case i%16 == 7:
		k.CBO, k.cap, k.capKind, k.budget = true, k.budget, daily, 0
	case i%9 == 2:
		k.cap, k.capKind = 3*k.budget/4, lifetime
	case i%11 == 5:
		k.budgetKind = lifetime
	}
}

// seed makes the campaigns through the API and returns them with their ids.
func seed(ctx context.Context, api *API) ([]Campaign, error) {
	plan := planCampaigns()
	byAccount := map[int][]*planned{}
	for i := range plan {
		byAccount[i%accountCount] = append(byAccount[i%accountCount], &plan[i])
	}
	const workers = 4
	accounts, errs := make(chan int, accountCount), make(chan error, accountCount)
	for n := range accountCount {
		accounts <- n
	}
	close(accounts)
	var work sync.WaitGroup
	for range workers {
		work.Go(func() {
			for n := range accounts {
				errs <- seedAccount(ctx, api, n, byAccount[n])
			}
		})
	}
	work.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return nil, fmt.Errorf("make campaigns: %w", err)
		}
	}
	list := make([]Campaign, len(plan))
	for i := range plan {
		list[i] = plan[i].Campaign
	}
	return list, nil
}

func seedAccount(ctx context.Context, api *API, n int, list []*planned) error {
	var account struct {
		ID string `json:"id"`
	}
	name := fmt.Sprintf("account %d", n)
	body := map[string]any{"name": name, "country": "US", "currency": list[0].Currency, "time_zone": list[0].TimeZone}
	if err := api.Send(ctx, http.MethodPost, "/v5/ad_accounts", body, &account); err != nil {
		return err
	}
	id, err := strconv.ParseInt(account.ID, 10, 64)
	if err != nil {
		return fmt.Errorf("account %q has no id: %w", account.ID, err)
	}
	base := "/v5/ad_accounts/" + account.ID
	var campaigns, groups, ads []any
	for _, k := range list {
		campaigns = append(campaigns, k.campaignBody(name))
	}
	ids, err := api.SendBatch(ctx, http.MethodPost, base+"/campaigns", campaigns)
	if err != nil {
		return err
	}
	for i, k := range list {
		k.Account, k.Campaign.Campaign = id, ids[i]
		groups = append(groups, k.groupBody(name))
	}
	if ids, err = api.SendBatch(ctx, http.MethodPost, base+"/ad_groups", groups); err != nil {
		return err
	}
	for i, k := range list {
		k.AdGroup = ids[i]
		k.Limits = k.limits()
		ads = append(ads, map[string]any{
			"ad_group_id": strconv.FormatInt(k.AdGroup, 10), "creative_type": "REGULAR", "name": name, "title": k.Class,
			"destination_url": fmt.Sprintf("https://shop.example.com/%d", k.AdGroup),
		})
	}
	if ids, err = api.SendBatch(ctx, http.MethodPost, base+"/ads", ads); err != nil {
		return err
	}
	for i, k := range list {
		k.Ad = ids[i]
	}
	return nil
}

func (k *planned) campaignBody(name string) map[string]any {
	body := map[string]any{"name": name + " " + k.Class, "objective_type": "AWARENESS"}
	if k.Clicks {
		body["objective_type"] = "CONSIDERATION"
	}
	if k.CBO {
		body["is_campaign_budget_optimization"] = true
	}
	switch k.capKind {
	case daily:
		body["daily_spend_cap"] = k.cap
	case lifetime:
		body["lifetime_spend_cap"] = k.cap
	}
	return body
}

func (k *planned) groupBody(name string) map[string]any {
	body := map[string]any{
		"name": name + " " + k.Class, "campaign_id": strconv.FormatInt(k.Campaign.Campaign, 10), "billable_event": "IMPRESSION",
		"bid_in_micro_currency": k.BidMicros, "budget_type": k.budgetKind, "placement_group": "BROWSE",
	}
	if k.Clicks {
		body["billable_event"] = "CLICKTHROUGH"
	}
	if len(k.interests) > 0 {
		body["targeting_spec"] = map[string]any{"INTEREST": k.interests}
	}
	if k.CBO {
		body["budget_type"] = "CBO_ADGROUP"
	} else {
		body["budget_in_micro_currency"] = k.budget
		body["pacing_delivery_type"] = "ACCELERATED" // the scarce ones are to end soon
	}
	if k.budgetKind == lifetime {
		body["end_time"] = endTime
	}
	return body
}

// limits are the lines that stop the campaign, with its ids.
func (k *planned) limits() []Limit {
	var list []Limit
	if k.budget > 0 {
		list = append(list, Limit{Line{scopeAdGroup, k.AdGroup, k.budgetKind}, k.budget})
	}
	if k.cap > 0 {
		list = append(list, Limit{Line{scopeCampaign, k.Campaign.Campaign, k.capKind}, k.cap})
	}
	return list
}
