package trainer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"gavel/ranking"
)

// Store is where a trainer reads and saves: ranking/postgres.Store.
type Store interface {
	// Lead takes the lead for a term, or continues that of me. A lead that was not continued has another epoch.
	Lead(ctx context.Context, me uuid.UUID, term time.Duration) (epoch int64, ok bool, err error)
	// Leave gives the lead up, if me has it.
	Leave(ctx context.Context, me uuid.UUID) error
	// Load returns what was saved last.
	Load(ctx context.Context) (ranking.Saved, error)
	// Read returns what comes after a cursor, in an order that does not depend on who reads, at most about limit rows of a kind.
	Read(ctx context.Context, from ranking.Cursor, w ranking.Windows, limit int) (ranking.Observed, error)
	// Save writes both or, when another trainer has had the lead since epoch, nothing and an error.
	Save(ctx context.Context, epoch int64, v ranking.Saved, p ranking.Published) error
}

const (
	// minTerm is the least time that a lead lasts without being continued.
	minTerm = 30 * time.Second
	// defaultBatch is how many rows of a kind are read at once; a transaction of billing has a tenth of that.
	defaultBatch = 50_000
	// perSnapshot is after how many observations a snapshot is made although there is more to learn.
	perSnapshot = 1_000_000
	// storeTimeout bounds one call of the store: it may move some hundred megabytes.
	storeTimeout = 2 * time.Minute
	// leaveTimeout bounds giving the lead up at the end.
	leaveTimeout = 2 * time.Second
)

// Config configures a Trainer.
type Config struct {
	Store   Store
	Params  ranking.Params
	Windows ranking.Windows
	// Interval is how often what is new is learned and a snapshot made of it.
	Interval time.Duration
	// Batch is how many rows of a kind are read at once; 0 means 50,000.
	Batch int
	Log   *slog.Logger
}

// Status is where a trainer stands.
type Status struct {
	Leading bool
	Epoch   int64
	// Version is the last snapshot that this process made, RefusedWhy why it was refused.
	Version, RefusedWhy string
	// Clicks and Conversions count the observations that this process has learned, Corrections those of them that came late,
	// Unreadable those that carry what this version cannot read.
	Clicks, Conversions, Corrections, Unreadable int64
	// Published and Refused count the snapshots of this process.
	Published, Refused int64
	// Report is about the last snapshot.
	Report Report
	// Err is what is wrong at the moment.
	Err error
}

// Trainer learns while it leads.
type Trainer struct {
	c  Config
	me uuid.UUID

	// What the lead of epoch stands on; only Run uses it. model is nil while it must be loaded.
	epoch     int64
	model     *ranking.Trainer
	cursor    ranking.Cursor
	published int64

	mu     sync.Mutex
	status Status
}

// New returns a trainer that does nothing yet.
func New(c Config) *Trainer {
	if c.Batch <= 0 {
		c.Batch = defaultBatch
	}
	return &Trainer{c: c, me: uuid.New()}
}

// Status says where the trainer stands. It asks nobody.
func (t *Trainer) Status() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status
}

func (t *Trainer) update(change func(*Status)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.status)
}

// Run trains whenever it leads until ctx ends. It returns nil: whatever happens to the store, it tries again.
func (t *Trainer) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		more, err := t.Step(ctx)
		if ctx.Err() == nil {
			t.report(ctx, err)
		}
		if more && err == nil {
			continue
		}
		wait(ctx, t.c.Interval)
	}
	ctx = context.WithoutCancel(ctx)
	if err := t.Leave(ctx); err != nil {
		t.c.Log.WarnContext(ctx, "trainer: the lead was not given up", "error", err)
	}
	return nil
}

// Leave gives the lead up, if this trainer has it, so that another need not wait for the end of its term.
func (t *Trainer) Leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	t.model = nil
	return t.c.Store.Leave(ctx, t.me)
}

// Step leads if it can, learns what is new and publishes a snapshot if that was anything. more says that there is more to learn at once.
// After an error the next step begins with what was saved last.
func (t *Trainer) Step(ctx context.Context) (more bool, err error) {
	defer func() {
		if err != nil {
			t.model = nil
		}
	}()
	leadCtx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	epoch, ok, err := t.c.Store.Lead(leadCtx, t.me, max(minTerm, 3*t.c.Interval))
	if err != nil {
		return false, err
	}
	t.follow(epoch, ok)
	if !ok {
		return false, nil
	}
	if t.model == nil {
		if err := t.load(ctx); err != nil {
			return false, err
		}
	}
	learned, more, err := t.learn(ctx)
	if err != nil || learned == 0 {
		return false, err
	}
	return more, t.publish(ctx)
}

// follow notes who leads. A trainer that does not lead keeps nothing: a model takes some ten megabytes.
func (t *Trainer) follow(epoch int64, leading bool) {
	if !leading || epoch != t.epoch {
		t.model = nil
	}
	if leading && epoch != t.epoch {
		t.c.Log.Info("this node trains the models", "epoch", epoch)
	}
	if !leading {
		epoch = 0
	}
	t.epoch = epoch
	t.update(func(s *Status) { s.Leading, s.Epoch = leading, epoch })
}

// load takes up what was saved last. A state that this version cannot read is left aside, and everything that the event store still has
// is learned anew.
func (t *Trainer) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	saved, err := t.c.Store.Load(ctx)
	if err != nil {
		return err
	}
	model, cursor := (*ranking.Trainer)(nil), saved.Cursor
	if saved.State != nil {
		if model, err = ranking.RestoreTrainer(saved.State); err != nil {
			t.c.Log.ErrorContext(ctx, "trainer: the saved state cannot be read: everything is learned anew", "error", err)
			cursor = ranking.Cursor{}
		}
	}
	if model == nil {
		if model, err = ranking.NewTrainer(t.c.Params); err != nil {
			return err
		}
	}
	t.model, t.cursor, t.published = model, cursor, saved.Published
	return nil
}

// learn reads and learns until there is nothing more, or enough for a snapshot.
func (t *Trainer) learn(ctx context.Context) (learned int, more bool, err error) {
	for more = true; more && learned < perSnapshot; {
		readCtx, cancel := context.WithTimeout(ctx, storeTimeout)
		o, err := t.c.Store.Read(readCtx, t.cursor, t.c.Windows, t.c.Batch)
		cancel()
		if err != nil {
			return 0, false, err
		}
		t.take(&o)
		learned += len(o.Clicks) + len(o.Conversions)
		t.cursor, more = o.Cursor, o.More
	}
	return learned, more, nil
}

func (t *Trainer) take(o *ranking.Observed) {
	var late, unreadable int64
	each := func(list []ranking.Observation, learn func(*ranking.Observation, *ranking.Example)) {
		for i := range list {
			served, ok := ranking.DecodeServed(&list[i].Served)
			if !ok {
				unreadable++
				continue
			}
			if list[i].Late {
				late++
			}
			ex := served.Example(list[i].Item)
			learn(&list[i], &ex)
		}
	}
	each(o.Clicks, func(ob *ranking.Observation, ex *ranking.Example) {
		if ex.Clicked = ob.Positive; ob.Late {
			t.model.LearnLateClick(ex)
		} else {
			t.model.LearnClick(ex)
		}
	})
	each(o.Conversions, func(ob *ranking.Observation, ex *ranking.Example) {
		if ex.Clicked, ex.Converted = true, ob.Positive; ob.Late {
			t.model.LearnLateConversion(ex)
		} else {
			t.model.LearnConversion(ex)
		}
	})
	t.update(func(s *Status) {
		s.Clicks += int64(len(o.Clicks))
		s.Conversions += int64(len(o.Conversions))
		s.Corrections += late
		s.Unreadable += unreadable
	})
}

// publish saves the model with where it stands, and a snapshot of it or why it was refused.
func (t *Trainer) publish(ctx context.Context) error {
	metrics := t.model.Metrics()
	report := reportOf(&metrics)
	p := ranking.Published{Number: t.published + 1, Version: "m" + strconv.FormatInt(t.published+1, 10)}
	v := ranking.Saved{Cursor: t.cursor, State: t.model.AppendState(nil), Published: p.Number}
	snapshot := t.model.Snapshot(p.Version)
	if refused := errors.Join(snapshot.Validate(), ranking.Gate(&metrics)); refused != nil {
		p.Refused = refused.Error()
		t.c.Log.ErrorContext(ctx, "a model was refused: nodes keep the last good one", "model", p.Version, "error", refused)
		if err := t.abandonIfBroken(ctx, &v); err != nil {
			return err
		}
	} else {
		p.Body = snapshot.Append(nil)
	}
	var err error
	if p.Metrics, err = json.Marshal(report); err != nil {
		return fmt.Errorf("write the metrics of model %s: %w", p.Version, err)
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := t.c.Store.Save(ctx, t.epoch, v, p); err != nil {
		return err
	}
	t.published = p.Number
	t.update(func(s *Status) {
		s.Version, s.RefusedWhy, s.Report = p.Version, p.Refused, report
		if p.Refused == "" {
			s.Published++
		} else {
			s.Refused++
		}
	})
	return nil
}

// abandonIfBroken gives up what was learned since the last save if a trainer could not go on from it, as when a weight is not a number:
// saved, it would be so for ever. What is only off learns on, and comes back.
func (t *Trainer) abandonIfBroken(ctx context.Context, v *ranking.Saved) error {
	if _, err := ranking.RestoreTrainer(v.State); err == nil {
		return nil
	}
	cursor := t.cursor
	if err := t.load(ctx); err != nil {
		return err
	}
	t.c.Log.ErrorContext(ctx, "trainer: what was learned since the last snapshot is given up", "from", t.cursor, "to", cursor)
	t.cursor = cursor
	v.State = t.model.AppendState(nil)
	return nil
}

// report keeps the present error and logs it when it is another one than before.
func (t *Trainer) report(ctx context.Context, err error) {
	var before error
	t.update(func(s *Status) { before, s.Err = s.Err, err })
	switch {
	case err == nil && before != nil:
		t.c.Log.InfoContext(ctx, "trainer: learns again")
	case err != nil && (before == nil || before.Error() != err.Error()):
		t.c.Log.WarnContext(ctx, "trainer: nothing is learned", "error", err)
	}
}

// Report is what is told of a snapshot.
type Report struct {
	Click      ModelReport `json:"click"`
	Conversion ModelReport `json:"conversion"`
}

// ModelReport is about one model: examples (impressions, clicks) and positives (clicks, conversions), over all time and lately.
type ModelReport struct {
	Examples          int64   `json:"examples"`
	Positives         int64   `json:"positives"`
	Calibration       float64 `json:"calibration"`
	NormalisedEntropy float64 `json:"normalised_entropy"`
	RecentExamples    int64   `json:"recent_examples"`
	RecentCalibration float64 `json:"recent_calibration"`
	RecentEntropy     float64 `json:"recent_normalised_entropy"`
}

func reportOf(m *ranking.Metrics) Report {
	return Report{Click: modelReport(&m.Click), Conversion: modelReport(&m.Conversion)}
}

func modelReport(p *ranking.Progress) ModelReport {
	return ModelReport{
		Examples: int64(finite(p.Overall.Examples)), Positives: int64(finite(p.Overall.Positive)), RecentExamples: int64(finite(p.Recent.Examples)),
		Calibration: finite(p.Overall.Calibration()), NormalisedEntropy: finite(p.Overall.NormalisedEntropy()),
		RecentCalibration: finite(p.Recent.Calibration()), RecentEntropy: finite(p.Recent.NormalisedEntropy()),
	}
}

// finite is x, or 0 for what JSON cannot say.
func finite(x float64) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return 0
	}
	return x
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
