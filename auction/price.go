package auction

import (
	"gavel/campaign"
	"gavel/internal/money"
	"gavel/targeting"
)

// bidNanos is the ad's bid per billable event.
func bidNanos(ad *targeting.Ad) money.Nanos {
	if ad.BillableEvent == campaign.BillClickthrough {
		n, err := ad.BidMicros.Nanos()
		if err != nil {
			return 0 // the API refuses such bids; one that came in another way never wins
		}
		return n
	}
	return ad.BidMicros.PerImpression()
}

// scoreOf is the ad's value per impression in nanos.
func scoreOf(ad *targeting.Ad, pctr float64) float64 {
	if ad.BillableEvent == campaign.BillClickthrough {
		return float64(bidNanos(ad)) * pctr
	}
	return float64(bidNanos(ad))
}

// priceOf is the least bid, per billable event, with which a candidate keeps its slot: max(floor, next) per impression,
// divided by pCTR for a click, rounded up and never above the bid.
func priceOf(c *candidate, next *candidate, floor money.Nanos) (price money.Nanos, pricedBy campaign.AdID) {
	critical := float64(floor)
	if next != nil && next.score > critical {
		critical, pricedBy = next.score, next.ad.AdID
	}
	if c.ad.BillableEvent == campaign.BillClickthrough {
		critical /= c.pctr
	}
	return min(money.CeilScore(critical), bidNanos(c.ad)), pricedBy
}
