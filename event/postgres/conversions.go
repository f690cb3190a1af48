package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"gavel/budget"
	"gavel/campaign"
	"gavel/event"
)

// Conversions is the store of conversions. It is safe for concurrent use.
type Conversions struct{ db *sqlx.DB }

var _ event.ConversionStore = (*Conversions)(nil)

// NewConversions returns a store on db.
func NewConversions(db *sqlx.DB) *Conversions { return &Conversions{db: db} }

// skew is how far an event may come after a conversion that it is credited with: their clocks are not one, and a conversion's has
// whole seconds.
const skew = time.Minute

// Clicks by their ids. The day of a click is that of its account, so it is within one of the day (UTC) on which the ad was served, which the id
// says. That the click is the account's own is asked: nobody is credited with what was paid by others.
const byClickIDSQL = `
SELECT n.i, e.kind, e.day, e.impression_id, e.campaign_id, e.ad_group_id, e.ad_id
FROM unnest($2::bigint[], $3::uuid[], $4::bigint[], $5::bigint[]) AS n (i, id, day, at) CROSS JOIN generate_series(-1, 1) AS o (days)
JOIN events e ON e.day = date '1970-01-01' + n.day::int + o.days AND e.impression_id = n.id AND e.kind = 'CLICK'
WHERE e.ad_account_id = $1 AND e.outcome <> 'INVALID'
  AND e.accepted_at BETWEEN timestamptz 'epoch' + (n.at - $6::bigint) * interval '1 microsecond' AND timestamptz 'epoch' + (n.at + $7::bigint) * interval '1 microsecond'`

// The last click of a user within one time, else the last view within another.
const byUserSQL = `
SELECT DISTINCT ON (n.i) n.i, e.kind, e.day, e.impression_id, e.campaign_id, e.ad_group_id, e.ad_id
FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS n (i, user_hash, at) CROSS JOIN LATERAL (
    SELECT kind, day, impression_id, campaign_id, ad_group_id, ad_id, accepted_at FROM events
    WHERE user_hash = n.user_hash AND ad_account_id = $1 AND kind IN ('VIEWABLE', 'CLICK') AND outcome <> 'INVALID'
      AND accepted_at >= timestamptz 'epoch' + (n.at - greatest($5::bigint, $6::bigint)) * interval '1 microsecond'
      AND accepted_at <= timestamptz 'epoch' + (n.at + $7::bigint) * interval '1 microsecond'
      AND (kind = 'CLICK' AND accepted_at >= timestamptz 'epoch' + (n.at - $5::bigint) * interval '1 microsecond'
        OR kind = 'VIEWABLE' AND accepted_at >= timestamptz 'epoch' + (n.at - $6::bigint) * interval '1 microsecond')
      AND day >= (timestamptz 'epoch' + (n.at - greatest($5::bigint, $6::bigint)) * interval '1 microsecond')::date - 2
      AND day <= (timestamptz 'epoch' + n.at * interval '1 microsecond')::date + 2
    ORDER BY kind = 'CLICK' DESC, accepted_at DESC, impression_id LIMIT 1
) AS e ORDER BY n.i, e.kind = 'CLICK' DESC, e.accepted_at DESC, e.impression_id`

const insertSQL = `
INSERT INTO conversions (ad_account_id, event_id, event_name, action_source, event_time, value_micros, currency, num_items, goal,
    kind, matched_by, day, impression_id, campaign_id, ad_group_id, ad_id)
SELECT a.id, n.event_id, n.event_name, n.action_source, timestamptz 'epoch' + n.at * interval '1 microsecond', n.value,
    CASE WHEN n.value IS NOT NULL THEN coalesce(nullif(n.currency, ''), a.currency) END, n.num_items, n.goal,
    nullif(n.kind, ''), nullif(n.matched_by, ''), n.day, n.impression_id, n.campaign_id, n.ad_group_id, n.ad_id
FROM ad_accounts a CROSS JOIN unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::bigint[], $9::bool[],
    $10::text[], $11::text[], $12::date[], $13::uuid[], $14::bigint[], $15::bigint[], $16::bigint[])
    AS n (event_id, event_name, action_source, at, value, currency, num_items, goal, kind, matched_by, day, impression_id, campaign_id, ad_group_id, ad_id)
WHERE a.id = $1
ON CONFLICT DO NOTHING RETURNING event_id, event_name`

// credit is what a conversion is attributed to.
type credit struct {
	kind, by            string
	day                 time.Time
	impression          string
	campaign, group, ad int64
}

// Record attributes and keeps conversions of an ad account, all or none, and returns one receipt for each, in their order. One whose
// identity is recorded already is a duplicate; of two in one call the first counts.
func (s *Conversions) Record(ctx context.Context, account campaign.AdAccountID, list []event.Conversion) ([]event.Receipt, error) {
	credits, err := s.credits(ctx, account, list)
	if err != nil {
		return nil, fmt.Errorf("attribute conversions: %w", err)
	}
	added, err := s.insert(ctx, account, list, credits)
	if err != nil {
		return nil, fmt.Errorf("record conversions: %w", err)
	}
	receipts := make([]event.Receipt, len(list))
	for i := range list {
		id := identity{list[i].EventID, list[i].Name}
		if !added[id] {
			receipts[i].Duplicate = true
			continue
		}
		delete(added, id)
		if c := credits[i]; c != nil {
			receipts[i].CreditedTo = budget.Kind(c.kind)
		}
	}
	return receipts, nil
}

func (s *Conversions) credits(ctx context.Context, account campaign.AdAccountID, list []event.Conversion) ([]*credit, error) {
	credits := make([]*credit, len(list))
	var at, days, clicks []int64
	var ids []string
	for i := range list {
		if c := &list[i]; !c.OptOut && c.ClickID != [16]byte{} {
			clicks, ids, at = append(clicks, int64(i)), append(ids, c.ClickID.String()), append(at, c.At.UnixMicro())
			days = append(days, event.ServedAt(c.ClickID).Unix()/(24*60*60))
		}
	}
	const click, view = event.ClickLookback, event.ViewLookback
	err := s.find(ctx, credits, "CLICK_ID", len(clicks), byClickIDSQL,
		int64(account), pq.Array(clicks), pq.Array(ids), pq.Array(days), pq.Array(at), click.Microseconds(), skew.Microseconds())
	if err != nil {
		return nil, err
	}
	var which, users []int64
	at = at[:0]
	for i := range list {
		if credits[i] != nil || list[i].OptOut {
			continue
		}
		for _, u := range list[i].UserHashes {
			which, users, at = append(which, int64(i)), append(users, u), append(at, list[i].At.UnixMicro())
		}
	}
	return credits, s.find(ctx, credits, "EXTERNAL_ID", len(which), byUserSQL,
		int64(account), pq.Array(which), pq.Array(users), pq.Array(at), click.Microseconds(), view.Microseconds(), skew.Microseconds())
}

// find fills in the credits that a query finds.
func (s *Conversions) find(ctx context.Context, credits []*credit, by string, n int, query string, args ...any) (err error) {
	if n == 0 {
		return nil
	}
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		c, i := credit{by: by}, 0
		if err := rows.Scan(&i, &c.kind, &c.day, &c.impression, &c.campaign, &c.group, &c.ad); err != nil {
			return err
		}
		credits[i] = &c
	}
	return rows.Err()
}

// identity is that of a conversion within its account.
type identity struct{ eventID, name string }

func (s *Conversions) insert(ctx context.Context, account campaign.AdAccountID, list []event.Conversion, credits []*credit) (added map[identity]bool, err error) {
	// In the order of the key: two calls with the same conversions must not wait for each other. Of two with one identity the first stays
	// the first.
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		return cmp.Or(cmp.Compare(list[i].EventID, list[j].EventID), cmp.Compare(list[i].Name, list[j].Name))
	})
	var c columns
	for _, i := range order {
		c.add(&list[i], credits[i])
	}
	rows, err := s.db.QueryContext(ctx, insertSQL, c.args(account)...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	added = make(map[identity]bool, len(list))
	for rows.Next() {
		var id identity
		if err := rows.Scan(&id.eventID, &id.name); err != nil {
			return nil, err
		}
		added[id] = true
	}
	return added, rows.Err()
}

// columns are conversions as columns for unnest.
type columns struct {
	ids, names, sources, currencies, kinds, matched []string
	at                                              []int64
	goals                                           []bool
	values, items, campaigns, groups, ads           []*int64
	days                                            []*time.Time
	impressions                                     []*string
}

func (c *columns) add(v *event.Conversion, to *credit) {
	c.ids, c.names, c.sources = append(c.ids, v.EventID), append(c.names, v.Name), append(c.sources, v.Source)
	c.at, c.currencies, c.goals = append(c.at, v.At.UnixMicro()), append(c.currencies, v.Currency), append(c.goals, v.Goal())
	c.values, c.items = append(c.values, (*int64)(v.Value)), append(c.items, v.NumItems)
	if to == nil {
		c.kinds, c.matched = append(c.kinds, ""), append(c.matched, "")
		c.days, c.impressions = append(c.days, nil), append(c.impressions, nil)
		c.campaigns, c.groups, c.ads = append(c.campaigns, nil), append(c.groups, nil), append(c.ads, nil)
		return
	}
	c.kinds, c.matched = append(c.kinds, to.kind), append(c.matched, to.by)
	c.days, c.impressions = append(c.days, &to.day), append(c.impressions, &to.impression)
	c.campaigns, c.groups, c.ads = append(c.campaigns, &to.campaign), append(c.groups, &to.group), append(c.ads, &to.ad)
}

func (c *columns) args(account campaign.AdAccountID) []any {
	return []any{
		int64(account), pq.Array(c.ids), pq.Array(c.names), pq.Array(c.sources), pq.Array(c.at), pq.Array(c.values), pq.Array(c.currencies), pq.Array(c.items),
		pq.Array(c.goals), pq.Array(c.kinds), pq.Array(c.matched), pq.Array(c.days), pq.Array(c.impressions), pq.Array(c.campaigns), pq.Array(c.groups), pq.Array(c.ads),
	}
}
