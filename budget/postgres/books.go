package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"gavel/budget"
	"gavel/internal/money"
)

// What never changes of a lease: it may be read before the locks.
const leaseOwnersSQL = `
SELECT id, period_ids, ad_account_id, campaign_id, ad_group_id, currency FROM leases WHERE id = ANY ($1)`

// The gate: who is about to lock the books of an account waits here, not at the rows. A statement that has waited at one row finds all
// the others changed since it began, and Postgres then runs it again for each; behind the gate the next statement sees them as
// they are. It is for speed alone, the locks on the rows are what the protocol rests on. A few slots do for all accounts,
// because a batch may be of thousands of them, and the server's memory for locks is bounded.
//
// Behind the gate only strangers hold rows: a change of a limit, for a moment. Who meets one that holds a row for longer gives up and
// comes back, so that the accounts that share the gate do not wait for that row too.
const gateSQL = `
SELECT set_config('lock_timeout', '500ms', true) FROM (
    SELECT count(pg_advisory_xact_lock(1732, slot)) FROM (
        SELECT DISTINCT (id % 64)::int AS slot FROM unnest($1::bigint[]) AS a (id) ORDER BY slot
    ) s
) passed`

const lockPeriodsSQL = `
SELECT id, limit_nanos, cap_nanos, posted_nanos, escrow_nanos FROM budget_periods WHERE id = ANY ($1) ORDER BY id FOR UPDATE`

const lockLeasesSQL = `
SELECT id, amount_nanos, posted_nanos, max_exp, state = 'OPEN' AS open FROM leases WHERE id = ANY ($1) ORDER BY id FOR UPDATE`

const savePeriodsSQL = `
UPDATE budget_periods p SET cap_nanos = CASE WHEN p.limit_nanos IS NULL THEN NULL ELSE n.cap END, posted_nanos = n.posted, escrow_nanos = n.escrow
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS n (id, cap, posted, escrow)
WHERE p.id = n.id`

const saveLeasesSQL = `
UPDATE leases l SET amount_nanos = n.amount, posted_nanos = n.posted, max_exp = timestamptz 'epoch' + n.max_exp * interval '1 microsecond',
    state = CASE WHEN n.open THEN 'OPEN' ELSE 'CLOSED' END,
    closed_at = CASE WHEN n.open THEN NULL ELSE coalesce(l.closed_at, now()) END
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::boolean[]) AS n (id, amount, posted, max_exp, open)
WHERE l.id = n.id`

// owner is whom a lease belongs to, and the periods that it draws on.
type owner struct {
	adAccountID, campaignID, adGroupID int64
	currency                           string
	periodIDs                          []int64
}

// books are locked rows as values, and how they were found, so that only what was changed is written back.
type books struct {
	budget.Books
	periods map[int64]budget.Period
	leases  map[budget.LeaseID]budget.Lease
}

// lockQueries and saveQueries are what [Store.owners], [Store.lock] and [Store.save] run.
var (
	lockQueries = []string{leaseOwnersSQL, gateSQL, lockPeriodsSQL, lockLeasesSQL}
	saveQueries = []string{savePeriodsSQL, saveLeasesSQL}
)

// owners finds whom leases belong to. A lease that does not exist is not among them.
func (s *Store) owners(ctx context.Context, tx *sqlx.Tx, leaseIDs []int64) (map[budget.LeaseID]owner, error) {
	owners := make(map[budget.LeaseID]owner, len(leaseIDs))
	if len(leaseIDs) == 0 {
		return owners, nil
	}
	err := s.each(ctx, tx, func(scan scan) error {
		var id budget.LeaseID
		var o owner
		err := scan((*int64)(&id), (*pq.Int64Array)(&o.periodIDs), &o.adAccountID, &o.campaignID, &o.adGroupID, &o.currency)
		owners[id] = o
		return err
	}, leaseOwnersSQL, pq.Array(leaseIDs))
	if err != nil {
		return nil, fmt.Errorf("find owners of leases: %w", err)
	}
	return owners, nil
}

// lockLeases locks and loads leases and every period they draw on.
func (s *Store) lockLeases(ctx context.Context, tx *sqlx.Tx, leaseIDs []int64) (*books, error) {
	owners, err := s.owners(ctx, tx, leaseIDs)
	if err != nil {
		return nil, err
	}
	return s.lock(ctx, tx, owners, nil, nil)
}

// lock locks and loads the leases and every period they draw on, and the given periods of the given accounts: periods first, each in
// the order of their ids.
func (s *Store) lock(ctx context.Context, tx *sqlx.Tx, leases map[budget.LeaseID]owner, accountIDs, periodIDs []int64) (*books, error) {
	b := &books{
		Books:   budget.Books{Periods: map[int64]*budget.Period{}, Leases: make(map[budget.LeaseID]*budget.Lease, len(leases))},
		periods: map[int64]budget.Period{}, leases: make(map[budget.LeaseID]budget.Lease, len(leases)),
	}
	leaseIDs := make([]int64, 0, len(leases))
	for id, o := range leases {
		leaseIDs, accountIDs, periodIDs = append(leaseIDs, int64(id)), append(accountIDs, o.adAccountID), append(periodIDs, o.periodIDs...)
	}
	accountIDs, periodIDs = unique(accountIDs), unique(periodIDs)
	if _, err := s.exec(ctx, tx, gateSQL, pq.Array(accountIDs)); err != nil {
		return nil, fmt.Errorf("wait for accounts: %w", err)
	}
	err := s.each(ctx, tx, func(scan scan) error {
		var p budget.Period
		var limit, ceiling sql.Null[int64]
		err := scan(&p.ID, &limit, &ceiling, (*int64)(&p.Posted), (*int64)(&p.Escrow))
		p.Limited, p.Limit, p.Cap = limit.Valid, money.Nanos(limit.V), money.Nanos(ceiling.V)
		b.Periods[p.ID], b.periods[p.ID] = &p, p
		return err
	}, lockPeriodsSQL, pq.Array(periodIDs))
	if err != nil {
		return nil, fmt.Errorf("lock budget periods: %w", err)
	}
	if len(leaseIDs) == 0 {
		return b, nil
	}
	err = s.each(ctx, tx, func(scan scan) error {
		var l budget.Lease
		err := scan((*int64)(&l.ID), (*int64)(&l.Amount), (*int64)(&l.Posted), &l.MaxExp, &l.Open)
		l.PeriodIDs = leases[l.ID].periodIDs
		b.Leases[l.ID], b.leases[l.ID] = &l, l
		return err
	}, lockLeasesSQL, pq.Array(leaseIDs))
	if err != nil {
		return nil, fmt.Errorf("lock leases: %w", err)
	}
	return b, nil
}

func unique(ids []int64) []int64 {
	slices.Sort(ids)
	return slices.Compact(ids)
}

// periodColumns and leaseColumns are rows to update, as columns for unnest.
type (
	periodColumns struct{ ids, caps, posted, escrow []int64 }
	leaseColumns  struct {
		ids, amounts, posted, maxExps []int64
		open                          []bool
	}
)

func (b *books) changedPeriods() (c periodColumns) {
	for id, p := range b.Periods {
		if old := b.periods[id]; p.Cap != old.Cap || p.Posted != old.Posted || p.Escrow != old.Escrow {
			c.ids, c.caps = append(c.ids, id), append(c.caps, int64(p.Cap))
			c.posted, c.escrow = append(c.posted, int64(p.Posted)), append(c.escrow, int64(p.Escrow))
		}
	}
	return c
}

func (b *books) changedLeases() (c leaseColumns) {
	for id, l := range b.Leases {
		if old := b.leases[id]; l.Amount != old.Amount || l.Posted != old.Posted || l.Open != old.Open || !l.MaxExp.Equal(old.MaxExp) {
			c.ids, c.amounts, c.posted = append(c.ids, int64(id)), append(c.amounts, int64(l.Amount)), append(c.posted, int64(l.Posted))
			c.maxExps, c.open = append(c.maxExps, l.MaxExp.UnixMicro()), append(c.open, l.Open)
		}
	}
	return c
}

// save writes back what was changed.
func (s *Store) save(ctx context.Context, tx *sqlx.Tx, b *books) error {
	if p := b.changedPeriods(); len(p.ids) > 0 {
		if _, err := s.exec(ctx, tx, savePeriodsSQL, pq.Array(p.ids), pq.Array(p.caps), pq.Array(p.posted), pq.Array(p.escrow)); err != nil {
			return fmt.Errorf("save budget periods: %w", err)
		}
	}
	if l := b.changedLeases(); len(l.ids) > 0 {
		if _, err := s.exec(ctx, tx, saveLeasesSQL, pq.Array(l.ids), pq.Array(l.amounts), pq.Array(l.posted), pq.Array(l.maxExps), pq.Array(l.open)); err != nil {
			return fmt.Errorf("save leases: %w", err)
		}
	}
	return nil
}
