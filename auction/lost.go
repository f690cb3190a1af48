package auction

import "slices"

// Reasons appends to dst, for each bidder, why it is not among placed, which is what Solve answered for p and bidders. It is 0 for the
// winners, and for those that are Out: the caller knows why. The first that holds is the reason:
//
//   - BelowFloor: it bids less than its floor.
//   - AdvertiserOnPage, CampaignOnPage: the page has as many ads of its ad account, or campaign, as it may.
//   - BelowOrganic: it is not worth more than what it would displace.
//   - CompetingCategory: it is worth more than an ad of the page or there is a place left, so only its category keeps it away.
//   - AdLoad: with every slot open to ads it would be on the page.
//   - LostToHigherBid: all ads of the page are worth more, or as much with a lower ad id.
func (s *Solver) Reasons(p *Page, bidders []Bidder, placed []Placed, dst []Reason) []Reason {
	first := len(dst)
	dst = slices.Grow(dst, len(bidders))[:first+len(bidders)]
	reasons := dst[first:]
	s.start(p, nil)
	places := s.places
	for i := range bidders {
		reasons[i] = reasonToLose(p, bidders, placed, i, places)
	}
	for _, w := range placed {
		reasons[w.Bidder] = Won
	}
	if places == min(len(p.Slots), MaxPageSlots) {
		return dst
	}
	open := *p
	open.MaxAds, open.MinGap = 0, 0
	s.start(&open, bidders)
	s.fill()
	for _, n := range s.placed {
		if r := &reasons[s.field[n].index]; *r == LostToHigherBid {
			*r = AdLoad
		}
	}
	s.page, s.bidders = nil, nil
	return dst
}

// reasonToLose is why bidder i is not on a page of so many places, with LostToHigherBid also for what AdLoad may explain.
func reasonToLose(p *Page, bidders []Bidder, placed []Placed, i, places int) Reason {
	b := &bidders[i]
	switch {
	case b.Out:
		return Won
	case b.Bid < b.Floor:
		return BelowFloor
	}
	value := b.Value()
	inAccount, inCampaign, better := 0, 0, len(placed) < places
	for _, w := range placed {
		o := &bidders[w.Bidder]
		if o.AdID == b.AdID {
			return AdvertiserOnPage // a second copy of the ad
		}
		if o.AdAccountID == b.AdAccountID {
			inAccount++
			if o.CampaignID == b.CampaignID {
				inCampaign++
			}
		}
		if v := o.Value(); value > v || value == v && b.AdID < o.AdID {
			better = true
		}
	}
	switch {
	case full(inAccount, p.MaxPerAccount):
		return AdvertiserOnPage
	case full(inCampaign, p.MaxPerCampaign):
		return CampaignOnPage
	case !(value > p.Organic):
		return BelowOrganic
	case better && p.SeparateCategories && places > 0:
		return CompetingCategory
	}
	return LostToHigherBid
}
