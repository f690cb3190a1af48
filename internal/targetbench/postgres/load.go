package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"gavel/campaign"
	"gavel/internal/targetbench"
)

// Market is a market in a database. Its methods are for one goroutine.
type Market struct {
	db *sqlx.DB
	// adsOf is how many ads each ad group has, from FirstAdGroup on.
	adsOf []uint8
}

// AdGroups is how many there are.
func (m *Market) AdGroups() int { return len(m.adsOf) }

// AdsOf is how many ads the i-th ad group has.
func (m *Market) AdsOf(i int) int { return int(m.adsOf[i]) }

// batch is how many ads go in one transaction.
const batch = 50_000

// Load writes the first n ads of a market with their ad groups, campaigns, accounts, keywords and budget lines.
func Load(ctx context.Context, db *sqlx.DB, market *targetbench.Market, n int, progress func(done int)) (*Market, error) {
	m := &Market{db: db}
	if _, err := db.ExecContext(ctx, audiencesSQL, int64(targetbench.FirstAccount), int64(targetbench.FirstAudience), targetbench.Audiences); err != nil {
		return nil, fmt.Errorf("load audiences: %w", err)
	}
	ads := make([]campaign.ServingAd, 0, batch)
	done := 0
	flush := func() error {
		if err := m.write(ctx, ads); err != nil {
			return err
		}
		done += len(ads)
		ads = ads[:0]
		progress(done)
		return nil
	}
	for ad := range market.Ads(n) {
		if len(ads) >= batch && ad.CampaignID != ads[len(ads)-1].CampaignID {
			if err := flush(); err != nil {
				return nil, err
			}
		}
		ads = append(ads, ad)
	}
	if err := flush(); err != nil {
		return nil, err
	}
	for _, text := range []string{budgetLinesSQL, sequencesSQL, analyzeSQL} {
		if _, err := db.ExecContext(ctx, text); err != nil {
			return nil, fmt.Errorf("finish loading: %w", err)
		}
	}
	return m, nil
}

// All audiences belong to the first account, which the index does not mind.
const audiencesSQL = `
WITH account AS (INSERT INTO ad_accounts (id, name, country, currency, time_zone) VALUES ($1::bigint - 1, 'Audiences', 'US', 'USD', 'UTC') RETURNING id)
INSERT INTO audiences (id, ad_account_id, name) SELECT $2::bigint + i, account.id, 'Audience ' || i FROM account, generate_series(0, $3::int - 1) AS i`

// Every account, campaign and ad group has a daily and a lifetime line; only the daily one of an ad group has a limit.
const budgetLinesSQL = `
INSERT INTO budgets (ad_account_id, scope, scope_id, kind, limit_nanos)
SELECT e.ad_account_id, e.scope, e.id, k.kind, CASE k.kind WHEN 'DAILY' THEN e.limit_nanos END
FROM (SELECT id AS ad_account_id, 'AD_ACCOUNT' AS scope, id, NULL::bigint AS limit_nanos FROM ad_accounts
    UNION ALL SELECT ad_account_id, 'CAMPAIGN', id, NULL FROM campaigns
    UNION ALL SELECT ad_account_id, 'AD_GROUP', id, budget_micros * 1000 FROM ad_groups) AS e, (VALUES ('DAILY'), ('LIFETIME')) AS k (kind)`

// What comes through the API afterwards gets ids behind those that were loaded.
const sequencesSQL = `
SELECT setval(pg_get_serial_sequence('ad_accounts', 'id'), (SELECT max(id) FROM ad_accounts)),
    setval(pg_get_serial_sequence('campaigns', 'id'), (SELECT max(id) FROM campaigns)),
    setval(pg_get_serial_sequence('ad_groups', 'id'), (SELECT max(id) FROM ad_groups)),
    setval(pg_get_serial_sequence('ads', 'id'), (SELECT max(id) FROM ads)),
    setval(pg_get_serial_sequence('audiences', 'id'), (SELECT max(id) FROM audiences))`

const analyzeSQL = `ANALYZE`

// write copies whole campaigns, in one transaction.
func (m *Market) write(ctx context.Context, ads []campaign.ServingAd) error {
	tx, err := m.db.BeginTxx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, newAccountsSQL); err != nil {
		return fmt.Errorf("load accounts: %w", err)
	}
	for i, t := range tables() {
		if err := copyTo(ctx, tx, t, ads); err != nil {
			return fmt.Errorf("load rows: %w", err)
		}
		if i == 0 {
			if _, err := tx.ExecContext(ctx, accountsSQL); err != nil {
				return fmt.Errorf("load accounts: %w", err)
			}
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	for i, ad := range ads {
		if i == 0 || ads[i-1].AdGroupID != ad.AdGroupID {
			m.adsOf = append(m.adsOf, 0)
		}
		m.adsOf[len(m.adsOf)-1]++
	}
	return nil
}

// table is how ads become the rows of a table. An ad gives rows when key answers something else than for the ad before.
type table struct {
	copySQL string
	key     func(*campaign.ServingAd) int64
	rows    func(*campaign.ServingAd, func(...any) error) error
}

// An account may have been written before, with the first of its campaigns, so accounts go through a table of their own.
const (
	newAccountsSQL = `CREATE TEMPORARY TABLE new_ad_accounts (id bigint, currency text, time_zone text) ON COMMIT DROP`

	copyAccountsSQL = `COPY new_ad_accounts (id, currency, time_zone) FROM STDIN`

	accountsSQL = `
INSERT INTO ad_accounts (id, name, country, currency, time_zone) SELECT id, 'Account ' || id, 'US', currency, time_zone FROM new_ad_accounts
ON CONFLICT (id) DO NOTHING`

	copyCampaignsSQL = `COPY campaigns (id, ad_account_id, name, status, objective_type) FROM STDIN`

	copyAdGroupsSQL = `
COPY ad_groups (id, ad_account_id, campaign_id, name, status, billable_event, bid_micros, budget_type, budget_micros, placement_group,
    targeting_spec, lifetime_frequency_cap, start_time, end_time) FROM STDIN`

	copyKeywordsSQL = `COPY keywords (ad_account_id, ad_group_id, match_type, value) FROM STDIN`

	copyAdsSQL = `
COPY ads (id, ad_account_id, campaign_id, ad_group_id, status, creative_type, title, description, image_url, destination_url) FROM STDIN`
)

// budgetMicros is the daily budget of an ad group: as much as a good day's traffic.
const budgetMicros = 100_000_000

// tables are in the order in which they refer to each other.
func tables() []table {
	return []table{
		{copyAccountsSQL, func(ad *campaign.ServingAd) int64 { return int64(ad.AdAccountID) }, func(ad *campaign.ServingAd, row func(...any) error) error {
			return row(int64(ad.AdAccountID), ad.Currency, ad.TimeZone)
		}},
		{copyCampaignsSQL, func(ad *campaign.ServingAd) int64 { return int64(ad.CampaignID) }, func(ad *campaign.ServingAd, row func(...any) error) error {
			return row(int64(ad.CampaignID), int64(ad.AdAccountID), "Campaign", "ACTIVE", "AWARENESS")
		}},
		{copyAdGroupsSQL, func(ad *campaign.ServingAd) int64 { return int64(ad.AdGroupID) }, func(ad *campaign.ServingAd, row func(...any) error) error {
			return row(int64(ad.AdGroupID), int64(ad.AdAccountID), int64(ad.CampaignID), "Ad group", "ACTIVE", string(ad.BillableEvent),
				int64(ad.BidMicros), "DAILY", int64(budgetMicros), ad.PlacementGroup, string(ad.Targeting), orNull(ad.FrequencyCap),
				orNullTime(ad.StartTime), orNullTime(ad.EndTime))
		}},
		{copyKeywordsSQL, func(ad *campaign.ServingAd) int64 { return int64(ad.AdGroupID) }, func(ad *campaign.ServingAd, row func(...any) error) error {
			for _, k := range ad.Keywords {
				if err := row(int64(ad.AdAccountID), int64(ad.AdGroupID), string(k.MatchType), k.Value); err != nil {
					return err
				}
			}
			return nil
		}},
		{copyAdsSQL, func(ad *campaign.ServingAd) int64 { return int64(ad.AdID) }, func(ad *campaign.ServingAd, row func(...any) error) error {
			c := ad.Creative
			return row(int64(ad.AdID), int64(ad.AdAccountID), int64(ad.CampaignID), int64(ad.AdGroupID), "ACTIVE", c.Type, c.Title, c.Description,
				c.ImageURL, c.DestinationURL)
		}},
	}
}

func orNull(n int) any {
	if n == 0 {
		return nil
	}
	return n
}

func orNullTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}

// copyTo sends the rows of one table.
func copyTo(ctx context.Context, tx *sqlx.Tx, t table, ads []campaign.ServingAd) error {
	stmt, err := tx.PrepareContext(ctx, t.copySQL)
	if err != nil {
		return err
	}
	row := func(values ...any) error {
		_, err := stmt.ExecContext(ctx, values...)
		return err
	}
	for i := range ads {
		if i > 0 && t.key(&ads[i-1]) == t.key(&ads[i]) {
			continue
		}
		if err := t.rows(&ads[i], row); err != nil {
			return errors.Join(err, stmt.Close())
		}
	}
	_, err = stmt.ExecContext(ctx) // no values: the end
	return errors.Join(err, stmt.Close())
}

const changeSQL = `
WITH changed AS (
    UPDATE ad_groups SET bid_micros = greatest(10000, bid_micros * (0.9 + 0.2 * random()))::bigint, updated_at = now()
    WHERE id = ANY ($1) RETURNING id)
INSERT INTO outbox (entity, entity_id) SELECT 'AD_GROUP', id FROM changed`

// ChangeBids moves the bids of ad groups, given by number, by up to a tenth, with a row of the outbox for each as the API writes it.
func (m *Market) ChangeBids(ctx context.Context, groups []int) error {
	ids := make([]int64, len(groups))
	for i, g := range groups {
		ids[i] = int64(targetbench.FirstAdGroup) + int64(g)
	}
	if _, err := m.db.ExecContext(ctx, changeSQL, pq.Array(ids)); err != nil {
		return fmt.Errorf("change bids: %w", err)
	}
	return nil
}

const waitingSQL = `SELECT count(*) FROM outbox`

// Waiting is how many changes nobody has put into the index yet.
func (m *Market) Waiting(ctx context.Context) (n int, err error) {
	if err := m.db.GetContext(ctx, &n, waitingSQL); err != nil {
		return 0, fmt.Errorf("count outbox: %w", err)
	}
	return n, nil
}
