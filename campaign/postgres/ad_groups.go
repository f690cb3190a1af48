package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"time"

	"gavel/campaign"
	"gavel/internal/money"
)

const adGroupColumns = `id, ad_account_id, campaign_id, name, status, billable_event, bid_micros, budget_type, budget_micros,
    pacing_delivery_type, placement_group, targeting_spec, lifetime_frequency_cap, start_time, end_time, ad_schedule, bid_strategy,
    bid_floor_micros, bid_multiplier_per_mille, cpa_goal_micros, created_at, updated_at`

const adGroupSQL = `SELECT ` + adGroupColumns + ` FROM ad_groups WHERE ad_account_id = $1 AND id = $2`

const adGroupsFilter = ` FROM ad_groups WHERE ad_account_id = $1
    AND ($2::bigint[] IS NULL OR campaign_id = ANY ($2)) AND ($3::bigint[] IS NULL OR id = ANY ($3))
    AND ($4::text[] IS NULL OR status = ANY ($4))`

const adGroupsAscendingSQL = `SELECT ` + adGroupColumns + adGroupsFilter + ` AND id > $5 ORDER BY id LIMIT $6`

const adGroupsDescendingSQL = `SELECT ` + adGroupColumns + adGroupsFilter + ` AND id < $5 ORDER BY id DESC LIMIT $6`

const lockAdGroupsSQL = `
SELECT ` + adGroupColumns + ` FROM ad_groups WHERE ad_account_id = $1 AND id = ANY ($2) ORDER BY id FOR NO KEY UPDATE`

const insertAdGroupSQL = `
INSERT INTO ad_groups (ad_account_id, campaign_id, name, status, billable_event, bid_micros, budget_type, budget_micros,
    pacing_delivery_type, placement_group, targeting_spec, lifetime_frequency_cap, start_time, end_time, ad_schedule, bid_strategy,
    bid_floor_micros, bid_multiplier_per_mille, cpa_goal_micros)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19) RETURNING ` + adGroupColumns

const updateAdGroupSQL = `
UPDATE ad_groups SET name = $3, status = $4, bid_micros = $5, budget_micros = $6, pacing_delivery_type = $7, placement_group = $8,
    targeting_spec = $9, lifetime_frequency_cap = $10, start_time = $11, end_time = $12, ad_schedule = $13,
    bid_strategy = $14, bid_floor_micros = $15, bid_multiplier_per_mille = $16, cpa_goal_micros = $17, updated_at = now()
WHERE ad_account_id = $1 AND id = $2 RETURNING ` + adGroupColumns

type adGroupRow struct {
	ID             int64         `db:"id"`
	AdAccountID    int64         `db:"ad_account_id"`
	CampaignID     int64         `db:"campaign_id"`
	Name           string        `db:"name"`
	Status         string        `db:"status"`
	BillableEvent  string        `db:"billable_event"`
	Bid            sql.NullInt64 `db:"bid_micros"`
	BidStrategy    string        `db:"bid_strategy"`
	BidFloor       sql.NullInt64 `db:"bid_floor_micros"`
	BidMultiplier  sql.NullInt64 `db:"bid_multiplier_per_mille"`
	CPAGoal        sql.NullInt64 `db:"cpa_goal_micros"`
	BudgetType     string        `db:"budget_type"`
	Budget         sql.NullInt64 `db:"budget_micros"`
	Pacing         string        `db:"pacing_delivery_type"`
	PlacementGroup string        `db:"placement_group"`
	TargetingSpec  []byte        `db:"targeting_spec"`
	FrequencyCap   sql.NullInt64 `db:"lifetime_frequency_cap"`
	StartTime      sql.NullTime  `db:"start_time"`
	EndTime        sql.NullTime  `db:"end_time"`
	Hours          weekHours     `db:"ad_schedule"`
	CreatedAt      time.Time     `db:"created_at"`
	UpdatedAt      time.Time     `db:"updated_at"`
}

func (r adGroupRow) entity() campaign.AdGroup {
	return campaign.AdGroup{
		ID: campaign.AdGroupID(r.ID), AdAccountID: campaign.AdAccountID(r.AdAccountID), CampaignID: campaign.CampaignID(r.CampaignID),
		Name: r.Name, Status: campaign.Status(r.Status),
		BillableEvent: campaign.BillableEvent(r.BillableEvent), Bid: money.Micros(r.Bid.Int64),
		BidStrategy: campaign.BidStrategy(r.BidStrategy), BidFloor: money.Micros(r.BidFloor.Int64),
		BidMultiplier: campaign.PerMille(r.BidMultiplier.Int64), CPAGoal: money.Micros(r.CPAGoal.Int64),
		BudgetType: campaign.BudgetType(r.BudgetType), Budget: money.Micros(r.Budget.Int64),
		Pacing: campaign.PacingDeliveryType(r.Pacing), PlacementGroup: campaign.PlacementGroup(r.PlacementGroup),
		TargetingSpec: r.TargetingSpec, FrequencyCap: int(r.FrequencyCap.Int64),
		StartTime: r.StartTime.Time, EndTime: r.EndTime.Time, Hours: campaign.WeekHours(r.Hours), CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
}

func adGroupID(g campaign.AdGroup) campaign.AdGroupID { return g.ID }

// AdGroup implements campaign.AdGroupReader.
func (s *Store) AdGroup(ctx context.Context, account campaign.AdAccountID, id campaign.AdGroupID) (campaign.AdGroup, error) {
	var row adGroupRow
	err := s.get(ctx, &row, adGroupSQL, int64(account), int64(id))
	return row.entity(), orMissing(err, campaign.ErrAdGroupNotFound, "read ad group")
}

// AdGroups implements campaign.AdGroupReader.
func (s *Store) AdGroups(ctx context.Context, account campaign.AdAccountID, f campaign.Filter, page campaign.Page) ([]campaign.AdGroup, error) {
	query := adGroupsAscendingSQL
	if page.Descending {
		query = adGroupsDescendingSQL
	}
	after, limit := cursor(page)
	var rows []adGroupRow
	err := s.list(ctx, &rows, query, int64(account), ids(f.Campaigns), ids(f.AdGroups), texts(f.Statuses), after, limit)
	if err != nil {
		return nil, fmt.Errorf("list ad groups: %w", err)
	}
	return mapped(rows, adGroupRow.entity), nil
}

// LockAdGroups implements campaign.AdGroupTx.
func (t *txn) LockAdGroups(ctx context.Context, account campaign.AdAccountID, want []campaign.AdGroupID) (map[campaign.AdGroupID]campaign.AdGroup, error) {
	var rows []adGroupRow
	if err := t.list(ctx, &rows, lockAdGroupsSQL, int64(account), ids(want)); err != nil {
		return nil, err
	}
	return keyed(rows, adGroupRow.entity, adGroupID), nil
}

// InsertAdGroup implements campaign.AdGroupTx.
func (t *txn) InsertAdGroup(ctx context.Context, g campaign.AdGroup) (campaign.AdGroup, error) {
	var row adGroupRow
	err := t.get(ctx, &row, insertAdGroupSQL, int64(g.AdAccountID), int64(g.CampaignID), g.Name, string(g.Status), string(g.BillableEvent),
		nullInt(g.Bid), string(g.BudgetType), nullInt(g.Budget), string(g.Pacing), string(g.PlacementGroup), string(g.TargetingSpec),
		nullInt(g.FrequencyCap), nullTime(g.StartTime), nullTime(g.EndTime), weekHours(g.Hours),
		string(g.BidStrategy), nullInt(g.BidFloor), nullInt(g.BidMultiplier), nullInt(g.CPAGoal))
	return row.entity(), err
}

// UpdateAdGroup implements campaign.AdGroupTx.
func (t *txn) UpdateAdGroup(ctx context.Context, g campaign.AdGroup) (campaign.AdGroup, error) {
	var row adGroupRow
	err := t.get(ctx, &row, updateAdGroupSQL, int64(g.AdAccountID), int64(g.ID), g.Name, string(g.Status), nullInt(g.Bid), nullInt(g.Budget),
		string(g.Pacing), string(g.PlacementGroup), string(g.TargetingSpec), nullInt(g.FrequencyCap), nullTime(g.StartTime), nullTime(g.EndTime), weekHours(g.Hours),
		string(g.BidStrategy), nullInt(g.BidFloor), nullInt(g.BidMultiplier), nullInt(g.CPAGoal))
	return row.entity(), err
}

// weekHours is campaign.WeekHours as its 42 digits; every hour is NULL.
type weekHours campaign.WeekHours

// Value implements driver.Valuer.
func (h weekHours) Value() (driver.Value, error) {
	hours := campaign.WeekHours(h)
	if hours.IsZero() {
		return nil, nil //nolint:nilnil // NULL
	}
	text, err := hours.MarshalText()
	return string(text), err
}

// Scan implements sql.Scanner.
func (h *weekHours) Scan(src any) error {
	*h = weekHours{}
	switch text := src.(type) {
	case nil:
		return nil
	case string:
		return (*campaign.WeekHours)(h).UnmarshalText([]byte(text))
	case []byte:
		return (*campaign.WeekHours)(h).UnmarshalText(text)
	}
	return fmt.Errorf("hours of the week as %T", src)
}
