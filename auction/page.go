package auction

import (
	"gavel/campaign"
	"gavel/internal/money"
)

// Bidder is an ad as the core of an auction sees it: values only, so that the same bidders always give the same page.
type Bidder struct {
	AdID        campaign.AdID
	CampaignID  campaign.CampaignID
	AdAccountID campaign.AdAccountID
	// Category is the advertiser's, "" for none. See [Page].SeparateCategories.
	Category string
	// Bid is the effective bid per billable event in nanos, after all multipliers: the price is never above it.
	Bid money.Nanos
	// Rate is the probability of the billable event once the ad is seen, in (0, 1]: pCTR for a click, 1 for an impression.
	Rate float64
	// Relevance is what showing the ad is worth beside its bid, in nanos per impression; it may be negative.
	Relevance float64
	// Floor is the least price per billable event in nanos: that of the ad group, or that of the page divided by Rate.
	Floor money.Nanos
	// Out says that the ad may not win: it has left the auction before the page is made, and sets no price.
	Out bool
}

// Value is what one view of the ad is worth, in nanos: what bidders are ranked by.
func (b *Bidder) Value() float64 { return float64(float64(b.Bid)*b.Rate) + b.Relevance }

// Pricing is a rule by which winners pay.
type Pricing string

// The pricing rules.
const (
	// GSP is the generalised second price: each winner pays the least bid with which it would still be ranked above the next feasible
	// ad (Edelman, Ostrovsky, Schwarz 2007, section I).
	GSP Pricing = "GSP"
	// VCG makes each winner pay what its presence costs the others (Varian, Harris 2014).
	VCG Pricing = "VCG"
)

// PageSlot is one place of a page.
type PageSlot struct {
	// Position is its place on the page, counted in items from the top.
	Position int
	// Factor is how likely an ad here is seen and acted upon, relative to the first slot: in (0, 1], never rising along the page.
	Factor float64
}

// MaxPageSlots is the most slots that a page may have.
const MaxPageSlots = 20

// Page is what a page allows.
type Page struct {
	// Slots are in order of position, at most MaxPageSlots.
	Slots []PageSlot
	// MaxAds is the ad load: the most ads on the page; 0 = one per slot.
	MaxAds int
	// MinGap is the least number of items between two ads.
	MinGap int
	// MaxPerAccount and MaxPerCampaign are the most ads of one; 0 = no limit.
	MaxPerAccount, MaxPerCampaign int
	// SeparateCategories keeps two ads of one category from following each other, whatever stands between them.
	SeparateCategories bool
	// Organic is what the item that an ad displaces is worth, in nanos per impression: an ad must be worth more.
	Organic float64
	Pricing Pricing
}

// Placed is an ad on a page.
type Placed struct {
	// Slot and Bidder are indexes.
	Slot, Bidder int
	// Price is per billable event in nanos: Floor ≤ Price ≤ Bid.
	Price money.Nanos
	// PricedBy is the index of the bidder that is next, without whom the price would be lower (under VCG the most valuable one of
	// those); [ByFloor] or [ByOrganic] when there is none.
	PricedBy int
}

// What sets a price when no bidder does.
const (
	ByFloor   = -1
	ByOrganic = -2
)
