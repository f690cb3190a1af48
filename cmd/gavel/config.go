package main

import (
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"gavel/event"
)

// secret prints as ***.
type secret string

func (s secret) String() string   { return "***" }
func (s secret) GoString() string { return "***" }

// config is everything that `gavel serve` can be told, by environment variables. The README's table is held against it by a test.
type config struct {
	DatabaseURL secret `env:"DATABASE_URL" doc:"Postgres, as a URL with sslmode. Required."`
	RedisURL    secret `env:"REDIS_URL" doc:"Redis, as a URL. Required."`
	TokenKeys   secret `env:"GAVEL_TOKEN_KEYS" doc:"Keys of event tokens: id:base64,… with 32 bytes each; the first seals, all verify. Required."`

	AdsAddr      string `env:"GAVEL_ADS_ADDR" envDefault:":8080" doc:"Where ads, events and the management API are served."`
	AdminAddr    string `env:"GAVEL_ADMIN_ADDR" envDefault:"127.0.0.1:9090" doc:"Where metrics, health and profiles are served. Keep it private."`
	AuctionRules string `env:"GAVEL_AUCTION_RULES" doc:"File with the rules of auctions: floors, slots, pricing, exploration; see docs/auction.md. Empty: the default rules."`
	PublicURL    string `env:"GAVEL_PUBLIC_URL" doc:"Base of the event URLs as browsers see it, for example https://ads.example.com. Empty: the scheme and host of each request."`
	JournalDir   string `env:"GAVEL_JOURNAL_DIR" envDefault:"journal" doc:"The node's journal of accepted events. One directory per node, on a disk that outlives the process."`

	LeaseTTL    time.Duration `env:"GAVEL_LEASE_TTL" envDefault:"10s" doc:"How long a node may serve from a lease without hearing from Postgres."`
	EventTTL    time.Duration `env:"GAVEL_EVENT_TTL" envDefault:"1h" doc:"How long after an ad was served its events are accepted; what was promised and not seen goes back after that."`
	FenceAfter  time.Duration `env:"GAVEL_FENCE_AFTER" envDefault:"0s" doc:"After how long a silence a node is given up by the others, so that its leases can close; 0s: only by gavel fence."`
	MaxUnbilled int           `env:"GAVEL_MAX_UNBILLED" envDefault:"1000000" doc:"How many accepted events may wait for Postgres before more are refused with 503."`

	ClickWindow      time.Duration `env:"GAVEL_CLICK_WINDOW" envDefault:"5m" doc:"How long after an impression was recorded the model learns whether it was clicked; a later click is a correction."`
	ConversionWindow time.Duration `env:"GAVEL_CONVERSION_WINDOW" envDefault:"24h" doc:"How long after a click was recorded the model learns whether it led to a conversion; a later one is a correction."`
	TrainInterval    time.Duration `env:"GAVEL_TRAIN_INTERVAL" envDefault:"30s" doc:"How often the elected trainer learns what is new and publishes a model."`

	RecordRatio float64 `env:"GAVEL_RECORD_RATIO" envDefault:"0.01" doc:"The share of auctions that are recorded for a day, from 0 to 1, beside those that ask to explain; see docs/explain.md."`

	RequestTimeout time.Duration `env:"GAVEL_REQUEST_TIMEOUT" envDefault:"100ms" doc:"Deadline of an ad request."`
	UserTimeout    time.Duration `env:"GAVEL_USER_TIMEOUT" envDefault:"20ms" doc:"How long an ad request waits for the user's state; after that the user counts as unknown."`
	LeaseWait      time.Duration `env:"GAVEL_LEASE_WAIT" envDefault:"25ms" doc:"How long a page that would stay empty waits for the first lease of an ad; 0s never waits."`
	StopTimeout    time.Duration `env:"GAVEL_STOP_TIMEOUT" envDefault:"20s" doc:"How long a graceful stop may take."`
	LogLevel       string        `env:"GAVEL_LOG_LEVEL" envDefault:"info" doc:"debug, info, warn or error."`
	LogFormat      string        `env:"GAVEL_LOG_FORMAT" envDefault:"json" doc:"json or text."`
}

// loadConfig reads the environment and reports every problem at once.
func loadConfig(getenv func(string) string, environ []string) (config, error) {
	var c config
	vars := map[string]string{}
	for _, kv := range environ {
		if k, _, ok := strings.Cut(kv, "="); ok {
			vars[k] = getenv(k)
		}
	}
	parseErr := env.ParseWithOptions(&c, env.Options{Environment: vars})
	return c, errors.Join(parseErr, c.Validate())
}

// Validate returns every problem, nil if there is none.
func (c *config) Validate() error {
	var problems []error
	bad := func(name, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...)))
	}
	if err := checkURL(string(c.DatabaseURL), "postgres", "postgresql"); err != nil {
		bad("DATABASE_URL", "%v", err)
	}
	if err := checkURL(string(c.RedisURL), "redis", "rediss"); err != nil {
		bad("REDIS_URL", "%v", err)
	}
	if c.TokenKeys == "" {
		bad("GAVEL_TOKEN_KEYS", "is required; make one with: echo \"1:$(head -c 32 /dev/urandom | base64)\"")
	} else if _, err := event.ParseKeys(string(c.TokenKeys)); err != nil {
		bad("GAVEL_TOKEN_KEYS", "%v", err)
	}
	if c.PublicURL != "" {
		if err := checkURL(c.PublicURL, "http", "https"); err != nil {
			bad("GAVEL_PUBLIC_URL", "%v", err)
		}
		c.PublicURL = strings.TrimRight(c.PublicURL, "/")
	}
	if c.JournalDir == "" {
		bad("GAVEL_JOURNAL_DIR", "is required")
	}
	for _, d := range []struct {
		name          string
		value, lo, hi time.Duration
	}{
		{"GAVEL_LEASE_TTL", c.LeaseTTL, time.Second, 10 * time.Minute},
		{"GAVEL_EVENT_TTL", c.EventTTL, time.Second, 30 * 24 * time.Hour},
		{"GAVEL_CLICK_WINDOW", c.ClickWindow, 0, 24 * time.Hour},
		{"GAVEL_CONVERSION_WINDOW", c.ConversionWindow, 0, 30 * 24 * time.Hour},
		{"GAVEL_TRAIN_INTERVAL", c.TrainInterval, time.Second, time.Hour},
		{"GAVEL_REQUEST_TIMEOUT", c.RequestTimeout, time.Millisecond, time.Minute},
		{"GAVEL_USER_TIMEOUT", c.UserTimeout, time.Millisecond, time.Minute},
		{"GAVEL_LEASE_WAIT", c.LeaseWait, 0, time.Second},
		{"GAVEL_STOP_TIMEOUT", c.StopTimeout, time.Second, 10 * time.Minute},
	} {
		if d.value < d.lo || d.value > d.hi {
			bad(d.name, "is %v, must be from %v to %v", d.value, d.lo, d.hi)
		}
	}
	if c.FenceAfter != 0 && (c.FenceAfter < 10*time.Second || c.FenceAfter > 30*24*time.Hour) {
		bad("GAVEL_FENCE_AFTER", "is %v, must be 0s, or from 10s to 720h", c.FenceAfter)
	}
	if c.MaxUnbilled < 1 || c.MaxUnbilled > 100_000_000 {
		bad("GAVEL_MAX_UNBILLED", "is %d, must be from 1 to 100000000", c.MaxUnbilled)
	}
	if !(c.RecordRatio >= 0 && c.RecordRatio <= 1) {
		bad("GAVEL_RECORD_RATIO", "is %g, must be from 0 to 1", c.RecordRatio)
	}
	return errors.Join(problems...)
}

// checkURL never quotes the URL: it may hold a password.
func checkURL(text string, schemes ...string) error {
	if text == "" {
		return errors.New("is required")
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return errors.New("is not a URL with a host")
	}
	for _, s := range schemes {
		if u.Scheme == s {
			return nil
		}
	}
	return fmt.Errorf("has scheme %q, want %s", u.Scheme, strings.Join(schemes, " or "))
}

// configTable is the README's table of variables, a row each.
func configTable() []string {
	var rows []string
	t := reflect.TypeFor[config]()
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		def := tag.Get("envDefault")
		if def != "" {
			def = "`" + def + "`"
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |", tag.Get("env"), def, tag.Get("doc")))
	}
	return rows
}
