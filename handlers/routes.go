package handlers

import (
	"time"

	"github.com/gofiber/fiber/v2"
	recovery "github.com/gofiber/fiber/v2/middleware/recover"

	"gavel/campaign"
	"gavel/event"
	"gavel/internal/fault"
)

// Deps are what the routes lead to.
type Deps struct {
	// Telemetry is the outermost middleware.
	Telemetry fiber.Handler
	Service   *campaign.Service
	Keys      *campaign.KeyRing
	Ads       *AdServer
	Events    *EventServer
	Auctions  *AuctionServer
	// Conversions keeps what advertisers report.
	Conversions event.ConversionStore
	BidFloor    BidFloor
}

// The limits of a connection.
const (
	maxBodyBytes = 4 << 20
	readTimeout  = 10 * time.Second
	writeTimeout = 10 * time.Second
	idleTimeout  = 75 * time.Second
	maxURLBytes  = 16 << 10
)

func appConfig() fiber.Config {
	return fiber.Config{
		AppName: "gavel", DisableStartupMessage: true, StrictRouting: true, CaseSensitive: true,
		BodyLimit: maxBodyBytes, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, ReadBufferSize: maxURLBytes,
		StreamRequestBody: true, DisablePreParseMultipartForm: true, ErrorHandler: ErrorHandler,
	}
}

// New returns the app with every route of the public listener.
func New(d Deps) *fiber.App {
	app := fiber.New(appConfig())
	app.Use(d.Telemetry, recovery.New(), wholeBody) // a panic is one request's, not the process's: it ends as a 500, logged

	feed := Authenticate(d.Keys, campaign.RoleFeed, campaign.RoleOperator)
	app.Post("/v1/ads", feed, d.Ads.Serve)
	app.Get("/v1/auctions/:"+auctionParam, feed, d.Auctions.Get)
	// Not app.Get: it would answer HEAD too, and a HEAD must not bill.
	app.Add(fiber.MethodGet, "/v1/e/:token", d.Events.Event)
	app.Add(fiber.MethodPost, "/v1/e/:token", d.Events.Event)
	app.Add(fiber.MethodGet, "/v1/c/:token", d.Events.Click)
	app.Post("/v1/events", d.Events.Batch)

	api := RegisterV5(app, d.Service, d.Keys, d.Conversions, d.BidFloor)
	DescribeV1(api)

	app.Use(func(*fiber.Ctx) error {
		return &fault.Error{Code: fault.NotFound, Message: "there is nothing at this path"}
	})
	return app
}
