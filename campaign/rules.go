package campaign

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gavel/internal/fault"
	"gavel/internal/money"
)

// Limits of the input.
const (
	// MaxAmountMicros is the largest budget or spend cap: a billion currency units. Nine of them add up without overflow in nanos.
	MaxAmountMicros money.Micros = 1_000_000_000 * 1_000_000
	// MaxBidMicros is the largest bid: a million currency units.
	MaxBidMicros money.Micros = 1_000_000 * 1_000_000
	// MaxFrequencyCap is the largest lifetime_frequency_cap.
	MaxFrequencyCap = 10_000
	// MaxBatch is the most items of one create or update.
	MaxBatch = 30
	// MaxPageSize is the most items of one page of a list.
	MaxPageSize = 250
	// MaxAudienceUsers is the most users of one change to an audience.
	MaxAudienceUsers = 10_000
	// MaxKeywords is the most keywords of one create, and of an ad group.
	MaxKeywords = 1_000
)

// maxTime is the end of the year 9999, the last second that every party can write.
var maxTime = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// checkText holds a text to min..max characters, none of them a control character.
func checkText(p *fault.Fields, field, s string, minLength, maxLength int) {
	n := utf8.RuneCountInString(s)
	switch {
	case n < minLength || (minLength > 0 && strings.TrimSpace(s) == ""):
		p.Add(field, "must not be empty")
	case n > maxLength:
		p.Add(field, fmt.Sprintf("must have at most %d characters, has %d", maxLength, n))
	case !utf8.ValidString(s):
		p.Add(field, "must be valid UTF-8")
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }):
		p.Add(field, "must not contain control characters")
	}
}

// checkOneOf holds a value to a list.
func checkOneOf[T ~string](p *fault.Fields, field string, v T, allowed ...T) {
	if slices.Contains(allowed, v) {
		return
	}
	names := make([]string, len(allowed))
	for i, a := range allowed {
		names[i] = string(a)
	}
	p.Add(field, "must be one of "+strings.Join(names, ", "))
}

// checkAmount holds a given amount to 1..limit micros.
func checkAmount(p *fault.Fields, field string, in Opt[money.Micros], limit money.Micros) {
	switch {
	case !in.Given():
	case in.Value <= 0:
		p.Add(field, "must be greater than 0")
	case in.Value > limit:
		p.Add(field, fmt.Sprintf("must be at most %d", int64(limit)))
	}
}

// checkTime holds a given time to the seconds after 1970 and before 10000.
func checkTime(p *fault.Fields, field string, in Opt[time.Time]) {
	if in.Given() && (in.Value.Unix() <= 0 || in.Value.After(maxTime)) {
		p.Add(field, "must be a Unix time in seconds, greater than 0 and before the year 10000")
	}
}

// checkPeriod holds end to be after start; zero is open.
func checkPeriod(p *fault.Fields, start, end time.Time) {
	if !start.IsZero() && !end.IsZero() && !end.After(start) {
		p.Add("end_time", "must be after start_time")
	}
}

// maxURL is the longest URL.
const maxURL = 2048

// checkURL holds a URL to what a browser can be sent to: absolute, http or https, a host, no user information, ASCII.
func checkURL(p *fault.Fields, field, s string) {
	if len(s) > maxURL {
		p.Add(field, fmt.Sprintf("must have at most %d characters, has %d", maxURL, len(s)))
		return
	}
	notURL := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"<>\\^`{|}", r) }
	u, err := url.Parse(s)
	switch {
	case strings.ContainsFunc(s, notURL):
		p.Add(field, "must be a URL: other characters must be percent-encoded")
	case err != nil || u.Opaque != "":
		p.Add(field, "must be an absolute http or https URL")
	case u.Scheme != "http" && u.Scheme != "https":
		p.Add(field, "must be an absolute http or https URL")
	case u.User != nil:
		p.Add(field, "must not contain a user name or password")
	case u.Hostname() == "":
		p.Add(field, "must have a host")
	}
}

// checkOwnAccount holds the ad account that a v5 item repeats to the one of the path.
func checkOwnAccount(p *fault.Fields, in Opt[AdAccountID], account AdAccountID) {
	if in.Set && (in.Null || in.Value != account) {
		p.Add("ad_account_id", "must be the ad account of the path")
	}
}
