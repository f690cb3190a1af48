package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"gavel/budget"
	"gavel/internal/money"
)

// RefundOutcome is what became of one event that was to be refunded.
type RefundOutcome string

// The outcomes of a refund.
const (
	// Refunded: what the event was charged went back to every line that it counted against.
	Refunded RefundOutcome = "REFUNDED"
	// AlreadyRefunded: it was refunded before; nothing was changed.
	AlreadyRefunded RefundOutcome = "ALREADY_REFUNDED"
	// NothingToRefund: the event is recorded and was not charged.
	NothingToRefund RefundOutcome = "NOTHING_TO_REFUND"
	// UnknownEvent: no such event is recorded.
	UnknownEvent RefundOutcome = "UNKNOWN_EVENT"
)

// RefundItem says what became of one event.
type RefundItem struct {
	budget.EventID
	Outcome RefundOutcome
	// AdAccountID and Currency are whose money it was, zero for an unknown event; Amount is what this call gave back.
	AdAccountID int64
	Currency    string
	Amount      money.Nanos
}

// RefundOrder asks for refunds.
type RefundOrder struct {
	Events []budget.EventID
	// Reason is kept with each refund: 1 to 256 bytes.
	Reason string
	// DryRun finds out what would become of each event, and changes nothing.
	DryRun bool
}

// maxRefunds is how many events one transaction refunds.
const maxRefunds = 1000

var errDryRun = errors.New("dry run")

var refundQueries = []string{chargesSQL, refundedSQL, writeRefundsSQL}

const chargesSQL = `
SELECT n.i, e.lease_id, e.charge_nanos, e.ad_id, e.accepted_at
FROM unnest($1::int[], $2::uuid[], $3::text[]) WITH ORDINALITY AS n (day, impression_id, kind, i)
CROSS JOIN LATERAL (
    SELECT * FROM events e WHERE e.day = date '1970-01-01' + n.day AND e.impression_id = n.impression_id AND e.kind = n.kind LIMIT 1
) e`

const refundedSQL = `
SELECT n.i FROM unnest($1::int[], $2::uuid[], $3::text[]) WITH ORDINALITY AS n (day, impression_id, kind, i)
JOIN refunds r ON r.day = date '1970-01-01' + n.day AND r.impression_id = n.impression_id AND r.kind = n.kind`

// The periods are locked, and with them everything of their accounts that other transactions write.
const writeRefundsSQL = `
WITH p AS (
    UPDATE budget_periods p SET cap_nanos = CASE WHEN p.limit_nanos IS NULL THEN NULL ELSE n.cap END, posted_nanos = n.posted, escrow_nanos = n.escrow
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS n (id, cap, posted, escrow)
    WHERE p.id = n.id
), t AS (
    INSERT INTO ledger_transactions (kind) VALUES ('REFUND') RETURNING id
), le AS (
    INSERT INTO ledger_entries (transaction_id, account, currency, debit_nanos, credit_nanos)
    SELECT t.id, n.account, n.currency, n.debit, n.credit
    FROM t, unnest($5::text[], $6::text[], $7::bigint[], $8::bigint[]) AS n (account, currency, debit, credit)
), r AS (
    UPDATE event_rollups r SET refunds = r.refunds + n.refunds, refund_nanos = r.refund_nanos + n.nanos
    FROM unnest($9::bigint[], $10::int[], $11::bigint[], $12::bigint[], $13::text[], $14::bigint[], $15::bigint[])
        AS n (ad_account_id, day, hour, ad_id, kind, refunds, nanos)
    WHERE r.ad_account_id = n.ad_account_id AND r.day = date '1970-01-01' + n.day AND r.hour = timestamptz 'epoch' + n.hour * interval '1 hour'
      AND r.ad_id = n.ad_id AND r.kind = n.kind
)
INSERT INTO refunds (day, impression_id, kind, amount_nanos, reason, created_at)
SELECT date '1970-01-01' + n.day, n.impression_id, n.kind, n.amount, $16, now()
FROM unnest($17::int[], $18::uuid[], $19::text[], $20::bigint[]) AS n (day, impression_id, kind, amount)`

// Refund gives back what events were charged, a thousand in one transaction, and says what became of each, in their order.
// Doing it twice changes nothing. The budget that an event counted against may be granted again; the event stays recorded. On an
// error the items tell of those events that were done.
func (s *Store) Refund(ctx context.Context, order RefundOrder) ([]RefundItem, error) {
	if n := len(order.Reason); n < 1 || n > 256 {
		return nil, fmt.Errorf("refund: the reason has %d bytes, must have 1 to 256", n)
	}
	if err := s.prepare(ctx, lockQueries, refundQueries); err != nil {
		return nil, fmt.Errorf("refund: %w", err)
	}
	var items []RefundItem
	for events := range slices.Chunk(order.Events, maxRefunds) {
		r := refunding{store: s, events: events, reason: order.Reason}
		err := s.inTx(ctx, func(tx *sqlx.Tx) error {
			if err := r.run(ctx, tx); err != nil || !order.DryRun {
				return err
			}
			return errDryRun
		})
		if err != nil && !errors.Is(err, errDryRun) {
			return items, fmt.Errorf("refund: %w", err)
		}
		items = append(items, r.items...)
	}
	return items, nil
}

// refunding is the state of one transaction of refunds.
type refunding struct {
	store  *Store
	events []budget.EventID
	reason string
	items  []RefundItem
}

// charge is what an event was charged, and where it is found elsewhere.
type charge struct {
	lease  budget.LeaseID
	amount money.Nanos
	adID   int64
	at     time.Time
}

func (r *refunding) run(ctx context.Context, tx *sqlx.Tx) error {
	ids := newEventColumns(len(r.events))
	r.items = make([]RefundItem, len(r.events))
	for i, id := range r.events {
		ids.id(id)
		r.items[i] = RefundItem{EventID: id, Outcome: UnknownEvent}
	}
	charges, err := r.charges(ctx, tx, ids)
	if err != nil {
		return err
	}
	var leaseIDs []int64
	for _, c := range charges {
		leaseIDs = append(leaseIDs, int64(c.lease))
	}
	owners, err := r.store.owners(ctx, tx, unique(leaseIDs))
	if err != nil {
		return err
	}
	books, err := r.store.lock(ctx, tx, owners, nil, nil)
	if err != nil {
		return err
	}
	done, err := r.refunded(ctx, tx, ids)
	if err != nil {
		return err
	}
	w := refunds{ledger: ledger{}, rollups: map[rollupKey]*rollup{}}
	for i, id := range r.events {
		c, recorded := charges[i]
		if !recorded {
			continue
		}
		o := owners[c.lease]
		item := &r.items[i]
		item.AdAccountID, item.Currency = o.adAccountID, o.currency
		switch {
		case c.amount == 0:
			item.Outcome = NothingToRefund
		case done[id]:
			item.Outcome = AlreadyRefunded
		default:
			done[id] = true
			item.Outcome, item.Amount = Refunded, c.amount
			books.Refund(c.lease, c.amount)
			w.add(id, c, o)
		}
	}
	return w.write(ctx, tx, r, books)
}

// charges finds what events were charged, by their place in the batch. That never changes once it is recorded.
func (r *refunding) charges(ctx context.Context, tx *sqlx.Tx, ids *eventColumns) (map[int]charge, error) {
	charges := make(map[int]charge, len(r.events))
	err := r.store.each(ctx, tx, func(scan scan) error {
		var i int
		var c charge
		err := scan(&i, (*int64)(&c.lease), (*int64)(&c.amount), &c.adID, &c.at)
		charges[i-1] = c
		return err
	}, chargesSQL, pq.Array(ids.days), pq.Array(ids.impressions), pq.Array(ids.kinds))
	if err != nil {
		return nil, fmt.Errorf("find events: %w", err)
	}
	return charges, nil
}

// refunded finds what was refunded before. It runs after the locks: who refunds one of the events now holds the same lease, so by now it
// is visible.
func (r *refunding) refunded(ctx context.Context, tx *sqlx.Tx, ids *eventColumns) (map[budget.EventID]bool, error) {
	done := map[budget.EventID]bool{}
	err := r.store.each(ctx, tx, func(scan scan) error {
		var i int
		if err := scan(&i); err != nil {
			return err
		}
		done[r.events[i-1]] = true
		return nil
	}, refundedSQL, pq.Array(ids.days), pq.Array(ids.impressions), pq.Array(ids.kinds))
	if err != nil {
		return nil, fmt.Errorf("find earlier refunds: %w", err)
	}
	return done, nil
}

// refunds are those that one transaction makes.
type refunds struct {
	ids     eventColumns
	amounts []int64
	ledger  ledger
	rollups rollups
}

func (w *refunds) add(id budget.EventID, c charge, o owner) {
	w.ids.id(id)
	w.amounts = append(w.amounts, int64(c.amount))
	w.ledger.charge(o, -c.amount)
	x := w.rollups.of(rollupKey{o.adAccountID, dayNumber(id.Day), hourNumber(c.at), c.adID, id.Kind}, o)
	x.events++
	x.charge += c.amount
}

func (w *refunds) write(ctx context.Context, tx *sqlx.Tx, r *refunding, books *books) error {
	if len(w.amounts) == 0 {
		return nil
	}
	p, t, u := books.changedPeriods(), w.ledger.columns(), w.rollups.columns()
	_, err := r.store.exec(ctx, tx, writeRefundsSQL, pq.Array(p.ids), pq.Array(p.caps), pq.Array(p.posted), pq.Array(p.escrow),
		pq.Array(t.accounts), pq.Array(t.currencies), pq.Array(t.debits), pq.Array(t.credits),
		pq.Array(u.accounts), pq.Array(u.days), pq.Array(u.hours), pq.Array(u.ads), pq.Array(u.kinds), pq.Array(u.events), pq.Array(u.charges),
		r.reason, pq.Array(w.ids.days), pq.Array(w.ids.impressions), pq.Array(w.ids.kinds), pq.Array(w.amounts))
	if err != nil {
		return fmt.Errorf("write refunds: %w", err)
	}
	return nil
}

// Charges selects charged events.
type Charges struct {
	AdAccountID int64
	// AdID restricts the selection to one ad; 0 means all.
	AdID int64
	// From and To bound when the events were accepted: From ≤ t < To.
	From, To time.Time
}

const daysOfChargesSQL = `
SELECT DISTINCT day FROM event_rollups
WHERE ad_account_id = $1 AND ($2::bigint = 0 OR ad_id = $2) AND hour >= date_trunc('hour', $3::timestamptz, 'UTC') AND hour < $4 AND charge_nanos > 0 ORDER BY day`

const chargesOfDaySQL = `
SELECT impression_id, kind FROM events
WHERE day = $1 AND (impression_id, kind) > ($2, $3) AND ad_account_id = $4 AND ($5::bigint = 0 OR ad_id = $5)
  AND accepted_at >= $6 AND accepted_at < $7 AND charge_nanos > 0
ORDER BY impression_id, kind LIMIT $8`

// EachCharge hands the charged events of a selection to f, refunded or not, at most a thousand at once.
func (s *Store) EachCharge(ctx context.Context, c Charges, f func([]budget.EventID) error) error {
	var days []time.Time
	if err := s.db.SelectContext(ctx, &days, daysOfChargesSQL, c.AdAccountID, c.AdID, c.From, c.To); err != nil {
		return fmt.Errorf("find days with charges: %w", err)
	}
	for _, day := range days {
		y, m, d := day.Date()
		last := budget.EventID{Day: y*10000 + int(m)*100 + d}
		for {
			var rows []struct {
				ImpressionID uuid.UUID `db:"impression_id"`
				Kind         string    `db:"kind"`
			}
			err := s.db.SelectContext(ctx, &rows, chargesOfDaySQL, day.Format(time.DateOnly), last.ImpressionID, string(last.Kind), c.AdAccountID, c.AdID, c.From, c.To, maxRefunds)
			if err != nil {
				return fmt.Errorf("find charges: %w", err)
			}
			var ids []budget.EventID
			for _, r := range rows {
				last.ImpressionID, last.Kind = r.ImpressionID, budget.Kind(r.Kind)
				ids = append(ids, last)
			}
			if len(ids) > 0 {
				if err := f(ids); err != nil {
					return err
				}
			}
			if len(ids) < maxRefunds {
				break
			}
		}
	}
	return nil
}
