package torture

import (
	"container/heap"
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/goccy/go-json"
)

// job is one delivery of one or more events.
type job struct {
	tokens []*Token
	batch  bool // POST /v1/events; else each token is one request, and there is one token
	node   int  // the preferred one
	once   bool // on purpose a second time: it is not tried again
	forged bool
	try    int
}

// queue holds jobs until they are due. It is safe for concurrent use.
type queue struct {
	mu   sync.Mutex
	jobs jobHeap
}

type dueJob struct {
	at time.Time
	job
}

type jobHeap []dueJob

func (h jobHeap) Len() int           { return len(h) }
func (h jobHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h jobHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *jobHeap) Push(x any) { *h = append(*h, x.(dueJob)) } //nolint:forcetypeassert // only push calls it

// Pop implements heap.Interface.
func (h *jobHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = dueJob{}
	*h = (*h)[:last]
	return x
}

func (q *queue) push(at time.Time, j job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	heap.Push(&q.jobs, dueJob{at, j})
}

// pop returns a job that is due.
func (q *queue) pop(now time.Time) (job, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.jobs) == 0 || q.jobs[0].at.After(now) {
		return job{}, false
	}
	return heap.Pop(&q.jobs).(dueJob).job, true //nolint:forcetypeassert // only push fills it
}

// forget drops what is sent on purpose a second time and due after at, and returns how much that was.
func (q *queue) forget(at time.Time) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	had := len(q.jobs)
	q.jobs = slices.DeleteFunc(q.jobs, func(j dueJob) bool { return j.once && j.at.After(at) })
	heap.Init(&q.jobs)
	return had - len(q.jobs)
}

// events delivers what is due until ctx ends.
func (l *Load) events(ctx context.Context) {
	const every = 2 * time.Millisecond
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		for {
			j, ok := l.due.pop(time.Now())
			if !ok {
				break
			}
			select {
			case l.slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			l.work.Go(func() {
				defer func() { <-l.slots }()
				l.deliver(j)
				l.open.Add(-1)
			})
		}
	}
}

// deliver sends a job once, and plans the next try of what has no final answer.
func (l *Load) deliver(j job) {
	switch {
	case j.forged:
		l.forge(j)
		return
	case j.batch:
		l.deliverBatch(j)
	default:
		l.deliverOne(j)
	}
	if j.once {
		return
	}
	var again []*Token
	for _, t := range j.tokens {
		if !t.Settled() {
			again = append(again, t)
		}
	}
	if len(again) > 0 {
		j.tokens, j.node, j.try = again, j.node+1, j.try+1
		l.later(time.Now().Add(min(maxRetryAfter, time.Duration(j.try)*retryAfter)), j)
	}
}

func (l *Load) deliverOne(j job) {
	t, h := j.tokens[0], l.client.pick(j.node)
	path := "/v1/e/"
	if t.Kind == click {
		path = "/v1/c/"
	}
	sent := time.Now()
	status := h.get(path+t.Text, eventWithin)
	t.note(Delivery{Node: h.number, Status: status, Redirect: status == 302, Sent: sent, Done: time.Now()})
	l.told(sent, status, 1)
}

// deliverBatch sends many events at once. What the batch says of each is what a single event would have been answered.
func (l *Load) deliverBatch(j job) {
	var in struct {
		Events []struct {
			Token string `json:"token"`
		} `json:"events"`
	}
	for _, t := range j.tokens {
		in.Events = append(in.Events, struct {
			Token string `json:"token"`
		}{t.Text})
	}
	body, err := json.Marshal(in)
	if err != nil {
		l.diary.Blame("encode batch: " + err.Error())
		return
	}
	var out struct {
		Items []struct {
			Status string `json:"status"`
		} `json:"items"`
	}
	h, sent := l.client.pick(j.node), time.Now()
	status := h.post("/v1/events", "", body, eventWithin, func(status int, text []byte) {
		if status == 202 {
			err = json.Unmarshal(text, &out)
		}
	})
	done := time.Now()
	if status == 202 && (err != nil || len(out.Items) != len(j.tokens)) {
		l.diary.Blame(fmt.Sprintf("POST /v1/events: %d answers for %d events: %v", len(out.Items), len(j.tokens), err))
		status = NoAnswer
	}
	for i, t := range j.tokens {
		each := status
		if status == 202 {
			each = map[string]int{"accepted": 202, "expired": 410, "invalid": 400, "unavailable": 503}[out.Items[i].Status]
		}
		t.note(Delivery{Node: h.number, Status: each, Sent: sent, Done: done})
		l.told(sent, each, 1)
	}
}

// told counts one try of some events.
func (l *Load) told(sent time.Time, status, events int) {
	if status <= 0 || status >= 500 {
		l.second(sent, func(s *Second) { s.Errors++ })
	}
	l.count(func(t *Totals) {
		t.EventTries += events
		switch {
		case status <= 0:
			t.EventCut += events
		case status >= 500:
			t.Event5xx += events
		case status == 410:
			t.Expired += events
		}
	})
}

// forge sends what was never sealed. Whoever takes it takes anything.
func (l *Load) forge(j job) {
	how, text := forgery(j.tokens[0].Text)
	h := l.client.pick(j.node)
	path := "/v1/e/"
	if chance(0.5) {
		path = "/v1/c/"
	}
	status := h.get(path+text, eventWithin)
	if status > 0 && status < 400 || status == 410 {
		l.diary.Blame(fmt.Sprintf("FORGED: a token %s was answered %d", how, status))
	}
	if status > 0 {
		l.count(func(t *Totals) { t.Forged++ })
	}
}

// forgery makes a wrong token out of a right one.
func forgery(text string) (how, forged string) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return "as it came", text + "A"
	}
	switch below(5) {
	case 0:
		how = "with a flipped bit"
		raw[below(len(raw))] ^= 1 << below(8)
	case 1:
		how = "of another kind"
		raw[2] = raw[2]%3 + 1
	case 2:
		how = "cut short"
		raw = raw[:below(len(raw)-1)+1]
	case 3:
		how = "with a longer body"
		raw = append(raw, 0)
	default:
		how = "of random bytes"
		for i := 3; i < len(raw); i++ {
			raw[i] = byte(below(256))
		}
	}
	return how, base64.RawURLEncoding.EncodeToString(raw)
}

// hurry drops the deliveries that are sent on purpose a second time and not due yet.
func (l *Load) hurry() { l.open.Add(-int64(l.due.forget(time.Now()))) }

// settle waits until every event has been told of and no delivery is due, for at most within.
func (l *Load) settle(ctx context.Context, within time.Duration) error {
	return Until(ctx, within, "every event has its answer", func(context.Context) bool { return l.open.Load() == 0 })
}
