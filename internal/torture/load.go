package torture

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goccy/go-json"
)

// The mix of the load.
const (
	slotsPerPage   = 4
	appShare       = 0.5  // pages whose events come in batches, as from an app; the others' come one by one
	viewableShare  = 0.6  // impressions that are also viewable
	clickShare     = 0.02 // ads that pay per impression and are clicked
	paidClickShare = 0.005
	duplicateShare = 0.1  // events that are sent a second time
	replayShare    = 0.02 // events that are sent again after a while, some after their time
	forgedShare    = 0.01 // events beside which a forged one is sent

	users       = 20_000
	maxInFlight = 4096
)

// When things happen after an ad was served.
const (
	impressionWithin = 300 * time.Millisecond
	viewableAfter    = time.Second
	clickWithin      = 3 * time.Second
	duplicateWithin  = 3 * time.Second
	replayAfter      = time.Second // and up to an event's lifetime later: some come too late
	retryAfter       = 200 * time.Millisecond
	maxRetryAfter    = time.Second
)

// Load is what the clients do: pages at a fixed rate, whatever the answers are, and the events of every ad that was served. Its
// methods may be called from any goroutine.
type Load struct {
	client   *client
	diary    *Diary
	clicks   map[int64]bool // ads that pay per click
	eventTTL time.Duration
	start    time.Time

	rate   atomic.Int64
	copies atomic.Int64
	work   sync.WaitGroup
	slots  chan struct{}
	due    queue
	open   atomic.Int64 // jobs that are due or under way

	mu      sync.Mutex
	seconds []Second
	totals  Totals
}

// Second is what happened to the pages that were asked for in one second.
type Second struct {
	Asked  int `json:"asked"`
	Ads    int `json:"ads"`
	Errors int `json:"errors"` // tries, of pages and of events, that had no answer or a 5xx
}

// Totals are counts over the whole row.
type Totals struct {
	Pages       int `json:"pages"`                 // page loads
	Unserved    int `json:"pages_unserved"`        // page loads that no node answered
	Skipped     int `json:"pages_skipped"`         // page loads that the generator could not start: it was too slow
	Ads         int `json:"ads"`                   // ads on answered pages
	AdAnswers   int `json:"ad_answers"`            // answered ad requests
	Ad5xx       int `json:"ad_5xx"`                // of them, with a 5xx
	AdCut       int `json:"ad_cut"`                // tries of ad requests that nobody answered
	EventTries  int `json:"event_tries"`           // events sent, each time counted
	EventCut    int `json:"event_cut"`             // of them, unanswered
	Event5xx    int `json:"event_5xx"`             // of them, answered 5xx
	Expired     int `json:"event_expired"`         // of them, answered 410
	Forged      int `json:"forged"`                // forged events sent and answered
	Duplicates  int `json:"duplicates"`            // events sent a second time on purpose
	Replays     int `json:"replays"`               // events sent again late on purpose
	NotAnswered int `json:"served_never_answered"` // ads whose impression never had an answer
}

func newLoad(c *client, d *Diary, campaigns []Campaign, rate int, eventTTL time.Duration) *Load {
	l := &Load{
		client: c, diary: d, clicks: map[int64]bool{}, eventTTL: eventTTL, start: time.Now(), slots: make(chan struct{}, maxInFlight),
	}
	for _, k := range campaigns {
		l.clicks[k.Ad] = k.Clicks
	}
	l.rate.Store(int64(rate))
	return l
}

// SetRate changes the page loads per second, over both nodes; 0 pauses them. Events that are due go on.
func (l *Load) SetRate(pagesPerSecond int) { l.rate.Store(int64(pagesPerSecond)) }

// SetCopies makes every event be delivered n times in all, over all nodes; 1 is the default.
func (l *Load) SetCopies(n int) { l.copies.Store(int64(n - 1)) }

// Totals are the counts so far.
func (l *Load) Totals() Totals {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.totals
}

// run generates the load until ctx ends, and returns when everything that was under way has ended.
func (l *Load) run(ctx context.Context) {
	l.work.Go(func() { l.pages(ctx) })
	l.work.Go(func() { l.events(ctx) })
	<-ctx.Done()
	l.work.Wait()
}

// pages asks for pages at the rate.
func (l *Load) pages(ctx context.Context) {
	const tooLate = time.Second
	next := time.Now()
	for ctx.Err() == nil {
		rate := l.rate.Load()
		if rate <= 0 {
			if Wait(ctx, pollEvery) != nil {
				return
			}
			next = time.Now()
			continue
		}
		if ahead := time.Until(next); ahead > 0 {
			if Wait(ctx, ahead) != nil {
				return
			}
		} else if ahead < -tooLate { // a machine that stood still does not get its requests all at once
			next = time.Now()
		}
		next = next.Add(time.Second / time.Duration(rate))
		select {
		case l.slots <- struct{}{}:
			l.work.Go(func() {
				defer func() { <-l.slots }()
				l.page(pageBody())
			})
		default:
			l.count(func(t *Totals) { t.Skipped++ })
		}
	}
}

func (l *Load) count(f func(*Totals)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.totals)
}

// second changes the counts of the second that at is in.
func (l *Load) second(at time.Time, f func(*Second)) {
	n := int(at.Sub(l.start) / time.Second)
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.seconds) <= n {
		l.seconds = append(l.seconds, Second{})
	}
	f(&l.seconds[n])
}

// pageAnswer is the answer to an ad request, as far as the client looks at it.
type pageAnswer struct {
	Ads []struct {
		AdID          string `json:"ad_id"`
		AdGroupID     string `json:"ad_group_id"`
		CampaignID    string `json:"campaign_id"`
		AdAccountID   string `json:"ad_account_id"`
		ImpressionURL string `json:"impression_url"`
		ViewableURL   string `json:"viewable_url"`
		ClickURL      string `json:"click_url"`
	} `json:"ads"`
}

// page is one page load: asked for once, and once more of the other node when there was no answer.
func (l *Load) page(body []byte) {
	asked := time.Now()
	preferred := below(len(l.client.hosts))
	l.second(asked, func(s *Second) { s.Asked++ })
	l.count(func(t *Totals) { t.Pages++ })
	for try := range 2 {
		h := l.client.pick(preferred + try)
		var ads []*Served
		var bad error
		status := h.post("/v1/ads", l.client.feedKey, body, pageWithin, func(status int, text []byte) {
			if status == 200 {
				ads, bad = readPage(text, asked)
			} else {
				bad = fmt.Errorf("%.300s", text)
			}
		})
		l.answered(asked, status, len(ads))
		switch {
		case status == 200 && bad == nil:
			l.diary.serve(ads)
			l.see(ads, h.number)
			return
		case status > 0:
			if status < 500 {
				l.diary.Blame(fmt.Sprintf("POST /v1/ads: status %d: %v", status, bad))
			}
			return
		}
	}
	l.count(func(t *Totals) { t.Unserved++ })
}

// answered counts one try of an ad request.
func (l *Load) answered(asked time.Time, status, ads int) {
	failed := status <= 0 || status >= 500
	l.second(asked, func(s *Second) {
		s.Ads += ads
		if failed {
			s.Errors++
		}
	})
	l.count(func(t *Totals) {
		t.Ads += ads
		switch {
		case status <= 0:
			t.AdCut++
		default:
			t.AdAnswers++
			if status >= 500 {
				t.Ad5xx++
			}
		}
	})
}

// pageBody is a page load of a random user: some interests that plain campaigns target, now and then one of a scarce campaign.
func pageBody() []byte {
	first := below(plainAudiences)
	interests := []string{plainAudience(first), plainAudience(first + 7), plainAudience(first + 19)}
	if chance(0.25) {
		interests = append(interests, scarceAudience(below(scarceAudiences)))
	}
	return pageFor(interests...)
}

// pageFor is a page load of a random user with some interests.
func pageFor(interests ...string) []byte {
	b := make([]byte, 0, 400)
	b = append(b, `{"placement":"BROWSE","slots":[`...)
	for i := range slotsPerPage {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"id":"s%d","position":%d}`, i, 2+5*i)
	}
	b = fmt.Appendf(b, `],"user":{"id":"u%d","country":"US","age":%d,"interests":["%s"]}`, below(users), 18+below(50), strings.Join(interests, `","`))
	return append(b, `,"device":{"app_type":"iphone"}}`...)
}

// readPage reads the ads of an answer.
func readPage(text []byte, asked time.Time) ([]*Served, error) {
	var page pageAnswer
	if err := json.Unmarshal(text, &page); err != nil {
		return nil, fmt.Errorf("read page: %w", err)
	}
	now := time.Now()
	ads := make([]*Served, len(page.Ads))
	for i := range page.Ads {
		a := &page.Ads[i]
		s := &Served{Asked: asked, At: now}
		for _, id := range []struct {
			text string
			into *int64
		}{{a.AdID, &s.Ad}, {a.AdGroupID, &s.AdGroup}, {a.CampaignID, &s.Campaign}, {a.AdAccountID, &s.Account}} {
			n, err := strconv.ParseInt(id.text, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("read page: %w", err)
			}
			*id.into = n
		}
		for k, e := range []struct{ kind, url string }{{impression, a.ImpressionURL}, {viewable, a.ViewableURL}, {click, a.ClickURL}} {
			at := strings.LastIndexByte(e.url, '/')
			s.Tokens[k] = &Token{Text: strings.Clone(e.url[at+1:]), Kind: e.kind, Of: s}
		}
		ads[i] = s
	}
	return ads, nil
}

// see plans what the user of a page does: every ad is an impression, most are viewable, a few are clicked.
func (l *Load) see(ads []*Served, node int) {
	if len(ads) == 0 {
		return
	}
	now := time.Now()
	if !chance(0.9) { // the network's way to a node is not the page's
		node = below(len(l.client.hosts))
	}
	var shown, viewed, clicked []*Token
	for _, s := range ads {
		shown = append(shown, s.Tokens[0])
		if chance(viewableShare) {
			viewed = append(viewed, s.Tokens[1])
		}
		share := clickShare
		if l.clicks[s.Ad] {
			share = paidClickShare
		}
		if chance(share) {
			clicked = append(clicked, s.Tokens[2])
		}
	}
	app := chance(appShare)
	at := now.Add(someOf(impressionWithin))
	l.tell(app, node, at, shown)
	l.tell(app, node, at.Add(viewableAfter), viewed)
	for _, t := range clicked {
		l.tell(app, node, at.Add(viewableAfter+someOf(clickWithin)), []*Token{t})
	}
}

// tell plans the deliveries of events that happen together.
func (l *Load) tell(batch bool, node int, at time.Time, tokens []*Token) {
	if len(tokens) == 0 {
		return
	}
	if batch {
		l.later(at, job{tokens: tokens, batch: true, node: node})
	}
	for _, t := range tokens {
		one := []*Token{t}
		if !batch {
			l.later(at, job{tokens: one, node: node})
		}
		if chance(duplicateShare) {
			l.count(func(t *Totals) { t.Duplicates++ })
			when := at
			if below(3) > 0 {
				when = at.Add(someOf(duplicateWithin))
			}
			l.later(when, job{tokens: one, batch: chance(0.5), node: node + below(2), once: true})
		}
		if chance(replayShare) {
			l.count(func(t *Totals) { t.Replays++ })
			l.later(time.Now().Add(replayAfter+someOf(l.eventTTL)), job{tokens: one, batch: chance(0.5), node: node + below(2), once: true})
		}
		for i := range int(l.copies.Load()) {
			l.later(at.Add(someOf(duplicateWithin)), job{tokens: one, batch: i%2 == 0, node: node + i/2, once: true})
		}
		if chance(forgedShare) {
			l.later(at, job{tokens: one, node: node, forged: true})
		}
	}
}

func (l *Load) later(at time.Time, j job) {
	l.open.Add(1)
	l.due.push(at, j)
}
