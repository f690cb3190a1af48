package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"text/tabwriter"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"gavel/ranking"
	models "gavel/ranking/postgres"
	"gavel/ranking/trainer"
)

// openModels makes the halves of learning that a node has: who trains, if this node leads, and what auctions score by. It asks for the
// newest model at once, so that a node does not begin with the priors; one that cannot have it serves with them.
func (n *node) openModels(ctx context.Context) error {
	store := models.New(n.db)
	n.models = trainer.NewFollower(store, n.log)
	n.trainer = trainer.New(trainer.Config{
		Store: store, Params: ranking.DefaultParams(), Windows: ranking.Windows{Click: n.config.ClickWindow, Conversion: n.config.ConversionWindow},
		Interval: n.config.TrainInterval, Log: n.log,
	})
	_ = n.models.Poll(ctx) // it has logged the error, and tries again
	if err := modelMetrics(n.tel.Meter("gavel"), n.models, n.trainer); err != nil {
		return fmt.Errorf("make metrics: %w", err)
	}
	return nil
}

// startModels starts both.
func (n *node) startModels(jobs context.Context) {
	n.jobs.Go(func() { _ = n.models.Run(jobs) }) // they try again whatever happens, and return nil
	n.jobs.Go(func() { _ = n.trainer.Run(jobs) })
}

// modelMetrics makes the instruments of docs/observability.md that are about models. What a trainer knows is told by the node that leads.
func modelMetrics(m metric.Meter, f *trainer.Follower, t *trainer.Trainer) error {
	var errs []error
	ints := func(name, unit, about string, read func(o metric.Int64Observer)) {
		_, err := m.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(about),
			metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error { read(o); return nil }))
		errs = append(errs, err)
	}
	label := func(key, value string) metric.ObserveOption {
		return metric.WithAttributeSet(attribute.NewSet(attribute.String(key, value)))
	}
	click, conversion := label("model", "click"), label("model", "conversion")
	ints("gavel.model.age", "s", "Age of the model that this node uses; -1 for the built-in priors.", func(o metric.Int64Observer) {
		if s := f.Status(); s.Number > 0 {
			o.Observe(int64(time.Since(s.CreatedAt).Seconds()))
		} else {
			o.Observe(-1)
		}
	})
	ints("gavel.model.refused", "{model}", "Models that this process has refused, when it made them or when it loaded them.", func(o metric.Int64Observer) {
		o.Observe(t.Status().Refused, label("by", "trainer"))
		o.Observe(f.Status().Refused, label("by", "node"))
	})
	ints("gavel.model.learned", "{example}", "What this process has learned from: impressions or clicks, and corrections of them.", func(o metric.Int64Observer) {
		s := t.Status()
		o.Observe(s.Clicks, click)
		o.Observe(s.Conversions, conversion)
	})
	floats := func(name, about string, read func(trainer.ModelReport) float64) {
		_, err := m.Float64ObservableGauge(name, metric.WithUnit("1"), metric.WithDescription(about),
			metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
				if s := t.Status(); s.Leading && s.Version != "" {
					o.Observe(read(s.Report.Click), click)
					o.Observe(read(s.Report.Conversion), conversion)
				}
				return nil
			}))
		errs = append(errs, err)
	}
	floats("gavel.model.calibration", "Recent predicted by real positives, before they were learned; 0 without any.",
		func(r trainer.ModelReport) float64 { return r.RecentCalibration })
	floats("gavel.model.normalised_entropy", "Recent log loss by that of the mean, before they were learned; below 1 is better than the mean.",
		func(r trainer.ModelReport) float64 { return r.RecentEntropy })
	return errors.Join(errs...)
}

// nodeModel is the model of a node as /model on its admin listener shows it.
type nodeModel struct {
	Version   string    `json:"version"`
	CreatedAt time.Time `json:"created_at,omitzero"`
	// AgeMS is -1 for the built-in priors.
	AgeMS       int64                `json:"age_ms"`
	Loads       int64                `json:"loads"`
	Refused     int64                `json:"refused"`
	Error       string               `json:"error,omitempty"`
	SlotFactors map[string][]float64 `json:"slot_factors,omitempty"`
	Trainer     nodeTrainer          `json:"trainer"`
}

type nodeTrainer struct {
	Leading     bool            `json:"leading"`
	Epoch       int64           `json:"epoch,omitempty"`
	Version     string          `json:"version,omitempty"`
	RefusedWhy  string          `json:"refused_why,omitempty"`
	Clicks      int64           `json:"click_examples"`
	Conversions int64           `json:"conversion_examples"`
	Corrections int64           `json:"corrections"`
	Unreadable  int64           `json:"unreadable"`
	Published   int64           `json:"published"`
	Refused     int64           `json:"refused"`
	Report      *trainer.Report `json:"report,omitempty"`
	Error       string          `json:"error,omitempty"`
}

// showModel is the page /model.
func (n *node) showModel(context.Context, url.Values) any {
	f, t := n.models.Status(), n.trainer.Status()
	v := nodeModel{
		Version: f.Version, CreatedAt: f.CreatedAt.UTC(), AgeMS: -1, Loads: f.Loads, Refused: f.Refused, Error: errorText(f.Err), SlotFactors: map[string][]float64{},
		Trainer: nodeTrainer{
			Leading: t.Leading, Epoch: t.Epoch, Version: t.Version, RefusedWhy: t.RefusedWhy, Clicks: t.Clicks, Conversions: t.Conversions,
			Corrections: t.Corrections, Unreadable: t.Unreadable, Published: t.Published, Refused: t.Refused, Error: errorText(t.Err),
		},
	}
	if f.Number > 0 {
		v.AgeMS = time.Since(f.CreatedAt).Milliseconds()
	}
	if t.Version != "" {
		v.Trainer.Report = &t.Report
	}
	for _, p := range []string{"BROWSE", "SEARCH", "OTHER"} {
		if factors := n.models.Current().SlotFactors(p); factors != nil {
			v.SlotFactors[p] = factors
		}
	}
	return v
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

type modelCmd struct {
	List modelListCmd `cmd:"" help:"List the models that are stored, newest first, refused ones too."`
	Show modelShowCmd `cmd:"" help:"Show one model as JSON."`
	Use  modelUseCmd  `cmd:"" help:"Have nodes use one model whatever is newer, or the newest again."`
}

type modelListCmd struct {
	databaseFlag
	JSON bool `name:"json" help:"Print the list as JSON."`
}

type modelShowCmd struct {
	databaseFlag
	Version string `arg:"" help:"As model list shows it."`
}

type modelUseCmd struct {
	databaseFlag
	Version string `arg:"" help:"As model list shows it, or newest."`
}

// storedModel is a model as the commands print it.
type storedModel struct {
	Version   string         `json:"version"`
	CreatedAt time.Time      `json:"created_at"`
	Pinned    bool           `json:"pinned"`
	Refused   string         `json:"refused,omitempty"`
	Report    trainer.Report `json:"report"`
}

// newestModel is what `model use` calls no model in particular.
const newestModel = "newest"

// models runs do with the store of models.
func (f databaseFlag) models(ctx context.Context, do func(*models.Store) error) (err error) {
	db, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return do(models.New(db))
}

func storedModels(ctx context.Context, s *models.Store, version string) ([]storedModel, error) {
	list, err := s.Models(ctx, version)
	if err != nil {
		return nil, err
	}
	out := make([]storedModel, len(list))
	for i, p := range list {
		out[i] = storedModel{Version: p.Version, CreatedAt: p.CreatedAt.UTC(), Pinned: p.Pinned, Refused: p.Refused}
		if err := json.Unmarshal(p.Metrics, &out[i].Report); err != nil {
			return nil, fmt.Errorf("metrics of model %s: %w", p.Version, err)
		}
	}
	return out, nil
}

// Run lists the models.
func (c modelListCmd) Run(ctx context.Context, w world) error {
	return c.models(ctx, func(s *models.Store) error {
		list, err := storedModels(ctx, s, "")
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(w, list)
		}
		t := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "VERSION\tCREATED\tIMPRESSIONS\tCLICKS\tENTROPY\tCALIBRATION\tSTATE")
		for _, m := range list {
			state := "good"
			switch {
			case m.Refused != "":
				state = "refused: " + m.Refused
			case m.Pinned:
				state = "pinned"
			}
			r := m.Report.Click
			fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%.4f\t%.3f\t%s\n", m.Version, m.CreatedAt.Format(time.RFC3339), r.Examples, r.Positives, r.RecentEntropy, r.RecentCalibration, state)
		}
		return t.Flush()
	})
}

// Run shows a model.
func (c modelShowCmd) Run(ctx context.Context, w world) error {
	return c.models(ctx, func(s *models.Store) error {
		list, err := storedModels(ctx, s, c.Version)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return fmt.Errorf("show %s: %w", c.Version, models.ErrUnknownModel)
		}
		return printJSON(w, list[0])
	})
}

// Run pins a model.
func (c modelUseCmd) Run(ctx context.Context, w world) error {
	return c.models(ctx, func(s *models.Store) error {
		version := c.Version
		if version == newestModel {
			version = ""
		}
		if err := s.Pin(ctx, version); err != nil {
			return err
		}
		fmt.Fprintf(w.stdout, "nodes use the model %s within seconds\n", c.Version)
		return nil
	})
}
