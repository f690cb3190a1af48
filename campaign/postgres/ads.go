package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"gavel/campaign"
)

const adColumns = `id, ad_account_id, campaign_id, ad_group_id, name, status, creative_type, pin_id, title, description,
    image_url, destination_url, created_at, updated_at`

const adSQL = `SELECT ` + adColumns + ` FROM ads WHERE ad_account_id = $1 AND id = $2`

const adsFilter = ` FROM ads WHERE ad_account_id = $1
    AND ($2::bigint[] IS NULL OR campaign_id = ANY ($2)) AND ($3::bigint[] IS NULL OR ad_group_id = ANY ($3))
    AND ($4::bigint[] IS NULL OR id = ANY ($4)) AND ($5::text[] IS NULL OR status = ANY ($5))`

const adsAscendingSQL = `SELECT ` + adColumns + adsFilter + ` AND id > $6 ORDER BY id LIMIT $7`

const adsDescendingSQL = `SELECT ` + adColumns + adsFilter + ` AND id < $6 ORDER BY id DESC LIMIT $7`

const lockAdsSQL = `
SELECT ` + adColumns + ` FROM ads WHERE ad_account_id = $1 AND id = ANY ($2) ORDER BY id FOR NO KEY UPDATE`

const insertAdSQL = `
INSERT INTO ads (ad_account_id, campaign_id, ad_group_id, name, status, creative_type, pin_id, title, description, image_url,
    destination_url)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING ` + adColumns

const updateAdSQL = `
UPDATE ads SET name = $3, status = $4, title = $5, description = $6, image_url = $7, destination_url = $8, updated_at = now()
WHERE ad_account_id = $1 AND id = $2 RETURNING ` + adColumns

type adRow struct {
	ID             int64          `db:"id"`
	AdAccountID    int64          `db:"ad_account_id"`
	CampaignID     int64          `db:"campaign_id"`
	AdGroupID      int64          `db:"ad_group_id"`
	Name           sql.NullString `db:"name"`
	Status         string         `db:"status"`
	CreativeType   string         `db:"creative_type"`
	PinID          sql.NullInt64  `db:"pin_id"`
	Title          string         `db:"title"`
	Description    string         `db:"description"`
	ImageURL       string         `db:"image_url"`
	DestinationURL string         `db:"destination_url"`
	CreatedAt      time.Time      `db:"created_at"`
	UpdatedAt      time.Time      `db:"updated_at"`
}

func (r adRow) entity() campaign.Ad {
	return campaign.Ad{
		ID: campaign.AdID(r.ID), AdAccountID: campaign.AdAccountID(r.AdAccountID), CampaignID: campaign.CampaignID(r.CampaignID),
		AdGroupID: campaign.AdGroupID(r.AdGroupID), Name: r.Name.String, Status: campaign.Status(r.Status), PinID: r.PinID.Int64,
		Creative: campaign.Creative{
			Type: r.CreativeType, Title: r.Title, Description: r.Description, ImageURL: r.ImageURL, DestinationURL: r.DestinationURL,
		},
		CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
}

func adID(a campaign.Ad) campaign.AdID { return a.ID }

// Ad implements campaign.AdReader.
func (s *Store) Ad(ctx context.Context, account campaign.AdAccountID, id campaign.AdID) (campaign.Ad, error) {
	var row adRow
	err := s.get(ctx, &row, adSQL, int64(account), int64(id))
	return row.entity(), orMissing(err, campaign.ErrAdNotFound, "read ad")
}

// Ads implements campaign.AdReader.
func (s *Store) Ads(ctx context.Context, account campaign.AdAccountID, f campaign.Filter, page campaign.Page) ([]campaign.Ad, error) {
	query := adsAscendingSQL
	if page.Descending {
		query = adsDescendingSQL
	}
	after, limit := cursor(page)
	var rows []adRow
	err := s.list(ctx, &rows, query, int64(account), ids(f.Campaigns), ids(f.AdGroups), ids(f.Ads), texts(f.Statuses), after, limit)
	if err != nil {
		return nil, fmt.Errorf("list ads: %w", err)
	}
	return mapped(rows, adRow.entity), nil
}

// LockAds implements campaign.AdTx.
func (t *txn) LockAds(ctx context.Context, account campaign.AdAccountID, want []campaign.AdID) (map[campaign.AdID]campaign.Ad, error) {
	var rows []adRow
	if err := t.list(ctx, &rows, lockAdsSQL, int64(account), ids(want)); err != nil {
		return nil, err
	}
	return keyed(rows, adRow.entity, adID), nil
}

// InsertAd implements campaign.AdTx.
func (t *txn) InsertAd(ctx context.Context, a campaign.Ad) (campaign.Ad, error) {
	var row adRow
	err := t.get(ctx, &row, insertAdSQL, int64(a.AdAccountID), int64(a.CampaignID), int64(a.AdGroupID), nullText(a.Name), string(a.Status),
		a.Creative.Type, nullInt(a.PinID), a.Creative.Title, a.Creative.Description, a.Creative.ImageURL, a.Creative.DestinationURL)
	return row.entity(), err
}

// UpdateAd implements campaign.AdTx.
func (t *txn) UpdateAd(ctx context.Context, a campaign.Ad) (campaign.Ad, error) {
	var row adRow
	err := t.get(ctx, &row, updateAdSQL, int64(a.AdAccountID), int64(a.ID), nullText(a.Name), string(a.Status),
		a.Creative.Title, a.Creative.Description, a.Creative.ImageURL, a.Creative.DestinationURL)
	return row.entity(), err
}

// nullText is NULL for "".
func nullText(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }
