package openbandit

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// finishTime bounds what comes after the last page: billing, audit, checks.
const finishTime = 3 * time.Minute

// Run runs the plan against the server and checks what came of it. An error means that it could not; what it found is in
// the report. When ctx ends the pages that are under way are finished and the report is of what was done until then.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Concurrency < 1 || o.Concurrency > MaxConcurrency || o.Limit < 0 || o.Speed < 0 || o.RideOut < 0 {
		return nil, fmt.Errorf("concurrency must be from 1 to %d; limit, speed and ride-out not negative", MaxConcurrency)
	}
	client, err := newClient(o.ReadyFile, o.RideOut, o.Concurrency)
	if err != nil {
		return nil, err
	}
	defer client.close()
	floor := &http.Client{Timeout: requestTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: o.Concurrency, DisableCompression: true}}
	defer floor.CloseIdleConnections()
	d := &driver{Options: o, plan: o.Plan, client: client, floor: floor, diary: newDiary(), progress: &progress{w: o.Progress, terminal: o.Terminal}}
	defer d.progress.end()
	return d.run(ctx)
}

func (d *driver) run(ctx context.Context) (*Report, error) {
	if err := d.create(ctx); err != nil {
		return nil, err
	}
	visible, err := d.untilServed(ctx)
	if err != nil {
		return nil, err
	}
	d.progress.line("the %d campaigns of run %s are served, %v after the last was created", len(d.shops), d.plan.Run, visible.Round(time.Millisecond))
	// Other campaigns may be on the pages too: what all accounts had before is what does not count.
	before, err := d.Tally(ctx, d.client.access().DatabaseURL, nil)
	if err != nil {
		return nil, fmt.Errorf("read the database: %w", err)
	}
	start := time.Now()
	d.drive(ctx)
	took := time.Since(start)

	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	fresh, err := d.untilBilled(finish, d.accounts(), &before)
	if err != nil {
		return nil, err
	}
	verdict, err := d.Audit(finish, d.client.access().DatabaseURL)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	r := d.report(&fresh, took)
	r.VisibleAfterMS = visible.Milliseconds()
	r.Audit = verdict
	r.judge()
	return r, nil
}

// accounts are those of every ad that was or could have been served.
func (d *driver) accounts() []int64 {
	accounts := d.diary.accounts()
	for _, s := range d.shops {
		accounts = append(accounts, s.Account)
	}
	slices.Sort(accounts)
	return slices.Compact(accounts)
}
