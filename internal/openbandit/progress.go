package openbandit

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress shows how far a run is. Only one goroutine uses it.
type progress struct {
	w        io.Writer
	terminal bool
	bar      *progressbar.ProgressBar
	last     time.Time
}

const (
	// lineEvery is how often a line is written where there is no terminal.
	lineEvery = 5 * time.Second
	barEvery  = 100 * time.Millisecond
)

func (p *progress) line(format string, args ...any) {
	p.end()
	fmt.Fprintf(p.w, format+"\n", args...)
}

// step shows a short phase.
func (p *progress) step(what string, done, all int) {
	if p.due(done == all) {
		p.show(what, done, all)
	}
}

// pages shows the pages.
func (p *progress) pages(done, all int, d *diary) {
	if !p.due(done == all) {
		return
	}
	what := "page loads"
	d.locked(func() {
		if d.slots > 0 {
			what = fmt.Sprintf("page loads, %d ads served, fill rate %.1f %%, %d errors", d.served, 100*float64(d.served)/float64(d.slots), d.errors)
		}
	})
	p.show(what, done, all)
}

// due reports whether it is time to show something again.
func (p *progress) due(last bool) bool {
	every := lineEvery
	if p.terminal {
		every = barEvery
	}
	if !last && time.Since(p.last) < every {
		return false
	}
	p.last = time.Now()
	return true
}

func (p *progress) show(what string, done, all int) {
	if !p.terminal {
		fmt.Fprintf(p.w, "%d of %d (%d %%) %s\n", done, all, 100*done/max(all, 1), what)
		return
	}
	if p.bar == nil || p.bar.GetMax() != all {
		p.end()
		p.bar = progressbar.NewOptions(all, progressbar.OptionSetWriter(p.w), progressbar.OptionShowCount(),
			progressbar.OptionSetWidth(24), progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(barEvery/2))
	}
	p.bar.Describe(what)
	_ = p.bar.Set(done) // a terminal that has gone away is nobody's error
	if done == all {
		p.end()
	}
}

// end leaves the bar's line.
func (p *progress) end() {
	if p.bar != nil {
		fmt.Fprintln(p.w)
		p.bar = nil
	}
}
