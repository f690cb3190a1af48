package openbandit

import (
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// kind is a kind of event.
type kind int

const (
	impression kind = iota
	viewable
	click
	kinds
)

// String is the kind's name in the database.
func (k kind) String() string { return [...]string{"IMPRESSION", "VIEWABLE", "CLICK"}[k] }

// adDiary is what the driver knows of one ad. accepted counts distinct tokens; unsure those whose fate it never learned.
type adDiary struct {
	account          int64
	served           int
	accepted, unsure [kinds]int
}

// most is how many problems of a kind are kept as text.
const most = 20

// diary is the driver's own record of a run. It is safe for concurrent use.
type diary struct {
	mu sync.Mutex

	pages, slots, served, pagesWithAds int
	noFill                             map[string]int
	ads                                map[int64]*adDiary
	accepted                           map[string]bool // tokens
	repeated                           int             // events sent again on purpose, and accepted again
	clicksInLog                        int

	adsLatency, eventLatency, floorLatency *hdrhistogram.Histogram
	maxLag                                 time.Duration

	errors, floorErrors, violations int
	errorTexts, violationTexts      []string
}

func newDiary() *diary {
	// Microseconds up to a minute, three digits.
	histogram := func() *hdrhistogram.Histogram { return hdrhistogram.New(1, int64(time.Minute/time.Microsecond), 3) }
	return &diary{
		noFill: map[string]int{}, ads: map[int64]*adDiary{}, accepted: map[string]bool{},
		adsLatency: histogram(), eventLatency: histogram(), floorLatency: histogram(),
	}
}

func (d *diary) locked(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

func record(h *hdrhistogram.Histogram, took time.Duration) {
	_ = h.RecordValue(max(1, min(took.Microseconds(), h.HighestTrackableValue()))) // what is in range is recorded
}

// fail notes that something the server should have done it did not.
func (d *diary) fail(format string, args ...any) {
	d.locked(func() {
		d.errors++
		if len(d.errorTexts) < most {
			d.errorTexts = append(d.errorTexts, fmt.Sprintf(format, args...))
		}
	})
}

// violate notes that the server did what it must not.
func (d *diary) violate(format string, args ...any) {
	d.locked(func() {
		d.violations++
		if len(d.violationTexts) < most {
			d.violationTexts = append(d.violationTexts, fmt.Sprintf(format, args...))
		}
	})
}

// page notes an answered page load.
func (d *diary) page(took time.Duration, page *pageAnswer) {
	d.locked(func() {
		d.pages++
		d.slots += slots
		d.served += len(page.Ads)
		if len(page.Ads) > 0 {
			d.pagesWithAds++
		}
		for _, n := range page.NoFill {
			d.noFill[n.Reason]++
		}
		for i := range page.Ads {
			d.ad(&page.Ads[i]).served++
		}
		record(d.adsLatency, took)
	})
}

// ad is the diary of an ad; the lock is held.
func (d *diary) ad(ad *servedAd) *adDiary {
	a := d.ads[ad.id]
	if a == nil {
		a = &adDiary{account: ad.account}
		d.ads[ad.id] = a
	}
	return a
}

// event notes the fate of an event that was sent for the first time.
func (d *diary) event(ad *servedAd, k kind, token string, took time.Duration, fate fate) {
	d.locked(func() {
		switch fate {
		case accepted:
			if d.accepted[token] {
				d.violations++
				d.violationTexts = append(d.violationTexts, "two ads have the same event token")
				return
			}
			d.accepted[token] = true
			d.ad(ad).accepted[k]++
			record(d.eventLatency, took)
		case unsure:
			d.ad(ad).unsure[k]++
		case refused:
		}
	})
}

// fate is what became of an event.
type fate int

const (
	accepted fate = iota
	refused
	unsure
)

// expected is how many events of the ads should be in the database, and how many more may be.
func (d *diary) expected() (sure, maybe int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.ads {
		for k := range kinds {
			sure += a.accepted[k]
			maybe += a.unsure[k]
		}
	}
	return sure, maybe
}

// accounts are those of all ads that were served.
func (d *diary) accounts() []int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	seen := map[int64]bool{}
	var list []int64
	for _, a := range d.ads {
		if !seen[a.account] {
			seen[a.account] = true
			list = append(list, a.account)
		}
	}
	return list
}
