package torture

import (
	"sync"
	"time"
)

// The kinds of events, as the database names them.
const (
	impression = "IMPRESSION"
	viewable   = "VIEWABLE"
	click      = "CLICK"
)

// Answers that are not HTTP's.
const (
	// NoAnswer: the node may have heard of it, or not.
	NoAnswer = 0
	// NotSent: no node can have heard of it, for one because the connection was refused.
	NotSent = -1
)

// Delivery is one try to tell a node of an event.
type Delivery struct {
	Node int
	// Status is HTTP's, or NoAnswer, or NotSent. In a batch it is what the same answer would be by itself.
	Status int
	// Redirect says that a 302 was the answer: the user is sent on also when the click comes too late to count.
	Redirect bool
	// Sent and Done are the client's times.
	Sent, Done time.Time
}

// Served is one ad that a client was given. Its ids are what the answer said.
type Served struct {
	Account, Campaign, AdGroup, Ad int64
	At                             time.Time // when the answer came
	Asked                          time.Time // when it was asked for
	Tokens                         [3]*Token // impression, viewable, click
}

// Token is one event that a client may report.
type Token struct {
	Text, Kind string
	// Of is the ad that it belongs to.
	Of *Served

	mu         sync.Mutex
	deliveries []Delivery
	settled    bool // one answer is final
}

// note adds what became of a delivery.
func (t *Token) note(d Delivery) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deliveries = append(t.deliveries, d)
	t.settled = t.settled || final(d.Status)
}

// Deliveries are all tries so far.
func (t *Token) Deliveries() []Delivery {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Delivery(nil), t.deliveries...)
}

// Settled reports whether the client has an answer that it need not ask for again.
func (t *Token) Settled() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.settled
}

// final reports whether the client stops asking after a status: 2xx and 302 are an acceptance, 4xx a refusal.
func final(status int) bool { return status >= 200 && status < 500 }

// Diary is what the clients know: every token that they were given, and every answer that they got for it. It is safe for
// concurrent use.
type Diary struct {
	mu     sync.Mutex
	served []*Served
	limits map[Line]int64    // nanos: the most that may be posted in one period
	lost   map[int]time.Time // nodes whose disk was destroyed, and when
	faults []string          // what the server must not have done, whatever the ledger says
	more   int               // faults that are not in the list
}

// maxTexts is how many problems of one row are told in words.
const maxTexts = 30

func newDiary() *Diary { return &Diary{limits: map[Line]int64{}, lost: map[int]time.Time{}} }

// serve notes the ads of a page.
func (d *Diary) serve(ads []*Served) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.served = append(d.served, ads...)
}

// Served are all ads that clients were given so far, in the order of the answers.
func (d *Diary) Served() []*Served {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.served[:len(d.served):len(d.served)]
}

// Allow notes a limit that the advertiser set: micros, on one line.
func (d *Diary) Allow(limits ...Limit) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range limits {
		d.limits[l.Line] = max(d.limits[l.Line], l.Micros*1000)
	}
}

// NoteCut notes a limit that was lowered while the budget was being spent. heldNanos is what was posted and in escrow in the period
// once the cut had been answered: that much may still be posted, and no more.
func (d *Diary) NoteCut(l Limit, heldNanos int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limits[l.Line] = max(l.Micros*1000, heldNanos)
}

// LoseDisk notes that the journal of a node has been destroyed just now: what this node alone had accepted until then may be lost.
func (d *Diary) LoseDisk(node int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lost[node] = time.Now()
}

// Blame notes something that a server must not do: it fails the row.
func (d *Diary) Blame(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.faults) >= maxTexts {
		d.more++
		return
	}
	d.faults = append(d.faults, text)
}
