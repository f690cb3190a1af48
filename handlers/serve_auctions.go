package handlers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"

	"gavel/auction"
	"gavel/auction/record"
	"gavel/internal/fault"
)

// AuctionRecords knows recorded auctions.
type AuctionRecords interface {
	// Load returns a record in its binary form, or auction.ErrNotRecorded.
	Load(ctx context.Context, id uuid.UUID) ([]byte, error)
}

// AuctionServer explains auctions that were recorded.
type AuctionServer struct {
	Records AuctionRecords
	// Ratio is the share of auctions that are recorded, beside those that are explained.
	Ratio float64
	// Timeout bounds one request.
	Timeout time.Duration
}

// auctionParam is the path parameter that names the auction.
const auctionParam = "auction_id"

// Get is GET /v1/auctions/{auction_id}.
func (s *AuctionServer) Get(c *fiber.Ctx) error {
	if !principal(c).MayExplain {
		return &fault.Error{Code: fault.Forbidden, Message: "this key may not ask for explanations"}
	}
	text := c.Params(auctionParam)
	id, err := uuid.Parse(text)
	if err != nil || len(text) != len(id.String()) {
		return &fault.Error{Code: fault.Invalid, Message: "invalid input", Fields: []fault.Field{{Name: auctionParam, Message: "must be a UUID such as 0191c3a2-7b54-7cc1-8d2f-0a1b2c3d4e5f"}}}
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), s.Timeout)
	defer cancel()
	data, err := s.Records.Load(ctx, id)
	switch {
	case errors.Is(err, auction.ErrNotRecorded):
		return &fault.Error{Code: fault.NotFound, Message: s.notRecorded(), Cause: err}
	case err != nil:
		return fault.Wrap(fault.Unavailable, "the records of auctions cannot be read now", err)
	}
	var r record.Record
	if err := record.Decode(data, &r); err != nil {
		return fault.Wrap(fault.Internal, "internal error", fmt.Errorf("auction %s: %w", id, err))
	}
	return c.JSON(record.Explain(&r))
}

// notRecorded says which auctions there is something to know of.
func (s *AuctionServer) notRecorded() string {
	return fmt.Sprintf("there is no record of this auction: those that were asked to explain are recorded, and %g %% of all others; a record is there about a second after its auction, for a day", 100*s.Ratio)
}
