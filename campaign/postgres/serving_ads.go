package postgres

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/lib/pq"

	"gavel/campaign"
	"gavel/internal/money"
)

// Ads, their ad groups and the keywords of those are read by three statements in one snapshot. One statement that joins them says
// all of an ad group again with each of its ads, and looks so costly to Postgres that it starts parallel workers for each page.

const activeAdsColumns = `
SELECT id, ad_group_id, creative_type, title, description, image_url, destination_url FROM ads WHERE status = 'ACTIVE'`

const activeAdsSQL = activeAdsColumns + ` AND id > $1 ORDER BY id LIMIT $2`

const activeAdsOfSQL = activeAdsColumns + ` AND id = ANY ($1) ORDER BY id`

const activeGroupsSQL = `
SELECT g.id, g.campaign_id, g.ad_account_id, t.currency, t.time_zone, g.billable_event, g.bid_micros, g.placement_group, g.targeting_spec,
    g.lifetime_frequency_cap, greatest(c.start_time, g.start_time), least(c.end_time, g.end_time), g.ad_schedule, c.objective_type,
    coalesce(t.iab_category, ''), g.bid_strategy, g.bid_floor_micros, g.bid_multiplier_per_mille, g.cpa_goal_micros, c.bid_options
FROM ad_groups g JOIN campaigns c ON c.id = g.campaign_id JOIN ad_accounts t ON t.id = g.ad_account_id
WHERE g.id = ANY ($1) AND g.status = 'ACTIVE' AND c.status = 'ACTIVE'`

const keywordsOfGroupsSQL = `
SELECT ad_group_id, match_type, value FROM keywords WHERE ad_group_id = ANY ($1) AND NOT archived ORDER BY ad_group_id, id`

// Serving returns up to limit ads that may be served, those after an id, in order of their ids; none at the end only. Each ad is
// read in one consistent piece; a page is later than the page before.
func (s *Serving) Serving(ctx context.Context, after campaign.AdID, limit int) (page []campaign.ServingAd, err error) {
	err = s.inSnapshot(ctx, activeAdsSQL, func(t session) error {
		for {
			ads, err := t.activeAds(ctx, limit, activeAdsSQL, int64(after), limit)
			if err != nil || len(ads) == 0 {
				return err
			}
			after = ads[len(ads)-1].AdID
			if page, err = t.withGroups(ctx, ads); err != nil || len(page) > 0 {
				return err
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read servable ads: %w", err)
	}
	return page, nil
}

// servingOf returns those of some ads that may be served, in order of their ids.
func (s *Serving) servingOf(ctx context.Context, ids []int64) (served []campaign.ServingAd, err error) {
	err = s.inSnapshot(ctx, activeAdsOfSQL, func(t session) error {
		ads, err := t.activeAds(ctx, len(ids), activeAdsOfSQL, pq.Array(ids))
		if err != nil || len(ads) == 0 {
			return err
		}
		served, err = t.withGroups(ctx, ads)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read changed ads: %w", err)
	}
	return served, nil
}

// inSnapshot runs f, which reads ads by a query, in a transaction that sees one state of the database.
func (s *Serving) inSnapshot(ctx context.Context, query string, f func(t session) error) error {
	for _, q := range []string{query, activeGroupsSQL, keywordsOfGroupsSQL} { // else each transaction would prepare them for itself
		if err := s.statements.prepare(ctx, q); err != nil {
			return coded(err)
		}
	}
	return s.inTxOf(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, f)
}

// activeAds reads ads without what they have of their ad groups.
func (s session) activeAds(ctx context.Context, most int, query string, args ...any) ([]campaign.ServingAd, error) {
	ads := make([]campaign.ServingAd, 0, most)
	err := s.each(ctx, func(row *sql.Rows) error {
		var ad campaign.ServingAd
		c := &ad.Creative
		err := row.Scan(&ad.AdID, &ad.AdGroupID, &c.Type, &c.Title, &c.Description, &c.ImageURL, &c.DestinationURL)
		ads = append(ads, ad)
		return err
	}, query, args...)
	return ads, err
}

// withGroups adds to ads what they have of their ad groups, and leaves out those whose ad group or campaign is not active. ads is
// overwritten.
func (s session) withGroups(ctx context.Context, ads []campaign.ServingAd) ([]campaign.ServingAd, error) {
	groups, err := s.activeGroups(ctx, ads)
	if err != nil {
		return nil, err
	}
	served := ads[:0]
	for _, ad := range ads {
		if g := groups[ad.AdGroupID]; g != nil {
			whole := *g
			whole.AdID, whole.Creative = ad.AdID, ad.Creative
			served = append(served, whole)
		}
	}
	return served, nil
}

// activeGroups reads what the ads of each ad group have in common. What is not active is missing.
func (s session) activeGroups(ctx context.Context, ads []campaign.ServingAd) (map[campaign.AdGroupID]*campaign.ServingAd, error) {
	groups := make(map[campaign.AdGroupID]*campaign.ServingAd, len(ads))
	ids := make([]int64, 0, len(ads))
	for _, ad := range ads {
		if _, known := groups[ad.AdGroupID]; !known {
			groups[ad.AdGroupID] = nil
			ids = append(ids, int64(ad.AdGroupID))
		}
	}
	err := s.each(ctx, func(row *sql.Rows) error {
		g, err := scanGroup(row)
		groups[g.AdGroupID] = &g
		return err
	}, activeGroupsSQL, pq.Array(ids))
	if err != nil {
		return nil, err
	}
	err = s.each(ctx, func(row *sql.Rows) error {
		var id campaign.AdGroupID
		var k campaign.Keyword
		err := row.Scan(&id, &k.MatchType, &k.Value)
		if g := groups[id]; g != nil {
			g.Keywords = append(g.Keywords, k)
		}
		return err
	}, keywordsOfGroupsSQL, pq.Array(ids))
	return groups, err
}

// scanGroup reads a row of activeGroupsSQL.
func scanGroup(row *sql.Rows) (campaign.ServingAd, error) {
	var g campaign.ServingAd
	var spec []byte
	var frequencyCap, bid, floor, multiplier, goal sql.NullInt64
	var start, end sql.NullTime
	var options bidOptions
	err := row.Scan(&g.AdGroupID, &g.CampaignID, &g.AdAccountID, &g.Currency, &g.TimeZone, &g.BillableEvent, &bid, &g.PlacementGroup,
		&spec, &frequencyCap, &start, &end, (*weekHours)(&g.Hours), &g.Objective, &g.Category, &g.BidStrategy, &floor, &multiplier, &goal, &options)
	if err != nil {
		return g, err
	}
	g.Targeting, g.FrequencyCap, g.StartTime, g.EndTime = spec, int(frequencyCap.Int64), start.Time, end.Time
	g.BidMicros, g.BidFloorMicros, g.CPAGoalMicros = money.Micros(bid.Int64), money.Micros(floor.Int64), money.Micros(goal.Int64)
	if !bid.Valid {
		g.BidMicros = campaign.CapMicros(g.BillableEvent, g.Currency, g.CPAGoalMicros)
	}
	if g.Multipliers, err = campaign.NewBidMultipliers(campaign.BidOptions(options), campaign.PerMille(multiplier.Int64)); err != nil {
		g.BidMicros = 0 // its ads cannot be parsed, so they alone are not served
	}
	return g, nil
}
