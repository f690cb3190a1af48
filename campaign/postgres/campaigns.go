package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"time"

	"gavel/campaign"
	"gavel/internal/money"
)

const campaignColumns = `id, ad_account_id, name, status, objective_type, is_budget_optimization, daily_spend_cap_micros,
    lifetime_spend_cap_micros, bid_options, start_time, end_time, created_at, updated_at`

const campaignSQL = `SELECT ` + campaignColumns + ` FROM campaigns WHERE ad_account_id = $1 AND id = $2`

const campaignsFilter = ` FROM campaigns WHERE ad_account_id = $1
    AND ($2::bigint[] IS NULL OR id = ANY ($2)) AND ($3::text[] IS NULL OR status = ANY ($3))`

const campaignsAscendingSQL = `SELECT ` + campaignColumns + campaignsFilter + ` AND id > $4 ORDER BY id LIMIT $5`

const campaignsDescendingSQL = `SELECT ` + campaignColumns + campaignsFilter + ` AND id < $4 ORDER BY id DESC LIMIT $5`

const lockCampaignsSQL = `
SELECT ` + campaignColumns + ` FROM campaigns WHERE ad_account_id = $1 AND id = ANY ($2) ORDER BY id FOR NO KEY UPDATE`

const insertCampaignSQL = `
INSERT INTO campaigns (ad_account_id, name, status, objective_type, is_budget_optimization, daily_spend_cap_micros,
    lifetime_spend_cap_micros, start_time, end_time, bid_options)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING ` + campaignColumns

const updateCampaignSQL = `
UPDATE campaigns SET name = $3, status = $4, daily_spend_cap_micros = $5, lifetime_spend_cap_micros = $6, start_time = $7,
    end_time = $8, bid_options = $9, updated_at = now()
WHERE ad_account_id = $1 AND id = $2 RETURNING ` + campaignColumns

type campaignRow struct {
	ID                 int64         `db:"id"`
	AdAccountID        int64         `db:"ad_account_id"`
	Name               string        `db:"name"`
	Status             string        `db:"status"`
	Objective          string        `db:"objective_type"`
	BudgetOptimization bool          `db:"is_budget_optimization"`
	DailySpendCap      sql.NullInt64 `db:"daily_spend_cap_micros"`
	LifetimeSpendCap   sql.NullInt64 `db:"lifetime_spend_cap_micros"`
	BidOptions         bidOptions    `db:"bid_options"`
	StartTime          sql.NullTime  `db:"start_time"`
	EndTime            sql.NullTime  `db:"end_time"`
	CreatedAt          time.Time     `db:"created_at"`
	UpdatedAt          time.Time     `db:"updated_at"`
}

func (r campaignRow) entity() campaign.Campaign {
	return campaign.Campaign{
		ID: campaign.CampaignID(r.ID), AdAccountID: campaign.AdAccountID(r.AdAccountID), Name: r.Name,
		Status: campaign.Status(r.Status), Objective: campaign.Objective(r.Objective), BudgetOptimization: r.BudgetOptimization,
		BidOptions:    campaign.BidOptions(r.BidOptions),
		DailySpendCap: money.Micros(r.DailySpendCap.Int64), LifetimeSpendCap: money.Micros(r.LifetimeSpendCap.Int64),
		StartTime: r.StartTime.Time, EndTime: r.EndTime.Time, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
}

func campaignID(c campaign.Campaign) campaign.CampaignID { return c.ID }

// Campaign implements campaign.CampaignReader.
func (s *Store) Campaign(ctx context.Context, account campaign.AdAccountID, id campaign.CampaignID) (campaign.Campaign, error) {
	var row campaignRow
	err := s.get(ctx, &row, campaignSQL, int64(account), int64(id))
	return row.entity(), orMissing(err, campaign.ErrCampaignNotFound, "read campaign")
}

// Campaigns implements campaign.CampaignReader.
func (s *Store) Campaigns(ctx context.Context, account campaign.AdAccountID, f campaign.Filter, page campaign.Page) ([]campaign.Campaign, error) {
	query := campaignsAscendingSQL
	if page.Descending {
		query = campaignsDescendingSQL
	}
	after, limit := cursor(page)
	var rows []campaignRow
	if err := s.list(ctx, &rows, query, int64(account), ids(f.Campaigns), texts(f.Statuses), after, limit); err != nil {
		return nil, fmt.Errorf("list campaigns: %w", err)
	}
	return mapped(rows, campaignRow.entity), nil
}

// LockCampaigns implements campaign.CampaignTx.
func (t *txn) LockCampaigns(ctx context.Context, account campaign.AdAccountID, want []campaign.CampaignID) (map[campaign.CampaignID]campaign.Campaign, error) {
	var rows []campaignRow
	if err := t.list(ctx, &rows, lockCampaignsSQL, int64(account), ids(want)); err != nil {
		return nil, err
	}
	return keyed(rows, campaignRow.entity, campaignID), nil
}

// InsertCampaign implements campaign.CampaignTx.
func (t *txn) InsertCampaign(ctx context.Context, c campaign.Campaign) (campaign.Campaign, error) {
	var row campaignRow
	err := t.get(ctx, &row, insertCampaignSQL, int64(c.AdAccountID), c.Name, string(c.Status), string(c.Objective), c.BudgetOptimization,
		nullInt(c.DailySpendCap), nullInt(c.LifetimeSpendCap), nullTime(c.StartTime), nullTime(c.EndTime), bidOptions(c.BidOptions))
	return row.entity(), err
}

// UpdateCampaign implements campaign.CampaignTx.
func (t *txn) UpdateCampaign(ctx context.Context, c campaign.Campaign) (campaign.Campaign, error) {
	var row campaignRow
	err := t.get(ctx, &row, updateCampaignSQL, int64(c.AdAccountID), int64(c.ID), c.Name, string(c.Status),
		nullInt(c.DailySpendCap), nullInt(c.LifetimeSpendCap), nullTime(c.StartTime), nullTime(c.EndTime), bidOptions(c.BidOptions))
	return row.entity(), err
}

// bidOptions is campaign.BidOptions as JSON; none is NULL.
type bidOptions campaign.BidOptions

// Value implements driver.Valuer.
func (o bidOptions) Value() (driver.Value, error) {
	if campaign.BidOptions(o).IsZero() {
		return nil, nil //nolint:nilnil // NULL
	}
	text, err := json.Marshal(o)
	return string(text), err
}

// Scan implements sql.Scanner.
func (o *bidOptions) Scan(src any) error {
	*o = bidOptions{}
	switch text := src.(type) {
	case nil:
		return nil
	case string:
		return json.Unmarshal([]byte(text), o)
	case []byte:
		return json.Unmarshal(text, o)
	}
	return fmt.Errorf("bid options as %T", src)
}
