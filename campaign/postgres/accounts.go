package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"gavel/campaign"
	"gavel/internal/money"
)

const accountColumns = `id, name, country, currency, time_zone, iab_category, daily_spend_cap_micros, lifetime_spend_cap_micros, created_at, updated_at`

const accountSQL = `SELECT ` + accountColumns + ` FROM ad_accounts WHERE id = $1`

const lockAccountSQL = accountSQL + ` FOR NO KEY UPDATE`

const accountsAscendingSQL = `SELECT ` + accountColumns + ` FROM ad_accounts WHERE id > $1 ORDER BY id LIMIT $2`

const accountsDescendingSQL = `SELECT ` + accountColumns + ` FROM ad_accounts WHERE id < $1 ORDER BY id DESC LIMIT $2`

const insertAccountSQL = `
INSERT INTO ad_accounts (name, country, currency, time_zone, iab_category) VALUES ($1, $2, $3, $4, nullif($5, '')) RETURNING ` + accountColumns

const updateAccountSQL = `
UPDATE ad_accounts SET daily_spend_cap_micros = $2, lifetime_spend_cap_micros = $3, updated_at = now()
WHERE id = $1 RETURNING ` + accountColumns

type accountRow struct {
	ID               int64          `db:"id"`
	Name             string         `db:"name"`
	Country          string         `db:"country"`
	Currency         string         `db:"currency"`
	TimeZone         string         `db:"time_zone"`
	Category         sql.NullString `db:"iab_category"`
	DailySpendCap    sql.NullInt64  `db:"daily_spend_cap_micros"`
	LifetimeSpendCap sql.NullInt64  `db:"lifetime_spend_cap_micros"`
	CreatedAt        time.Time      `db:"created_at"`
	UpdatedAt        time.Time      `db:"updated_at"`
}

func (r accountRow) entity() campaign.AdAccount {
	return campaign.AdAccount{
		ID: campaign.AdAccountID(r.ID), Name: r.Name, Country: r.Country, Currency: r.Currency, TimeZone: r.TimeZone, Category: r.Category.String,
		DailySpendCap: money.Micros(r.DailySpendCap.Int64), LifetimeSpendCap: money.Micros(r.LifetimeSpendCap.Int64),
		CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
}

// AdAccount implements campaign.AccountReader and campaign.AccountTx.
func (s session) AdAccount(ctx context.Context, id campaign.AdAccountID) (campaign.AdAccount, error) {
	var row accountRow
	err := s.get(ctx, &row, accountSQL, int64(id))
	return row.entity(), orMissing(err, campaign.ErrAdAccountNotFound, "read ad account")
}

// AdAccounts implements campaign.AccountReader.
func (s *Store) AdAccounts(ctx context.Context, page campaign.Page) ([]campaign.AdAccount, error) {
	query := accountsAscendingSQL
	if page.Descending {
		query = accountsDescendingSQL
	}
	after, limit := cursor(page)
	var rows []accountRow
	if err := s.list(ctx, &rows, query, after, limit); err != nil {
		return nil, fmt.Errorf("list ad accounts: %w", err)
	}
	return mapped(rows, accountRow.entity), nil
}

// InsertAdAccount implements campaign.AccountTx.
func (t *txn) InsertAdAccount(ctx context.Context, a campaign.AdAccount) (campaign.AdAccount, error) {
	var row accountRow
	err := t.get(ctx, &row, insertAccountSQL, a.Name, a.Country, a.Currency, a.TimeZone, a.Category)
	return row.entity(), err
}

// LockAdAccount implements campaign.AccountTx.
func (t *txn) LockAdAccount(ctx context.Context, id campaign.AdAccountID) (campaign.AdAccount, error) {
	var row accountRow
	err := t.get(ctx, &row, lockAccountSQL, int64(id))
	return row.entity(), orMissing(err, campaign.ErrAdAccountNotFound, "lock ad account")
}

// UpdateAdAccount implements campaign.AccountTx.
func (t *txn) UpdateAdAccount(ctx context.Context, a campaign.AdAccount) (campaign.AdAccount, error) {
	var row accountRow
	err := t.get(ctx, &row, updateAccountSQL, int64(a.ID), nullInt(a.DailySpendCap), nullInt(a.LifetimeSpendCap))
	return row.entity(), err
}
