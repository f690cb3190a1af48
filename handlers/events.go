package handlers

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"gavel/campaign"
	"gavel/event"
	"gavel/internal/fault"
)

// The limits of POST /v1/events.
const (
	maxEventBatch      = 500
	maxEventBatchBytes = 256 << 10
)

// retryAfterSeconds is how long a client should wait when the journal is full.
const retryAfterSeconds = 5

// EventServer takes events.
type EventServer struct {
	Ingest *event.Ingest
	// Destination is where the ad's click leads now; ok is false for an ad that is not known any more.
	Destination func(ctx context.Context, ad campaign.AdID) (url string, ok bool, err error)
	Timeout     time.Duration
	// Observe is told the fate of every event: "accepted", "expired", "forged" or "unavailable".
	Observe func(ctx context.Context, fate string)
}

// The smallest GIF that browsers draw: one transparent pixel.
var pixel = []byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;")

// Event is GET and POST /v1/e/{token}: an impression or a viewable impression. The answer comes after the journal has it.
func (s *EventServer) Event(c *fiber.Ctx) error {
	ctx, cancel := context.WithTimeout(c.UserContext(), s.Timeout)
	defer cancel()
	_, err := s.Ingest.Accept(ctx, []byte(c.Params("token")), event.Impression, event.Viewable)
	s.Observe(ctx, fate(err))
	if err != nil {
		return eventFault(c, err)
	}
	c.Set(fiber.HeaderCacheControl, "no-store")
	if c.Method() == fiber.MethodGet && strings.Contains(c.Get(fiber.HeaderAccept), "image/") {
		c.Set(fiber.HeaderContentType, "image/gif")
		return c.Send(pixel)
	}
	return c.SendStatus(fiber.StatusNoContent)
}

// Click is GET /v1/c/{token}: it records the click and leads to the ad's own destination, never to a parameter, and tells it
// the click's id for conversions. A click whose
// token has expired still leads there and is not billed: the user has done nothing wrong.
func (s *EventServer) Click(c *fiber.Ctx) error {
	ctx, cancel := context.WithTimeout(c.UserContext(), s.Timeout)
	defer cancel()
	token, err := s.Ingest.Accept(ctx, []byte(c.Params("token")), event.Click)
	s.Observe(ctx, fate(err))
	if err != nil && !errors.Is(err, event.ErrExpired) {
		return eventFault(c, err)
	}
	url, known, lookupErr := s.Destination(ctx, token.AdID)
	if lookupErr != nil {
		return &fault.Error{Code: fault.Unavailable, Message: "the ad's destination cannot be looked up now", Cause: lookupErr}
	}
	if !known {
		return &fault.Error{Code: fault.NotFound, Message: "the ad does not exist any more"}
	}
	c.Set(fiber.HeaderCacheControl, "no-store")
	c.Set("Referrer-Policy", "origin")
	if err == nil { // a click that was not recorded can be credited with nothing
		url = event.AddClickID(url, token.ImpressionID)
	}
	return c.Redirect(url, fiber.StatusFound)
}

type eventBatch struct {
	Events []struct {
		Token string `json:"token"`
	} `json:"events"`
}

type eventResult struct {
	Status  string `json:"status"`
	Message string `json:"message,omitempty"`
}

// Batch is POST /v1/events: many tokens of any kind at once. 202 answers with one status per event in their order; the whole
// batch is a 503 only if none could be accepted because the journal is full.
func (s *EventServer) Batch(c *fiber.Ctx) error {
	if len(c.Body()) > maxEventBatchBytes {
		return &fault.Error{Code: fault.TooLarge, Message: fmt.Sprintf("a batch may have at most %d bytes", maxEventBatchBytes)}
	}
	var in eventBatch
	if err := decodeStrict(c.Body(), &in); err != nil {
		return err
	}
	var p problems
	if len(in.Events) == 0 {
		p.add("events", "at least one event is required")
	}
	p.atMost("events", len(in.Events), maxEventBatch, "events")
	tokens := make([][]byte, len(in.Events))
	for i, e := range in.Events {
		p.required("events["+strconv.Itoa(i)+"].token", e.Token)
		tokens[i] = []byte(e.Token)
	}
	if err := p.fault("the batch is not valid"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), s.Timeout)
	defer cancel()
	errs := s.Ingest.AcceptAll(ctx, tokens, event.Impression, event.Viewable, event.Click)
	results, unavailable := make([]eventResult, len(errs)), 0
	for i, err := range errs {
		results[i] = eventResult{Status: fate(err)}
		s.Observe(ctx, results[i].Status)
		if err != nil {
			results[i].Message = fateMessage(err)
		}
		if results[i].Status == "unavailable" {
			unavailable++
		}
	}
	if unavailable == len(errs) {
		return eventFault(c, event.ErrFull)
	}
	return c.Status(fiber.StatusAccepted).JSON(fiber.Map{"items": results})
}

func fate(err error) string {
	switch {
	case err == nil:
		return "accepted"
	case errors.Is(err, event.ErrExpired):
		return "expired"
	case errors.Is(err, event.ErrForged):
		return "invalid"
	default:
		return "unavailable"
	}
}

func fateMessage(err error) string {
	switch fate(err) {
	case "expired":
		return "the event came after its token's time"
	case "invalid":
		return "the token does not verify"
	default:
		return "the event was not accepted; send it again"
	}
}

// eventFault is the answer to an event that was not accepted.
func eventFault(c *fiber.Ctx, err error) error {
	switch fate(err) {
	case "expired":
		return &fault.Error{Code: fault.Gone, Message: fateMessage(err), Fields: []fault.Field{{Name: "token", Message: "has expired"}}}
	case "invalid":
		return &fault.Error{Code: fault.Invalid, Message: fateMessage(err), Fields: []fault.Field{{Name: "token", Message: "does not verify"}}}
	default:
		c.Set(fiber.HeaderRetryAfter, strconv.Itoa(retryAfterSeconds))
		return &fault.Error{Code: fault.Unavailable, Message: fateMessage(err), Cause: err}
	}
}
