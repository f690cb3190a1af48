package pacing

import (
	"maps"

	"gavel/campaign"
)

// Table has the multipliers that a node knows. It is immutable; nil is the empty one.
type Table struct {
	multipliers map[campaign.AdGroupID]float64
}

// Of is the multiplier of an ad group with a strategy, within the limits of that: 1 for MAX_BID, and where the strategy begins for
// an ad group that is not in the table. See campaign.BidStrategy.Multiplier.
func (t *Table) Of(id campaign.AdGroupID, s campaign.BidStrategy) float64 {
	if t == nil || s == campaign.MaxBid {
		return s.Multiplier(0)
	}
	return s.Multiplier(t.multipliers[id])
}

// With is the table with these multipliers in the place of those that it has of the same ad groups.
func (t *Table) With(changed map[campaign.AdGroupID]float64) *Table {
	all := make(map[campaign.AdGroupID]float64, len(changed))
	if t != nil {
		maps.Copy(all, t.multipliers)
	}
	maps.Copy(all, changed)
	return &Table{all}
}

// Len is how many ad groups the table has.
func (t *Table) Len() int {
	if t == nil {
		return 0
	}
	return len(t.multipliers)
}
