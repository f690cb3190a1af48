package openbandit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// placed are the ids that a shop has on the server.
type placed struct {
	Account, Campaign, AdGroup, Ad int64
}

// create makes what the plan holds through the public API, as far as an earlier run of the same name has not.
func (d *driver) create(ctx context.Context) error {
	d.shops = make([]placed, len(d.plan.Shops))
	d.items = make(map[int64]int, len(d.plan.Shops))
	for i := range d.plan.Shops {
		ids, err := d.createShop(ctx, &d.plan.Shops[i])
		if err != nil {
			return fmt.Errorf("create the campaign of item %d: %w", d.plan.Shops[i].Item.ID, err)
		}
		d.shops[i], d.items[ids.Ad] = ids, i
		d.progress.step("creating campaigns", i+1, len(d.plan.Shops))
	}
	return nil
}

func (d *driver) createShop(ctx context.Context, s *Shop) (ids placed, err error) {
	name := fmt.Sprintf("Open Bandit %s: item %d", d.plan.Run, s.Item.ID)
	account := map[string]any{"name": name, "country": "US", "currency": "USD", "time_zone": s.TimeZone}
	if ids.Account, err = d.createOne(ctx, "/v5/ad_accounts", d.key("account", s), account); err != nil {
		return ids, err
	}
	base := "/v5/ad_accounts/" + digits(ids.Account)
	objective := "AWARENESS"
	if s.Billable == billClick {
		objective = "CONSIDERATION"
	}
	campaign := map[string]any{"name": name, "objective_type": objective}
	group := map[string]any{
		"name": name, "billable_event": s.Billable, "bid_in_micro_currency": s.Bid, "budget_type": s.BudgetType,
		"placement_group": "BROWSE", "targeting_spec": d.plan.spec(s),
	}
	for _, l := range s.Limits {
		switch {
		case l.Scope == scopeAdGroup:
			group["budget_in_micro_currency"] = l.Most
		case l.Kind == daily:
			campaign["daily_spend_cap"] = l.Most
		default:
			campaign["lifetime_spend_cap"] = l.Most
		}
	}
	if s.BudgetType == "CBO_ADGROUP" {
		campaign["is_campaign_budget_optimization"] = true
	}
	if s.FrequencyCap > 0 {
		group["lifetime_frequency_cap"] = s.FrequencyCap
	}
	if s.FrequencyCap > 0 || s.BudgetType == lifetime {
		group["end_time"] = endTime
	}
	if ids.Campaign, err = d.createOne(ctx, base+"/campaigns", d.key("campaign", s), []any{campaign}); err != nil {
		return ids, err
	}
	group["campaign_id"] = digits(ids.Campaign)
	if ids.AdGroup, err = d.createOne(ctx, base+"/ad_groups", d.key("ad-group", s), []any{group}); err != nil {
		return ids, err
	}
	ids.Ad, err = d.createOne(ctx, base+"/ads", d.key("ad", s), []any{map[string]any{
		"ad_group_id": digits(ids.AdGroup), "creative_type": "REGULAR", "name": name, "title": fmt.Sprintf("Item %d", s.Item.ID),
		"description":     "An item of the Open Bandit log; what it was is not known.",
		"destination_url": fmt.Sprintf("https://shop.example.com/items/%d", s.Item.ID),
	}})
	return ids, err
}

// key is the idempotency key with which an entity of a shop is created, the same in every run of the same name.
func (d *driver) key(what string, s *Shop) string {
	return fmt.Sprintf("ob-%s-%s-%s-%d", d.plan.Run, d.plan.Log.Campaign, what, s.Item.ID)
}

// createOne posts one entity, in an array where v5 wants one, and returns its id.
func (d *driver) createOne(ctx context.Context, path, key string, body any) (int64, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return 0, fmt.Errorf("encode: %w", err)
	}
	a, err := d.client.do(ctx, &call{method: http.MethodPost, path: path, as: operator, body: text, idempotency: key})
	if err != nil {
		return 0, err
	}
	var one struct {
		ID    string `json:"id"`
		Items []struct {
			Data struct {
				ID string `json:"id"`
			} `json:"data"`
		} `json:"items"`
	}
	if err := json.Unmarshal(a.body, &one); err == nil && len(one.Items) == 1 {
		one.ID = one.Items[0].Data.ID
	}
	id, err := strconv.ParseInt(one.ID, 10, 64)
	if a.status != http.StatusOK || err != nil {
		return 0, fmt.Errorf("POST %s: status %d: %.500s", path, a.status, a.body)
	}
	return id, nil
}

// visibleWithin is how long a change may take to be in auctions before the run gives up; it should be a second.
const visibleWithin = 20 * time.Second

// untilServed asks for the first page until all ads are in its auction and it is full. It returns how long that took.
func (d *driver) untilServed(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	req, _ := d.plan.page(0)
	req.RequestID, req.Explain = "ob-"+d.plan.Run+"-probe", true
	for {
		missing, err := d.probe(ctx, &req)
		if err != nil || missing == "" {
			return time.Since(start), err
		}
		if time.Since(start) > visibleWithin {
			return 0, fmt.Errorf("the new campaigns are not served after %v: %s", visibleWithin, missing)
		}
		if err := wait(ctx, 10*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// probe asks once and says what is missing, "" if nothing is.
func (d *driver) probe(ctx context.Context, req *pageRequest) (missing string, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return "", fmt.Errorf("encode: %w", err)
	}
	a, err := d.client.do(ctx, &call{method: http.MethodPost, path: "/v1/ads", as: feed, body: body})
	if err != nil {
		return "", err
	}
	if a.status == http.StatusForbidden && req.Explain { // this feed key may not ask why
		req.Explain = false
		return "an explanation", nil
	}
	if a.status != http.StatusOK {
		return "", fmt.Errorf("POST /v1/ads: status %d: %.500s", a.status, a.body)
	}
	var page pageAnswer
	if err := json.Unmarshal(a.body, &page); err != nil {
		return "", fmt.Errorf("POST /v1/ads: %w", err)
	}
	if len(page.Ads) == 0 {
		return "the first page is empty", nil
	}
	if page.Explain == nil {
		return "", nil
	}
	listed := 0
	for _, c := range page.Explain.Considered {
		if id, err := strconv.ParseInt(c.AdID, 10, 64); err != nil {
			return "", errors.New("POST /v1/ads: explain names an ad without an id")
		} else if _, ours := d.items[id]; ours {
			listed++
		}
	}
	if listed+page.Explain.NotListed < len(d.shops) {
		return fmt.Sprintf("%d of %d ads are in the auction", listed, len(d.shops)), nil
	}
	return "", nil
}

func digits(id int64) string { return strconv.FormatInt(id, 10) }
