package main

import (
	"math"

	"gavel/campaign"
	"gavel/handlers"
	"gavel/internal/money"
	"gavel/ranking"
)

// bidFloor answers for one floor of all placements and countries, per 1,000 impressions: the bid per click is the least with which an ad
// of the highest click probability reaches it.
func bidFloor(perMille money.Micros) handlers.BidFloor {
	return func(billable campaign.BillableEvent, _ []string) money.Micros {
		if billable == campaign.BillImpression {
			return perMille
		}
		return max(1, money.Micros(math.Ceil(float64(perMille)/1000/ranking.MaxCTR)))
	}
}
