package handlers

import (
	"context"
	"encoding/binary"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"

	"gavel/auction"
	"gavel/campaign"
	"gavel/event"
	"gavel/internal/fault"
)

// Auctioneer decides a page load; see auction.Auctioneer.
type Auctioneer interface {
	Run(ctx context.Context, req *auction.Request) *auction.Decision
}

// AdServer answers ad requests.
type AdServer struct {
	Auctions Auctioneer
	Clock    *event.Clock
	Keys     *event.Keys
	// EventTTL is how long the events of an ad are accepted after it was served.
	EventTTL time.Duration
	// PublicURL is the base of the event URLs, without a slash at the end; "" takes the request's own scheme and host.
	PublicURL string
	// Timeout bounds one request.
	Timeout time.Duration
	// Observe is told of every decision, for metrics.
	Observe func(ctx context.Context, d *auction.Decision, placement auction.Placement, took time.Duration)
}

// Serve is POST /v1/ads. Bad input is a 400 that names the fields; whatever is down behind it, the answer is 200 and at worst
// no ads.
func (s *AdServer) Serve(c *fiber.Ctx) error {
	start := time.Now()
	if len(c.Body()) > maxAdRequestBytes {
		return &fault.Error{Code: fault.TooLarge, Message: "an ad request may have at most 65536 bytes"}
	}
	in, err := decodeAdRequest(c.Body())
	if err != nil {
		return err
	}
	if in.Explain && !principal(c).MayExplain {
		return &fault.Error{Code: fault.Forbidden, Message: "this key may not ask for explanations", Fields: []fault.Field{{Name: "explain", Message: "needs a key that may explain"}}}
	}
	req := s.request(in)
	ctx, cancel := context.WithTimeout(c.UserContext(), s.Timeout)
	defer cancel()
	d := s.Auctions.Run(ctx, req)
	defer d.Release()
	c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	c.Response().SetBody(s.appendAnswer(nil, c, in, d))
	s.Observe(ctx, d, req.Query.Placement, time.Since(start))
	return nil
}

// request fixes the times and the ids of an auction.
func (s *AdServer) request(in *adRequest) *auction.Request {
	if in.RequestID == "" {
		in.RequestID = uuid.NewString()
	}
	id := uuid.Must(uuid.NewV7())
	req := &auction.Request{
		AuctionID: id, RequestID: in.RequestID, Tick: s.Clock.Tick(), Explain: in.Explain,
		Seed:  binary.BigEndian.Uint64(id[8:]) << 2, // the random bits
		Slots: make([]auction.Slot, len(in.Slots)),
		Query: auction.Query{
			Now: s.Clock.Now(), Placement: auction.Placement(in.Placement),
			Country: in.User.Country, Region: in.User.Region, DMA: in.User.DMA, Gender: in.User.Gender, Locale: in.User.Locale,
			AppType: in.Device.AppType, Interests: in.User.Interests, SearchQuery: in.Context.Query, Keywords: in.Context.Keywords,
		},
	}
	for i, slot := range in.Slots {
		req.Slots[i] = auction.Slot{ID: slot.ID, Position: slot.Position}
	}
	if in.User.ID != "" {
		req.UserHash = campaign.UserHash(in.User.ID)
	}
	if in.User.Age != nil {
		req.Query.Age = *in.User.Age
	}
	for _, id := range in.Exclude.AdAccountIDs {
		req.Query.ExcludeAdAccounts = append(req.Query.ExcludeAdAccounts, campaign.AdAccountID(mustID(id)))
	}
	for _, id := range in.Exclude.AdIDs {
		req.Query.ExcludeAds = append(req.Query.ExcludeAds, campaign.AdID(mustID(id)))
	}
	return req
}

// mustID reads an id that decodeAdRequest has checked.
func mustID(s string) int64 {
	id, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic("handlers: unchecked id: " + err.Error())
	}
	return id
}
