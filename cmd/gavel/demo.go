package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"gavel/campaign"
	"gavel/targeting"
)

//go:embed demo.json
var demoJSON []byte

//go:embed demo_interests.csv
var demoInterestsCSV []byte

// demoInterests loads a small taxonomy of interests.
func demoInterests(ctx context.Context, s *campaign.Service) error {
	all, _, err := targeting.ReadInterests(bytes.NewReader(demoInterestsCSV))
	if err != nil {
		return fmt.Errorf("read demo interests:%w", err)
	}
	_, err = s.ReplaceInterests(ctx, all)
	return err
}

// demoShop is one advertiser of the demo.
type demoShop struct {
	Campaign map[string]any `json:"campaign"`
	AdGroups []struct {
		AdGroup  map[string]any   `json:"ad_group"`
		Keywords []map[string]any `json:"keywords"`
		Ads      []map[string]any `json:"ads"`
	} `json:"ad_groups"`
}

// access is what a person or a script needs to use a running stack. It is what --ready-file holds.
type access struct {
	AdsURL        string `json:"ads_url"`
	AdminURL      string `json:"admin_url"`
	FeedKey       string `json:"feed_key"`
	AdvertiserKey string `json:"advertiser_key"`
	OperatorKey   string `json:"operator_key"`
	AdAccountID   string `json:"ad_account_id"`
	DatabaseURL   string `json:"database_url"`
	RedisURL      string `json:"redis_url"`
}

// save writes the file in one piece, readable by its owner only: it holds keys.
func (a access) save(path string) error {
	text, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return fmt.Errorf("encode ready file: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write ready file: %w", err)
	}
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write ready file: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write ready file: %w", err)
	}
	return nil
}

// demoKeys makes the keys that belong to no account.
func demoKeys(ctx context.Context, s *campaign.Service, a *access) error {
	var err error
	if _, a.OperatorKey, err = s.CreateKey(ctx, campaign.KeyInput{Name: "demo operator", Role: campaign.RoleOperator}); err != nil {
		return fmt.Errorf("make operator key: %w", err)
	}
	if _, a.FeedKey, err = s.CreateKey(ctx, campaign.KeyInput{Name: "demo feed", Role: campaign.RoleFeed, MayExplain: true}); err != nil {
		return fmt.Errorf("make feed key: %w", err)
	}
	return nil
}

// callTimeout bounds one call of the API.
const callTimeout = 10 * time.Second

// client speaks to the management API of a node.
type client struct {
	base, key string
	http      http.Client
}

// post sends body and reads the answer's JSON.
func (c client) post(ctx context.Context, path string, body, into any) error {
	return c.send(ctx, http.MethodPost, path, body, into)
}

// send sends body and reads the answer's JSON.
func (c client) send(ctx context.Context, method, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// created is the v5 answer to a create.
type created struct {
	Items []struct {
		Data struct {
			ID string `json:"id"`
		} `json:"data"`
		Exceptions []struct {
			Message string `json:"message"`
		} `json:"exceptions"`
	} `json:"items"`
}

// create posts one item and returns its id.
func (c client) create(ctx context.Context, path string, item map[string]any) (string, error) {
	var answer created
	if err := c.post(ctx, path, []any{item}, &answer); err != nil {
		return "", err
	}
	if len(answer.Items) != 1 || len(answer.Items[0].Exceptions) > 0 || answer.Items[0].Data.ID == "" {
		return "", fmt.Errorf("POST %s: %+v", path, answer.Items)
	}
	return answer.Items[0].Data.ID, nil
}

// demoShops loads the demo through the API, an account per shop because a page shows one ad of an advertiser. The first
// account gets the advertiser key.
func demoShops(ctx context.Context, s *campaign.Service, a *access) error {
	var shops []demoShop
	if err := json.Unmarshal(demoJSON, &shops); err != nil {
		return fmt.Errorf("read demo: %w", err)
	}
	c := client{base: a.AdsURL, key: a.OperatorKey, http: http.Client{Timeout: callTimeout}}
	for _, shop := range shops {
		var account struct {
			ID string `json:"id"`
		}
		in := map[string]any{"name": shop.Campaign["name"], "country": "US", "currency": "USD", "time_zone": "America/Los_Angeles"}
		if err := c.post(ctx, "/v5/ad_accounts", in, &account); err != nil {
			return err
		}
		if a.AdAccountID == "" {
			a.AdAccountID = account.ID
		}
		if err := c.shop(ctx, "/v5/ad_accounts/"+account.ID, account.ID, shop); err != nil {
			return err
		}
	}
	var id int64
	if _, err := fmt.Sscan(a.AdAccountID, &id); err != nil {
		return fmt.Errorf("read account id: %w", err)
	}
	_, text, err := s.CreateKey(ctx, campaign.KeyInput{Name: "demo advertiser", Role: campaign.RoleAdvertiser, AdAccountID: campaign.AdAccountID(id)})
	if err != nil {
		return fmt.Errorf("make advertiser key: %w", err)
	}
	a.AdvertiserKey = text
	return nil
}

func (c client) shop(ctx context.Context, base, account string, shop demoShop) error {
	shop.Campaign["ad_account_id"] = account
	campaignID, err := c.create(ctx, base+"/campaigns", shop.Campaign)
	if err != nil {
		return err
	}
	for _, g := range shop.AdGroups {
		g.AdGroup["campaign_id"] = campaignID
		groupID, err := c.create(ctx, base+"/ad_groups", g.AdGroup)
		if err != nil {
			return err
		}
		if len(g.Keywords) > 0 {
			var answer map[string]any
			if err := c.post(ctx, base+"/keywords", map[string]any{"parent_id": groupID, "keywords": g.Keywords}, &answer); err != nil {
				return err
			}
		}
		for _, ad := range g.Ads {
			ad["ad_group_id"], ad["creative_type"] = groupID, "REGULAR"
			if _, err := c.create(ctx, base+"/ads", ad); err != nil {
				return err
			}
		}
	}
	return nil
}
