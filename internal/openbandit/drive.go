package openbandit

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/zeebo/xxh3"
)

// Options say how a plan is run.
type Options struct {
	Plan *Plan
	// ReadyFile names the server; it is read again whenever the server does not answer.
	ReadyFile string
	// Speed is how many times faster than the log pages are loaded; 0 is as fast as Concurrency allows.
	Speed float64
	// Limit is the most rows to replay, 0 for all.
	Limit int
	// Concurrency is how many pages are loaded at once, at least 1.
	Concurrency int
	// RideOut is how long a server may be away before that is an error; 0 not at all.
	RideOut time.Duration
	// BilledWithin is how long the database may stand still after the last page before what it lacks counts as lost.
	BilledWithin time.Duration
	// FloorURL is a handler that every page is also sent to, in turns before and after the server; "" for none.
	FloorURL string
	// Progress is shown there: a bar on a terminal, else a line now and then.
	Progress io.Writer
	Terminal bool
	// Tally and Audit read the server's database.
	Tally TallyFunc
	Audit AuditFunc
}

// Limits of a run.
const (
	MaxConcurrency = 256
	// graceTime is how long pages that are under way may take after the run was interrupted.
	graceTime = 10 * time.Second
)

type driver struct {
	Options
	plan     *Plan
	client   *client
	floor    *http.Client
	diary    *diary
	progress *progress
	shops    []placed      // in the plan's order
	items    map[int64]int // from ad id to the place in shops
}

// The answer to an ad request, as far as the driver looks at it.
type (
	pageAnswer struct {
		RequestID string     `json:"request_id"`
		Ads       []servedAd `json:"ads"`
		NoFill    []struct {
			SlotID string `json:"slot_id"`
			Reason string `json:"reason"`
		} `json:"no_fill"`
		Explain *struct {
			NotListed  int `json:"not_listed"`
			Considered []struct {
				AdID string `json:"ad_id"`
			} `json:"considered"`
		} `json:"explain"`
	}
	servedAd struct {
		SlotID        string `json:"slot_id"`
		AdID          string `json:"ad_id"`
		AdAccountID   string `json:"ad_account_id"`
		ImpressionURL string `json:"impression_url"`
		ViewableURL   string `json:"viewable_url"`
		ClickURL      string `json:"click_url"`

		id, account int64
	}
)

// drive loads the pages in the order of the log until all are loaded or ctx ends.
func (d *driver) drive(ctx context.Context) {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() {
		late := time.AfterFunc(graceTime, stop)
		context.AfterFunc(work, func() { late.Stop() })
	})()
	rows := d.plan.Log.Rows
	if d.Limit > 0 {
		rows = rows[:min(d.Limit, len(rows))]
	}
	turns := make(chan int)
	var workers sync.WaitGroup
	for range d.Concurrency {
		workers.Go(func() {
			for n := range turns {
				d.page(work, n)
			}
		})
	}
	d.dispatch(ctx, rows, turns)
	close(turns)
	workers.Wait()
}

// dispatch hands the rows out, each at its time.
func (d *driver) dispatch(ctx context.Context, rows []Row, turns chan<- int) {
	start := time.Now()
	for n := range rows {
		if d.Speed > 0 {
			due := start.Add(time.Duration(float64(rows[n].At.Sub(rows[0].At)) / d.Speed))
			if wait(ctx, time.Until(due)) != nil {
				return
			}
			lag := time.Since(due)
			d.diary.locked(func() { d.diary.maxLag = max(d.diary.maxLag, lag) })
		}
		select {
		case turns <- n:
		case <-ctx.Done():
			return
		}
		d.progress.pages(n+1, len(rows), d.diary)
	}
}

// page loads the page of one row and reports what its user sees and does.
func (d *driver) page(ctx context.Context, n int) {
	req, user := d.plan.page(n)
	row := &d.plan.Log.Rows[n]
	body, err := json.Marshal(&req)
	if err != nil {
		d.diary.fail("encode %s: %v", req.RequestID, err)
		return
	}
	if n%2 == 0 { // in turns: neither always finds the caches as the other left them
		d.askFloor(ctx, body)
	} else {
		defer d.askFloor(ctx, body)
	}
	if row.Click {
		d.diary.locked(func() { d.diary.clicksInLog++ })
	}
	a, err := d.client.do(ctx, &call{method: http.MethodPost, path: "/v1/ads", as: feed, body: body})
	if err != nil {
		d.diary.fail("POST /v1/ads %s: %v", req.RequestID, err)
		return
	}
	var page pageAnswer
	if a.status == http.StatusOK {
		err = json.Unmarshal(a.body, &page)
	}
	if a.status != http.StatusOK || err != nil {
		d.diary.fail("POST /v1/ads %s: status %d: %.300s %v", req.RequestID, a.status, a.body, err)
		return
	}
	if !d.look(&req, &user, &page) {
		return
	}
	d.diary.page(a.took, &page)
	for i := range page.Ads {
		d.see(ctx, row, &req, &page.Ads[i])
	}
}

// look checks a page against what was asked for. It reports false if the page cannot be used.
func (d *driver) look(req *pageRequest, user *User, page *pageAnswer) bool {
	free := map[string]bool{}
	for _, s := range req.Slots {
		free[s.ID] = true
	}
	take := func(slot string) {
		if !free[slot] {
			d.diary.violate("%s: slot %q was not asked for, or is there twice", req.RequestID, slot)
		}
		free[slot] = false
	}
	if page.RequestID != req.RequestID {
		d.diary.violate("%s: answered as request %q", req.RequestID, page.RequestID)
	}
	advertisers := map[int64]bool{}
	for i := range page.Ads {
		ad := &page.Ads[i]
		var err1, err2 error
		ad.id, err1 = strconv.ParseInt(ad.AdID, 10, 64)
		ad.account, err2 = strconv.ParseInt(ad.AdAccountID, 10, 64)
		if err1 != nil || err2 != nil {
			d.diary.fail("%s: ad %q of account %q has no id", req.RequestID, ad.AdID, ad.AdAccountID)
			return false
		}
		take(ad.SlotID)
		if advertisers[ad.account] {
			d.diary.violate("%s: account %d is on the page twice", req.RequestID, ad.account)
		}
		advertisers[ad.account] = true
		if s, ours := d.items[ad.id]; ours && !d.plan.Shops[s].Admits(user) {
			d.diary.violate("%s: ad %d was shown to %+v, whom it does not target", req.RequestID, ad.id, *user)
		}
	}
	for _, n := range page.NoFill {
		take(n.SlotID)
	}
	for slot, empty := range free {
		if empty {
			d.diary.violate("%s: nothing is said about slot %q", req.RequestID, slot)
		}
	}
	return true
}

// see reports what the user of a row sees of an ad, and the click if the log has one on the same item.
func (d *driver) see(ctx context.Context, row *Row, req *pageRequest, ad *servedAd) {
	// Which events are left out or repeated follows from the row, so that it is the same in every run.
	chance := xxh3.HashString(req.RequestID + ad.SlotID)
	d.tell(ctx, ad, impression, ad.ImpressionURL, chance)
	if chance%4 == 0 {
		d.tell(ctx, ad, viewable, ad.ViewableURL, chance>>2)
	}
	if s, ours := d.items[ad.id]; ours && row.Click && d.plan.Shops[s].Item.ID == row.Item {
		d.tell(ctx, ad, click, ad.ClickURL, chance>>4)
	}
}

// repeatOneIn is the share of events that are sent twice.
const repeatOneIn = 50

// tell sends an event, and now and then a second time.
func (d *driver) tell(ctx context.Context, ad *servedAd, k kind, url string, chance uint64) {
	path, err := pathOf(url)
	if err != nil {
		d.diary.fail("ad %d: %v", ad.id, err)
		return
	}
	token := path[strings.LastIndexByte(path, '/')+1:]
	took, fate := d.send(ctx, k, path)
	d.diary.event(ad, k, token, took, fate)
	if chance>>8%repeatOneIn != 0 || fate != accepted {
		return
	}
	if chance>>16%2 == 0 {
		_, fate = d.send(ctx, k, path)
	} else {
		fate = d.sendInBatch(ctx, token)
	}
	if fate == accepted {
		d.diary.locked(func() { d.diary.repeated++ })
	}
}

// send is what a browser does.
func (d *driver) send(ctx context.Context, k kind, path string) (time.Duration, fate) {
	want := http.StatusNoContent
	if k == click {
		want = http.StatusFound
	}
	a, err := d.client.do(ctx, &call{method: http.MethodGet, path: path})
	return a.took, d.fateOf(&a, err, a.status == want, k.String())
}

// sendInBatch is what an app does that was offline.
func (d *driver) sendInBatch(ctx context.Context, token string) fate {
	body := fmt.Appendf(nil, `{"events":[{"token":%q}]}`, token)
	a, err := d.client.do(ctx, &call{method: http.MethodPost, path: "/v1/events", body: body})
	var batch struct {
		Items []struct {
			Status string `json:"status"`
		} `json:"items"`
	}
	ok := err == nil && a.status == http.StatusAccepted && json.Unmarshal(a.body, &batch) == nil &&
		len(batch.Items) == 1 && batch.Items[0].Status == "accepted"
	return d.fateOf(&a, err, ok, "batch")
}

func (d *driver) fateOf(a *answer, err error, ok bool, what string) fate {
	switch {
	case err != nil:
		d.diary.fail("%s event: %v", what, err)
	case ok:
		return accepted
	default:
		d.diary.fail("%s event: status %d: %.300s", what, a.status, a.body)
	}
	if a.unsure {
		return unsure
	}
	return refused
}

// askFloor sends a page to the floor.
func (d *driver) askFloor(ctx context.Context, body []byte) {
	if d.FloorURL == "" {
		return
	}
	took, err := d.postFloor(ctx, body)
	d.diary.locked(func() {
		if err != nil {
			d.diary.floorErrors++
			return
		}
		record(d.diary.floorLatency, took)
	})
}

func (d *driver) postFloor(ctx context.Context, body []byte) (time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.FloorURL, strings.NewReader(string(body)))
	if err != nil {
		return 0, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+d.client.access().FeedKey) // as many bytes as the server gets
	start := time.Now()
	resp, err := d.floor.Do(req)
	if err != nil {
		return 0, fmt.Errorf("ask the floor: %w", err)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	took := time.Since(start)
	if err := resp.Body.Close(); err != nil {
		return 0, fmt.Errorf("ask the floor: %w", err)
	}
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("the floor answered %d", resp.StatusCode)
	}
	return took, err
}
