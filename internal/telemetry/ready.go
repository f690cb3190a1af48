package telemetry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"gavel/internal/telemetry/redact"
)

// checkTimeout is how long a check may take unless it says otherwise.
const checkTimeout = time.Second

// Check is one thing that must work before a node takes requests.
type Check struct {
	// Name is shown, and told apart, by people: "postgres".
	Name string
	// Func returns nil when it works. It must return soon after its context ends: until it does, it is not called again.
	Func func(ctx context.Context) error
	// Timeout bounds one call; zero is a second.
	Timeout time.Duration
}

// readiness answers /readyz.
type readiness struct{ probes []*probe }

// probe runs one check for everybody who asks at the same time, so that a check that hangs does not pile up.
type probe struct {
	check Check

	mu      sync.Mutex
	current *attempt // nil when none is under way
}

// attempt is one call of a check; err may be read once done is closed.
type attempt struct {
	done chan struct{}
	err  error
}

type checkResult struct {
	Name       string  `json:"name"`
	Status     string  `json:"status"`
	DurationMS float64 `json:"duration_ms"`
	Error      string  `json:"error,omitempty"`
}

func newReadiness(checks []Check) *readiness {
	r := &readiness{}
	for _, c := range checks {
		c.Timeout = cmp.Or(c.Timeout, checkTimeout)
		r.probes = append(r.probes, &probe{check: c})
	}
	return r
}

// ServeHTTP runs every check at once and answers 200 when all passed, 503 when one did not.
func (r *readiness) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	results := make([]checkResult, len(r.probes))
	var wg sync.WaitGroup
	for i, p := range r.probes {
		wg.Go(func() { results[i] = p.result(req.Context()) })
	}
	wg.Wait()
	answer := struct {
		Status string        `json:"status"`
		Checks []checkResult `json:"checks"`
	}{"ok", results}
	code := http.StatusOK
	for _, res := range results {
		if res.Status != "ok" {
			answer.Status, code = "fail", http.StatusServiceUnavailable
		}
	}
	writeJSON(w, code, answer)
}

func (p *probe) result(ctx context.Context) checkResult {
	started := time.Now()
	err := p.wait(ctx)
	res := checkResult{Name: p.check.Name, Status: "ok", DurationMS: float64(time.Since(started).Microseconds()) / 1000}
	if err != nil {
		res.Status, res.Error = "fail", redact.Text(err.Error())
	}
	return res
}

// wait joins the attempt that is under way, or begins one, and waits for it no longer than the timeout.
func (p *probe) wait(ctx context.Context) error {
	a := p.join()
	timer := time.NewTimer(p.check.Timeout)
	defer timer.Stop()
	select {
	case <-a.done:
		return a.err
	case <-timer.C:
		return fmt.Errorf("no answer within %s", p.check.Timeout)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *probe) join() *attempt {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil {
		p.current = &attempt{done: make(chan struct{})}
		go p.run(p.current)
	}
	return p.current
}

// run calls the check. Its context is not the caller's: others may have joined.
func (p *probe) run(a *attempt) {
	ctx, cancel := context.WithTimeout(context.Background(), p.check.Timeout)
	defer cancel()
	a.err = errors.New("the check panicked")
	defer func() {
		_ = recover() // a broken check is a failed check, not a dead server
		p.mu.Lock()
		p.current = nil
		p.mu.Unlock()
		close(a.done)
	}()
	a.err = p.check.Func(ctx)
}
