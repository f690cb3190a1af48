package campaign

import "gavel/internal/money"

// BudgetKind is the period that a budget line counts.
type BudgetKind string

// The two lines that every ad account, campaign and ad group has.
const (
	BudgetDaily    BudgetKind = "DAILY"
	BudgetLifetime BudgetKind = "LIFETIME"
)

// Budget is one budget line: what an entity may spend per day of its account, or ever.
type Budget struct {
	AdAccountID AdAccountID
	// Scope is EntityAdAccount, EntityCampaign or EntityAdGroup; ScopeID is the id of that entity.
	Scope   string
	ScopeID int64
	Kind    BudgetKind
	// LimitMicros is 0 for a line that counts and does not stop.
	LimitMicros money.Micros
}

// changedBudgets are the lines of after whose limit differs from that in before; both list the same lines in the same order.
func changedBudgets(before, after []Budget) []Budget {
	var changed []Budget
	for i := range after {
		if before[i].LimitMicros != after[i].LimitMicros {
			changed = append(changed, after[i])
		}
	}
	return changed
}

// budgets are the two lines of an account; an account has no limit of its own.
func (a AdAccount) budgets() []Budget {
	return []Budget{
		{AdAccountID: a.ID, Scope: EntityAdAccount, ScopeID: int64(a.ID), Kind: BudgetDaily},
		{AdAccountID: a.ID, Scope: EntityAdAccount, ScopeID: int64(a.ID), Kind: BudgetLifetime},
	}
}
