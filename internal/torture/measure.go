package torture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const maxAnswer = 8 << 20

// get is a GET that must be answered 200; the body goes to into, if that is not nil.
func get(ctx context.Context, client *http.Client, url string, into func([]byte) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %.300s", url, resp.Status, body)
	}
	if into == nil {
		return nil
	}
	return into(body)
}

// adminClient asks for little and leaves no connection behind, which would be a goroutine of the node.
func adminClient() *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
}

// metric is the sum of a metric over its labels, as the node's admin listener tells it.
func (n *Node) metric(ctx context.Context, name string) (float64, error) {
	sum, found := 0.0, false
	err := get(ctx, adminClient(), n.AdminURL+"/metrics", func(text []byte) error {
		for line := range strings.Lines(string(text)) {
			rest, ok := strings.CutPrefix(line, name)
			if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
				continue
			}
			fields := strings.Fields(rest[strings.LastIndexByte(rest, '}')+1:])
			if len(fields) == 0 {
				continue
			}
			v, err := strconv.ParseFloat(fields[0], 64)
			if err != nil {
				return fmt.Errorf("metric %s: %w", name, err)
			}
			sum, found = sum+v, true
		}
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("node %d has no metric %s", n.Number, name)
	}
	return sum, err
}

// Usage is what a node's process takes.
type Usage struct {
	RSSBytes   int64 `json:"rss_bytes"`
	Goroutines int   `json:"goroutines"`
}

// usage reads what each node takes now; a node that does not tell has zeros.
func (w *World) usage(ctx context.Context) []Usage {
	list := make([]Usage, len(w.Nodes))
	for i, n := range w.Nodes {
		err := get(ctx, adminClient(), n.AdminURL+"/debug/pprof/goroutine?debug=1", func(text []byte) error {
			list[i].Goroutines = countGoroutines(string(text))
			return nil
		})
		if err != nil {
			w.Log("count goroutines of node %d: %v", i, err)
		}
		list[i].RSSBytes = residentBytes(n.PID())
	}
	return list
}

// countGoroutines counts those in a profile that are not of the HTTP server's pool of workers, which keeps idle ones for a while.
func countGoroutines(profile string) int {
	count := 0
	for group := range strings.SplitSeq(profile, "\n\n") {
		if strings.Contains(group, "fasthttp.(*workerPool)") {
			continue
		}
		for line := range strings.Lines(group) {
			if n, _, ok := strings.Cut(line, " @ "); ok {
				if n, err := strconv.Atoi(n); err == nil {
					count += n
				}
			}
		}
	}
	return count
}

// usageAtRest reads what each node takes once it is back near what it took before, or will not come back. The collector runs
// meanwhile: it gives memory back to the system with a hundredth of the processor, and buffers that are kept for use again only on the
// second time.
func (w *World) usageAtRest(ctx context.Context, idle, busy []Usage) []Usage {
	const patience, collectEvery = time.Minute, 2 * time.Second
	var now []Usage
	var collected time.Time
	_ = Until(ctx, patience, "nodes are back", func(ctx context.Context) bool {
		if time.Since(collected) > collectEvery {
			collected = time.Now()
			for _, n := range w.Nodes {
				_ = get(ctx, adminClient(), n.AdminURL+"/debug/pprof/heap?gc=1", nil) // a node that does not answer is told of below
			}
		}
		now = w.usage(ctx)
		for i := range now {
			if now[i].Goroutines == 0 || now[i].keepsGoroutines(idle[i]) || now[i].keepsMemory(busy[i]) {
				return false
			}
		}
		return true
	})
	return now
}

// keepsGoroutines reports whether there are too many more than before the load.
func (u Usage) keepsGoroutines(idle Usage) bool { return u.Goroutines > idle.Goroutines+goroutineSlack }

// keepsMemory reports whether it is too much more than under load before the fault.
func (u Usage) keepsMemory(busy Usage) bool {
	return u.RSSBytes > int64(rssFactor*float64(busy.RSSBytes))+rssSlackMB*bytesPerMegabyte
}

// residentBytes reads the memory of a process; 0 if there is none.
func residentBytes(pid int) int64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// mean is the ads per second over the whole seconds of an interval.
func (l *Load) mean(from, to time.Time) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	first, last := int(from.Sub(l.start)/time.Second), int(to.Sub(l.start)/time.Second) // last is not whole
	ads, n := 0, 0
	for i := max(0, first); i < min(last, len(l.seconds)); i++ {
		ads += l.seconds[i].Ads
		n++
	}
	if n == 0 {
		return 0
	}
	return float64(ads) / float64(n)
}

// baseline is the ads per second of the last few whole seconds, once nearly every slot is filled and nothing fails: a fault in a
// system that is not well shows nothing.
func (w *World) baseline(ctx context.Context) (adsPerSecond float64, err error) {
	const patience = 30 * time.Second
	want := fullShare * float64(w.Plan.Rate*slotsPerPage)
	well := func(context.Context) bool {
		now := time.Now()
		adsPerSecond = w.Load.mean(now.Add(-goodSeconds*time.Second), now)
		_, ok := w.Load.fullFrom(now.Add(-goodSeconds*time.Second), now, want/fullShare)
		return ok
	}
	if err := Until(ctx, patience, fmt.Sprintf("%.0f ads/s without an error before the fault; the machine is too busy for this load", want), well); err != nil {
		return adsPerSecond, err
	}
	return adsPerSecond, nil
}

const (
	// fullShare of the baseline, without an error, from then on and for at least goodSeconds is full service.
	fullShare   = 0.9
	goodSeconds = 3
	// lateAnswers is when nothing more is to come of a second: both tries of a page have had their time.
	lateAnswers = 2*pageWithin + dialWithin
)

// NeverFull says that full service did not come back while the row watched.
const NeverFull = -1

// fullService watches for the plan's time, and for longer until there is full service. It returns how many seconds after cleared
// that began, or NeverFull.
func (w *World) fullService(ctx context.Context, baseline float64, cleared time.Time) float64 {
	if Wait(ctx, max(w.Plan.After, goodSeconds*time.Second)+lateAnswers-time.Since(cleared)) != nil {
		return NeverFull
	}
	for {
		if at, ok := w.Load.fullFrom(cleared, time.Now().Add(-lateAnswers), baseline); ok {
			return max(0, at.Sub(cleared).Seconds())
		}
		if time.Since(cleared) > w.Plan.RecoverWithin+lateAnswers+goodSeconds*time.Second || Wait(ctx, 10*pollEvery) != nil {
			return NeverFull
		}
	}
}

// fullFrom is the first second after which all whole ones until then were good, not before the one that cleared is in. It reports
// false when there are too few of them.
func (l *Load) fullFrom(cleared, until time.Time, baseline float64) (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := max(0, int(cleared.Sub(l.start)/time.Second))
	whole := min(int(until.Sub(l.start)/time.Second), len(l.seconds))
	from := whole
	for from > first {
		if s := l.seconds[from-1]; s.Errors > 0 || float64(s.Ads) < fullShare*baseline {
			break
		}
		from--
	}
	return l.start.Add(time.Duration(from) * time.Second), whole-from >= goodSeconds
}
