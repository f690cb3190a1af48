package handlers

import (
	"strconv"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"gavel/auction"
	"gavel/campaign"
	"gavel/event"
)

// appendAnswer writes the answer by hand: this is the one place where an encoder's reflection would be felt.
func (s *AdServer) appendAnswer(dst []byte, c *fiber.Ctx, in *adRequest, d *auction.Decision) []byte {
	dst = append(dst, `{"request_id":`...)
	dst = appendJSONString(dst, in.RequestID)
	dst = append(dst, `,"auction_id":"`...)
	dst = append(dst, d.AuctionID.String()...)
	dst = append(dst, `","ads":[`...)
	base := s.PublicURL
	if base == "" {
		base = c.BaseURL()
	}
	for i := range d.Awards {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = s.appendAd(dst, base, in, d, &d.Awards[i])
	}
	dst = append(dst, `],"no_fill":[`...)
	for i, n := range d.NoFill {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"slot_id":`...)
		dst = appendJSONString(dst, n.SlotID)
		dst = append(dst, `,"reason":"`...)
		dst = append(dst, n.Reason...)
		dst = append(dst, `"}`...)
	}
	dst = append(dst, ']')
	if in.Explain {
		dst = appendExplanation(dst, d)
	}
	return append(dst, '}')
}

func (s *AdServer) appendAd(dst []byte, base string, in *adRequest, d *auction.Decision, w *auction.Award) []byte {
	dst = append(dst, `{"slot_id":`...)
	dst = appendJSONString(dst, w.Slot.ID)
	dst = appendID(dst, `,"ad_id":"`, int64(w.Ad.AdID))
	dst = appendID(dst, `","ad_group_id":"`, int64(w.Ad.AdGroupID))
	dst = appendID(dst, `","campaign_id":"`, int64(w.Ad.CampaignID))
	dst = appendID(dst, `","ad_account_id":"`, int64(w.Ad.AdAccountID))
	creative := w.Ad.Creative()
	dst = append(dst, `","creative":{"type":`...)
	dst = appendJSONString(dst, creative.Type)
	dst = append(dst, `,"title":`...)
	dst = appendJSONString(dst, creative.Title)
	dst = append(dst, `,"description":`...)
	dst = appendJSONString(dst, creative.Description)
	dst = append(dst, `,"image_url":`...)
	dst = appendJSONString(dst, creative.ImageURL)
	dst = append(dst, `,"destination_url":`...)
	dst = appendJSONString(dst, creative.DestinationURL)
	dst = append(dst, '}')
	t := s.token(in, d, w)
	billable := event.Impression
	if w.Ad.BillableEvent == campaign.BillClickthrough {
		billable = event.Click
	}
	dst = s.appendEventURL(dst, `,"impression_url":"`, base+"/v1/e/", t, event.Impression, billable)
	dst = s.appendEventURL(dst, `,"viewable_url":"`, base+"/v1/e/", t, event.Viewable, billable)
	dst = s.appendEventURL(dst, `,"click_url":"`, base+"/v1/c/", t, event.Click, billable)
	return append(dst, '}')
}

// token is what the events of an award have in common. The day is the one of the reservation: whatever time the event
// comes at, it is charged to the day on which the ad was served (invariant I11).
func (s *AdServer) token(in *adRequest, d *auction.Decision, w *auction.Award) *event.Token {
	t := &event.Token{
		LeaseID: w.Reservation.LeaseID, AdID: w.Ad.AdID, AdGroupID: w.Ad.AdGroupID, Price: w.Price,
		Exp: w.Reservation.Expires(d.At, s.EventTTL), Served: w.Served,
	}
	t.Day, t.ImpressionID = w.Reservation.Key.Day, event.NewImpressionID(d.At)
	if in.User.ID != "" {
		t.UserHash = campaign.UserHash(in.User.ID)
	}
	return t
}

// appendEventURL seals the token for one kind of event. Only the kind that the ad pays for carries a price, and only an impression
// what the model saw: the other kinds are found by its id.
func (s *AdServer) appendEventURL(dst []byte, name, path string, t *event.Token, kind, billable event.Kind) []byte {
	sealed := *t
	sealed.Kind = kind
	if kind != billable {
		sealed.Price = 0
	}
	if kind != event.Impression {
		sealed.Served = event.Served{}
	}
	dst = append(dst, name...)
	dst = append(dst, path...)
	dst = s.Keys.Seal(dst, &sealed)
	return append(dst, '"')
}

func appendID(dst []byte, name string, id int64) []byte {
	dst = append(dst, name...)
	return strconv.AppendInt(dst, id, 10)
}

func appendExplanation(dst []byte, d *auction.Decision) []byte {
	considered, left := d.Considered(), d.Unexplained
	if extra := len(considered) - auction.MaxExplained; extra > 0 {
		considered, left = considered[:auction.MaxExplained], left+extra
	}
	dst = append(dst, `,"explain":{"model":`...)
	model, rules := "", ""
	if d.Scene != nil {
		model, rules = d.Scene.ModelVersion, d.Scene.RulesVersion
	}
	dst = appendJSONString(dst, model)
	dst = append(dst, `,"rules":`...)
	dst = appendJSONString(dst, rules)
	dst = append(dst, `,"user_known":`...)
	dst = strconv.AppendBool(dst, d.UserErr == nil)
	dst = append(dst, `,"not_listed":`...)
	dst = strconv.AppendInt(dst, int64(left), 10)
	dst = append(dst, `,"considered":[`...)
	for i := range considered {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendConsidered(dst, &considered[i])
	}
	for i, m := range d.Unmatched {
		if i+len(considered) > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendReason(appendNamedAd(dst, m.Ad), m.Reason), '}')
	}
	return append(dst, `]}`...)
}

// appendConsidered writes what a candidate brought to the auction and what became of it. What is worked out of the bid is missing for
// an ad that did not come so far.
func appendConsidered(dst []byte, c *auction.Considered) []byte {
	dst = appendNamedAd(dst, c.Ad)
	dst = append(dst, `,"bid_strategy":"`...)
	dst = append(dst, c.Strategy...)
	dst = appendID(dst, `","pace_ppm":`, c.PacePPM)
	dst = appendID(dst, `,"effective_bid_nanos":`, int64(c.Fate.Bid))
	dst = appendID(dst, `,"floor_nanos":`, int64(c.Fate.Floor))
	dst = appendScore(dst, `,"pctr":`, c.PCTR)
	if c.CPAGoal > 0 {
		dst = appendScore(dst, `,"pcvr":`, c.PCVR)
	}
	dst = appendScore(dst, `,"relevance_nanos":`, c.Relevance)
	dst = appendScore(dst, `,"value_nanos":`, c.Value())
	if c.Reason == auction.Won {
		dst = appendID(dst, `,"price_nanos":`, int64(c.Price))
		dst = append(dst, `,"price":"`...)
		dst = append(dst, c.Price.String()...)
		dst = append(dst, '"')
		if c.PricedBy != 0 {
			dst = appendID(dst, `,"priced_by_ad_id":"`, int64(c.PricedBy))
			dst = append(dst, '"')
		}
	}
	dst = appendReason(dst, c.Reason)
	if c.BlockedBy != "" {
		dst = append(dst, `,"budget_line":`...)
		dst = appendJSONString(dst, c.BlockedBy)
	}
	return append(dst, '}')
}

func appendNamedAd(dst []byte, ad *auction.Ad) []byte {
	dst = appendID(dst, `{"ad_id":"`, int64(ad.AdID))
	dst = appendID(dst, `","ad_group_id":"`, int64(ad.AdGroupID))
	dst = appendID(dst, `","campaign_id":"`, int64(ad.CampaignID))
	dst = append(dst, `","billable_event":"`...)
	dst = append(dst, ad.BillableEvent...)
	return appendID(dst, `","bid_micros":`, int64(ad.BidMicros))
}

func appendReason(dst []byte, r auction.Reason) []byte {
	dst = appendID(dst, `,"reason":`, int64(r))
	dst = append(dst, `,"reason_name":"`...)
	dst = append(dst, r.String()...)
	dst = append(dst, `","meaning":`...)
	return appendJSONString(dst, r.Meaning())
}

// appendScore writes a number that is always finite: values and probabilities.
func appendScore(dst []byte, name string, x float64) []byte {
	dst = append(dst, name...)
	return strconv.AppendFloat(dst, x, 'g', -1, 64)
}

const hexDigits = "0123456789abcdef"

// appendJSONString quotes s as encoding/json does without HTML escaping; invalid UTF-8 becomes U+FFFD.
func appendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		b := s[i]
		if b >= 0x20 && b != '"' && b != '\\' && b < utf8.RuneSelf {
			i++
			continue
		}
		if b >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if (r != utf8.RuneError || size > 1) && r != '\u2028' && r != '\u2029' {
				i += size
				continue
			}
			dst = append(dst, s[from:i]...)
			if r == utf8.RuneError {
				dst = append(dst, `\ufffd`...)
			} else {
				dst = append(dst, `\u202`...)
				dst = append(dst, hexDigits[r&0xF])
			}
			i += size
			from = i
			continue
		}
		dst = append(dst, s[from:i]...)
		switch b {
		case '"', '\\':
			dst = append(dst, '\\', b)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[b>>4], hexDigits[b&0xF])
		}
		i++
		from = i
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}
