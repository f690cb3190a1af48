package openbandit

import (
	"fmt"
	"runtime"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"gavel/internal/money"
)

// Report is what a run came to.
type Report struct {
	Run         string  `json:"run"`
	Campaign    string  `json:"campaign"`
	LogRows     int     `json:"log_rows"`
	Asked       int     `json:"page_loads_asked"`
	Pages       int     `json:"page_loads_answered"`
	TookSeconds float64 `json:"took_seconds"`
	Speed       float64 `json:"speed"` // times the log's; 0 as fast as possible
	Concurrency int     `json:"concurrency"`
	// MaxLagMS is how late the latest page load was sent against its time.
	MaxLagMS       int64 `json:"max_lag_ms"`
	VisibleAfterMS int64 `json:"visible_after_ms"` // from the last create until the first auction with all ads

	Requests int64    `json:"requests"` // all attempts: pages, events, campaigns
	Cut      int64    `json:"retries_after_no_answer"`
	Busy     int64    `json:"retries_after_503"`
	Errors   int      `json:"errors"`
	Problems []string `json:"error_texts,omitempty"`

	Slots     int            `json:"slots"`
	AdsServed int            `json:"ads_served"`
	OtherAds  int            `json:"ads_served_of_other_campaigns"`
	FillRate  float64        `json:"fill_rate"`
	NoFill    map[string]int `json:"no_fill,omitempty"`

	AdsLatency   Latency  `json:"ads_latency_ms"`
	EventLatency Latency  `json:"event_latency_ms"`
	FloorLatency *Latency `json:"floor_latency_ms,omitempty"`
	FloorErrors  int      `json:"floor_errors,omitempty"`

	Accepted    map[string]int `json:"events_accepted"` // distinct, by kind
	Repeated    int            `json:"events_repeated_on_purpose"`
	Unsure      int            `json:"events_of_unknown_fate"`
	InDatabase  int            `json:"events_in_database"`
	Outcomes    map[string]int `json:"events_by_outcome"`
	ClicksInLog int            `json:"clicks_in_log"`

	Campaigns  []CampaignReport `json:"campaigns"`
	SpentNanos money.Nanos      `json:"spent_nanos"`

	Audit      Verdict  `json:"audit"`
	Violations []string `json:"violations"`
	Machine    string   `json:"machine"`
	// Verdict is PASS, PARTIAL (interrupted, and nothing wrong until then) or FAIL.
	Verdict string `json:"verdict"`
}

// Latency are percentiles in milliseconds.
type Latency struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

// CampaignReport is what became of an item.
type CampaignReport struct {
	Item        int          `json:"item"`
	CampaignID  int64        `json:"campaign_id,string"`
	Billable    string       `json:"billable_event"`
	BidMicros   money.Micros `json:"bid_micros"`
	Capped      int          `json:"lifetime_frequency_cap,omitempty"`
	Budget      string       `json:"budget"` // scope and kind of the limit that is the nearest
	LimitNanos  money.Nanos  `json:"limit_nanos"`
	SpentNanos  money.Nanos  `json:"spent_nanos"`     // in all
	PeriodNanos money.Nanos  `json:"in_period_nanos"` // in the fullest period of the limit
	Served      int          `json:"served"`
	Impressions int          `json:"impressions"`
	Clicks      int          `json:"clicks"`
}

// The verdicts.
const (
	Pass    = "PASS"
	Partial = "PARTIAL"
	Fail    = "FAIL"
)

// judge sets the verdict.
func (r *Report) judge() {
	switch {
	case r.Errors > 0 || len(r.Violations) > 0 || !r.Audit.Clean:
		r.Verdict = Fail
	case r.Pages < r.Asked:
		r.Verdict = Partial
	default:
		r.Verdict = Pass
	}
}

func latencyOf(h *hdrhistogram.Histogram) Latency {
	ms := func(micros int64) float64 { return float64(micros) / 1000 }
	return Latency{
		Count: h.TotalCount(), P50: ms(h.ValueAtQuantile(50)), P90: ms(h.ValueAtQuantile(90)), P99: ms(h.ValueAtQuantile(99)), Max: ms(h.Max()),
	}
}

// report sums a run up. Nothing runs any more.
func (d *driver) report(fresh *Tally, took time.Duration) *Report {
	y := d.diary
	asked := len(d.plan.Log.Rows)
	if d.Limit > 0 {
		asked = min(asked, d.Limit)
	}
	r := &Report{
		Run: d.plan.Run, Campaign: d.plan.Log.Campaign, LogRows: len(d.plan.Log.Rows), Asked: asked, Pages: y.pages,
		TookSeconds: took.Seconds(), Speed: d.Speed, Concurrency: d.Concurrency, MaxLagMS: y.maxLag.Milliseconds(),
		Requests: d.client.requests.Load(), Cut: d.client.cut.Load(), Busy: d.client.busy.Load(), Errors: y.errors, Problems: y.errorTexts,
		Slots: y.slots, AdsServed: y.served, FillRate: float64(y.served) / float64(max(y.slots, 1)), NoFill: y.noFill,
		AdsLatency: latencyOf(y.adsLatency), EventLatency: latencyOf(y.eventLatency), FloorErrors: y.floorErrors,
		Accepted: map[string]int{}, Repeated: y.repeated, InDatabase: fresh.total(), Outcomes: fresh.outcomes(), ClicksInLog: y.clicksInLog,
		Violations: append(append([]string{}, y.violationTexts...), d.verify(fresh)...),
		Machine:    fmt.Sprintf("%s/%s, %d cores, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version()),
	}
	if more := y.violations - len(y.violationTexts); more > 0 {
		r.Violations = append(r.Violations, fmt.Sprintf("and %d more", more))
	}
	if d.FloorURL != "" {
		floor := latencyOf(y.floorLatency)
		r.FloorLatency = &floor
	}
	for id, ad := range y.ads {
		for k := range kinds {
			r.Accepted[k.String()] += ad.accepted[k]
			r.Unsure += ad.unsure[k]
		}
		if _, ours := d.items[id]; !ours {
			r.OtherAds += ad.served
		}
	}
	spent := fresh.spent()
	for i := range d.plan.Shops {
		c := d.campaignReport(i, spent)
		r.Campaigns = append(r.Campaigns, c)
		r.SpentNanos += c.SpentNanos
	}
	return r
}

func (d *driver) campaignReport(i int, spent map[period]money.Nanos) CampaignReport {
	s, ids := &d.plan.Shops[i], d.shops[i]
	c := CampaignReport{
		Item: s.Item.ID, CampaignID: ids.Campaign, Billable: s.Billable, BidMicros: s.Bid, Capped: s.FrequencyCap,
		SpentNanos: spent[period{line{scopeCampaign, ids.Campaign, lifetime}, 0}],
	}
	for _, l := range s.Limits {
		if c.LimitNanos > 0 && l.nanos() >= c.LimitNanos {
			continue // one that lies closer is there already
		}
		c.LimitNanos, c.Budget, c.PeriodNanos = l.nanos(), l.Scope+" "+l.Kind, 0
		for p, nanos := range spent {
			if p.line == ids.line(l) {
				c.PeriodNanos = max(c.PeriodNanos, nanos)
			}
		}
	}
	if ad := d.diary.ads[ids.Ad]; ad != nil {
		c.Served, c.Impressions, c.Clicks = ad.served, ad.accepted[impression], ad.accepted[click]
	}
	return c
}
