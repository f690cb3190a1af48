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

// BudgetScope names an entity that has budget lines: EntityAdAccount, EntityCampaign or EntityAdGroup, and its id.
type BudgetScope struct {
	Scope string
	ID    int64
}

// BudgetFilter narrows a list of budget lines to those that a charge counts against: of an ad group, which are six with those of
// its campaign and its account, or of a campaign, which are four. At most one is not 0; with none, the list has every line of
// the account, its campaigns and its ad groups.
type BudgetFilter struct {
	Campaign CampaignID
	AdGroup  AdGroupID
}

// BudgetState says whether more may be spent of a budget line.
type BudgetState string

// The states of a budget line.
const (
	// BudgetOpen: something is free, or there is no limit.
	BudgetOpen BudgetState = "OPEN"
	// BudgetExhausted: nothing is free. What is promised may still come back.
	BudgetExhausted BudgetState = "EXHAUSTED"
	// BudgetOverLimit: the limit was cut below what was posted and promised by then. Nothing more is promised, the promises are kept.
	BudgetOverLimit BudgetState = "OVER_LIMIT_AFTER_CUT"
)

// BudgetLine is a budget line in its present period.
type BudgetLine struct {
	ID          int64
	AdAccountID AdAccountID
	// Scope is EntityAdAccount, EntityCampaign or EntityAdGroup; ScopeID is the id of that entity.
	Scope   string
	ScopeID int64
	Kind    BudgetKind
	// Day is the account's local day that Posted and Escrow are of, as yyyymmdd; 0 for BudgetLifetime.
	Day int
	// Limited is false for a line that only counts; Limit is 0 then.
	Limited bool
	Limit   money.Nanos
	// Posted is what was billed, Escrow what is promised to users and not billed yet.
	Posted, Escrow money.Nanos
}

// Free is what may still be promised, never negative. It means nothing for a line without a limit.
func (l BudgetLine) Free() money.Nanos { return max(0, l.Limit-l.Posted-l.Escrow) }

// State says whether more may be spent.
func (l BudgetLine) State() BudgetState {
	switch held := l.Posted + l.Escrow; {
	case !l.Limited || held < l.Limit:
		return BudgetOpen
	case held == l.Limit:
		return BudgetExhausted
	}
	return BudgetOverLimit
}
