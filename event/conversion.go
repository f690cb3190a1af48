package event

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"gavel/campaign"
	"gavel/internal/money"
)

// How far back a conversion looks for what caused it: for a click first, then for a view. A view is a viewable impression: one that nobody
// could see caused nothing.
const (
	ClickLookback = 30 * 24 * time.Hour
	ViewLookback  = 24 * time.Hour
)

// MaxConversionAge is how old a conversion may be when it is reported; conversionSkew how far its clock may be ahead.
const (
	MaxConversionAge = ClickLookback
	conversionSkew   = 10 * time.Minute
)

// MaxConversions is the most conversions of one report.
const MaxConversions = 1000

// The sources and names of conversions that v5 has.
var (
	conversionSources = []string{"app_android", "app_ios", "web", "offline"}
	conversionNames   = []string{
		"add_payment_info", "add_to_cart", "add_to_wishlist", "app_install", "checkout", "custom", "initiate_checkout", "lead", "page_visit", "search",
		"signup", "subscribe", "view_category", "view_content", "watch_video",
	}
	// conversionGoals are what campaigns are for, and what the conversion model predicts. The others are steps on the way.
	conversionGoals = []string{"app_install", "checkout", "custom", "lead", "signup", "subscribe"}
)

// ConversionSources and ConversionNames are what a conversion may say of itself.
func ConversionSources() []string { return slices.Clone(conversionSources) }

// ConversionNames are the kinds of conversions.
func ConversionNames() []string { return slices.Clone(conversionNames) }

// Conversion is what an advertiser reports. What it says of the user serves to find the click or view, and is not kept.
type Conversion struct {
	// EventID and Name are its identity within the ad account.
	EventID, Name, Source string
	At                    time.Time
	// ClickID is the impression that a click id names, the zero UUID for none.
	ClickID uuid.UUID
	// UserHashes are those of the user; see campaign.HashPrefix.
	UserHashes []int64
	// OptOut: the user does not want to be followed. It is counted, and credited to nothing.
	OptOut bool
	// Value is what it was worth, in micros of Currency; nil if that is not known. Currency "" is the account's.
	Value    *money.Micros
	Currency string
	NumItems *int64
}

// Goal says whether the conversion is what campaigns are for.
func (c *Conversion) Goal() bool { return slices.Contains(conversionGoals, c.Name) }

// Problem says what is wrong with the conversion at a time, "" if nothing is.
func (c *Conversion) Problem(now time.Time) string {
	switch {
	case !slices.Contains(conversionNames, c.Name):
		return "event_name must be one of " + strings.Join(conversionNames, ", ")
	case !slices.Contains(conversionSources, c.Source):
		return "action_source must be one of " + strings.Join(conversionSources, ", ")
	case c.EventID == "" || len(c.EventID) > maxEventID:
		return fmt.Sprintf("event_id must have 1 to %d bytes", maxEventID)
	case strings.ContainsRune(c.EventID, 0):
		return "event_id must not contain a NUL character"
	case c.At.After(now.Add(conversionSkew)):
		return "event_time is in the future: it must be a Unix time in seconds"
	case c.At.Before(now.Add(-MaxConversionAge)):
		return fmt.Sprintf("event_time is more than %d days ago", int(MaxConversionAge.Hours()/24))
	}
	return ""
}

const maxEventID = 1024

// Receipt is what became of a conversion.
type Receipt struct {
	// Duplicate: one with the same identity came before; this one was not counted.
	Duplicate bool
	// CreditedTo is what it was attributed to, "" for nothing.
	CreditedTo Kind
}

// ConversionStore keeps conversions: event/postgres.Conversions.
type ConversionStore interface {
	// Record attributes and keeps conversions of an ad account, all or none, and returns one receipt for each, in their order.
	Record(ctx context.Context, account campaign.AdAccountID, list []Conversion) ([]Receipt, error)
}

// clickParameter is the query parameter that carries a click id, under the name that v5 gives it.
const clickParameter = "epik"

// clickIDSize is the length of a click id.
var clickIDSize = base64.RawURLEncoding.EncodedLen(len(uuid.UUID{}))

// ParseClickID reads what AddClickID appended.
func ParseClickID(text string) (uuid.UUID, bool) {
	var id uuid.UUID
	if len(text) != clickIDSize {
		return id, false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(id[:], []byte(text)) // which leaves out line breaks
	return id, err == nil && n == len(id) && id != uuid.Nil
}

// ClickID is the click id of an impression.
func ClickID(impression uuid.UUID) string { return base64.RawURLEncoding.EncodeToString(impression[:]) }

// AddClickID appends the click id to a destination, as epik=…. The rest of the URL stays as it is, byte for byte, but for an epik that was
// there already: the advertiser's page must not find two.
func AddClickID(destination string, impression uuid.UUID) string {
	rest, fragment, hasFragment := strings.Cut(destination, "#")
	path, query, hasQuery := strings.Cut(rest, "?")
	if hasQuery {
		query = strings.Join(slices.DeleteFunc(strings.Split(query, "&"), isClickParameter), "&")
	}
	if query != "" && !strings.HasSuffix(query, "&") {
		query += "&"
	}
	destination = path + "?" + query + clickParameter + "=" + ClickID(impression)
	if hasFragment {
		destination += "#" + fragment
	}
	return destination
}

func isClickParameter(pair string) bool {
	name, _, _ := strings.Cut(pair, "=")
	name, err := url.QueryUnescape(name)
	return err == nil && name == clickParameter
}
