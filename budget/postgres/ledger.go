package postgres

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"

	"gavel/budget"
	"gavel/internal/money"
)

// ledger gathers what each account owes by a transaction, by currency; a refund makes it negative.
type ledger map[ledgerKey]money.Nanos

type ledgerKey struct {
	currency    string
	adAccountID int64
}

func (l ledger) charge(o owner, nanos money.Nanos) {
	if nanos != 0 {
		l[ledgerKey{o.currency, o.adAccountID}] += nanos
	}
}

// ledgerColumns are entries as columns for unnest.
type ledgerColumns struct {
	accounts, currencies []string
	debits, credits      []int64
}

// columns are the entries: each advertiser owes, revenue is earned, per currency.
func (l ledger) columns() (c ledgerColumns) {
	add := func(account, currency string, debit money.Nanos) {
		c.accounts, c.currencies = append(c.accounts, account), append(c.currencies, currency)
		c.debits, c.credits = append(c.debits, int64(max(0, debit))), append(c.credits, int64(max(0, -debit)))
	}
	earned := map[string]money.Nanos{}
	for key, nanos := range l {
		add("advertiser:"+strconv.FormatInt(key.adAccountID, 10), key.currency, nanos)
		earned[key.currency] += nanos
	}
	for currency, nanos := range earned {
		add("revenue", currency, -nanos)
	}
	return c
}

// rollups gathers what a batch adds to event_rollups.
type rollups map[rollupKey]*rollup

type rollupKey struct {
	adAccountID, day, hour, adID int64
	kind                         budget.Kind
}

type rollup struct {
	campaignID, adGroupID      int64
	events, billed, overBudget int64
	charge, overBudgetNanos    money.Nanos
}

func (r rollups) of(key rollupKey, o owner) *rollup {
	x := r[key]
	if x == nil {
		x = &rollup{campaignID: o.campaignID, adGroupID: o.adGroupID}
		r[key] = x
	}
	return x
}

func (r rollups) add(e *budget.Entry, o owner) {
	x := r.of(rollupKey{o.adAccountID, dayNumber(e.Day), hourNumber(e.AcceptedAt), int64(e.AdID), e.Kind}, o)
	x.events++
	x.charge += e.Charge
	switch e.Outcome {
	case budget.Billed:
		x.billed++
	case budget.OverBudget:
		x.overBudget++
		x.overBudgetNanos += e.Price
	}
}

// hourNumber counts hours from 1970-01-01 UTC, downwards too.
func hourNumber(t time.Time) int64 {
	const hour = 60 * 60
	s := t.Unix()
	if s < 0 {
		s -= hour - 1
	}
	return s / hour
}

// rollupColumns are rows as columns for unnest.
type rollupColumns struct {
	accounts, days, hours, ads, campaigns, groups, events, billed, overBudget, charges, overBudgetNanos []int64
	kinds                                                                                               []string
}

// columns are in the order of the key, in which all batches lock.
func (r rollups) columns() (c rollupColumns) {
	for _, k := range slices.SortedFunc(maps.Keys(r), compareRollups) {
		x := r[k]
		c.accounts, c.days, c.hours, c.ads, c.kinds = append(c.accounts, k.adAccountID), append(c.days, k.day), append(c.hours, k.hour), append(c.ads, k.adID), append(c.kinds, string(k.kind))
		c.campaigns, c.groups = append(c.campaigns, x.campaignID), append(c.groups, x.adGroupID)
		c.events, c.billed, c.overBudget = append(c.events, x.events), append(c.billed, x.billed), append(c.overBudget, x.overBudget)
		c.charges, c.overBudgetNanos = append(c.charges, int64(x.charge)), append(c.overBudgetNanos, int64(x.overBudgetNanos))
	}
	return c
}

func compareRollups(x, y rollupKey) int {
	return cmp.Or(cmp.Compare(x.adAccountID, y.adAccountID), cmp.Compare(x.day, y.day), cmp.Compare(x.hour, y.hour),
		cmp.Compare(x.adID, y.adID), cmp.Compare(x.kind, y.kind))
}
