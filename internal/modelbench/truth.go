package modelbench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"gavel/ranking"
)

// Options are those of a run on a made-up world.
type Options struct {
	Impressions int
	Seed        uint64
	Params      ranking.Params
}

// Bounds of what a run must show.
const (
	// MaxOverBayes is how far the normalised entropy may be above that of the true probabilities, as a share.
	MaxOverBayes = 0.005
	// heldOut is the part of the impressions, the last one, that is scored by a snapshot and not learned.
	heldOut = 40
	// minSlice is how many held-out impressions make a slice that counts.
	minSlice = 10_000
	// lateOneIn clicks comes lateBy impressions after its window has closed.
	lateOneIn = 10
	lateBy    = 20_000
)

// Truth is what a run has shown. Entropies and calibration are of the held-out impressions, whose true probabilities are known: the log
// loss is the one to be expected under them, and calibration is Σ predicted / Σ true, so that neither has the noise of drawn clicks.
type Truth struct {
	Impressions int     `json:"impressions"`
	Clicks      int     `json:"clicks"`
	LateClicks  int     `json:"late_clicks"`
	Conversions int     `json:"conversions"`
	HeldOut     int     `json:"held_out"`
	CTR         float64 `json:"ctr"`
	// Bayes and Model are normalised entropies; OverBayes is Model/Bayes − 1.
	Bayes     float64 `json:"ne_bayes"`
	Model     float64 `json:"ne_model"`
	OverBayes float64 `json:"ne_over_bayes"`
	// Progressive is that of the last half-life of training, against the drawn clicks.
	Progressive            float64 `json:"ne_progressive"`
	ProgressiveCalibration float64 `json:"calibration_progressive"`
	Calibration            float64 `json:"calibration"`
	// ConversionOverBayes is that of the conversion model.
	ConversionOverBayes   float64 `json:"conversion_ne_over_bayes"`
	ConversionCalibration float64 `json:"conversion_calibration"`
	Slices                []Slice `json:"slices"`
	// SlotError is the largest relative error of an estimated slot factor.
	SlotError float64 `json:"slot_error"`
	// Coverage is how often the true logit of the first slot was within two standard errors.
	Coverage float64 `json:"coverage_2se"`

	TrainSeconds  float64 `json:"train_seconds"`
	NSPerExample  float64 `json:"ns_per_example"`
	SnapshotBytes int     `json:"snapshot_bytes"`
	StateBytes    int     `json:"state_bytes"`
}

// Slice is a part of the held-out impressions, at least minSlice.
type Slice struct {
	Name        string  `json:"name"`
	Impressions int     `json:"impressions"`
	Calibration float64 `json:"calibration"`
}

// Wrong says which of the bounds a run has missed.
func (res *Truth) Wrong() error {
	var problems []error
	if !(res.OverBayes <= MaxOverBayes) {
		problems = append(problems, fmt.Errorf("the normalised entropy is %.2f %% above the optimum, more than %.1f %%", 100*res.OverBayes, 100*MaxOverBayes))
	}
	if !(res.Calibration >= 0.99 && res.Calibration <= 1.01) {
		problems = append(problems, fmt.Errorf("calibration %.4f is not in [0.99, 1.01]", res.Calibration))
	}
	for _, s := range res.Slices {
		if !(s.Calibration >= 0.95 && s.Calibration <= 1.05) {
			problems = append(problems, fmt.Errorf("calibration %.4f of %s (%d impressions) is not in [0.95, 1.05]", s.Calibration, s.Name, s.Impressions))
		}
	}
	return errors.Join(problems...)
}

// tally sums over impressions.
type tally struct {
	n                        int
	predicted, truth         float64
	lossOfModel, lossOfTruth float64
}

func (t *tally) add(p, truth float64) {
	t.n++
	t.predicted += p
	t.truth += truth
	t.lossOfModel -= truth*math.Log(p) + (1-truth)*math.Log1p(-p)
	t.lossOfTruth -= truth*math.Log(truth) + (1-truth)*math.Log1p(-truth)
}

// entropies are normalised ones.
func (t *tally) entropies() (model, bayes float64) {
	n, rate := float64(t.n), t.truth/float64(t.n)
	base := n * -(rate*math.Log(rate) + (1-rate)*math.Log1p(-rate))
	return t.lossOfModel / base, t.lossOfTruth / base
}

// RunTruth trains on a made-up world and judges what was learned by what is true there.
func RunTruth(ctx context.Context, o Options) (*Truth, error) {
	t, err := ranking.NewTrainer(o.Params)
	if err != nil {
		return nil, err
	}
	if o.Impressions < 2*heldOut {
		return nil, fmt.Errorf("%d impressions are too few", o.Impressions)
	}
	w := newWorld(o.Seed)
	e := w.effects()
	r := rand.New(rand.NewPCG(o.Seed, 2)) //nolint:gosec // a run must be repeatable
	res := &Truth{HeldOut: o.Impressions / heldOut}
	res.Impressions = o.Impressions - res.HeldOut
	if err := res.train(ctx, t, w, e, r); err != nil {
		return nil, err
	}
	encoded := t.Snapshot("bench").Append(nil)
	s, err := ranking.Decode(encoded)
	if err != nil {
		return nil, err
	}
	res.SnapshotBytes, res.StateBytes = len(encoded), len(t.AppendState(nil))
	m := t.Metrics()
	res.Progressive, res.ProgressiveCalibration = m.Click.Recent.NormalisedEntropy(), m.Click.Recent.Calibration()
	res.judge(s, w, e, r)
	for p, name := range placementNames {
		for i, a := range s.SlotFactors(name) {
			res.SlotError = max(res.SlotError, math.Abs(a/slotFactors[p][i]-1))
		}
	}
	return res, ranking.Gate(&m)
}

func (res *Truth) train(ctx context.Context, t *ranking.Trainer, w *world, e *effects, r *rand.Rand) error {
	type lateClick struct {
		due int
		ex  ranking.Example
	}
	var late []lateClick
	var im impression
	var spent time.Duration
	batch := make([]ranking.Example, 0, 1024)
	learn := func() {
		start := time.Now()
		for i := range batch {
			t.LearnClick(&batch[i])
		}
		spent += time.Since(start)
		batch = batch[:0]
	}
	for n := range res.Impressions {
		w.draw(r, e, &im)
		im.ex.Clicked = r.Float64() < im.truth
		if im.ex.Clicked {
			res.Clicks++
			im.ex.Converted = r.Float64() < im.conversion
			if im.ex.Converted {
				res.Conversions++
			}
			t.LearnConversion(&im.ex)
			if r.IntN(lateOneIn) == 0 {
				res.LateClicks++
				im.ex.Clicked = false
				late = append(late, lateClick{n + lateBy, im.ex})
			}
		}
		if batch = append(batch, im.ex); len(batch) == cap(batch) {
			learn()
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		for len(late) > 0 && late[0].due <= n {
			t.LearnLateClick(&late[0].ex)
			late = late[1:]
		}
	}
	learn()
	res.TrainSeconds = spent.Seconds()
	res.NSPerExample = float64(spent.Nanoseconds()) / float64(res.Impressions)
	res.CTR = float64(res.Clicks) / float64(res.Impressions)
	return nil
}

// judge scores the held-out impressions.
func (res *Truth) judge(s *ranking.Snapshot, w *world, e *effects, r *rand.Rand) {
	var all, conversions tally
	parts := map[string]*tally{}
	factors := map[string][]float64{}
	for _, name := range placementNames {
		factors[name] = s.SlotFactors(name)
	}
	covered := 0
	var im impression
	for range res.HeldOut {
		w.draw(r, e, &im)
		sc := s.Scorer(&im.ex.Features)
		p := sc.PCTR(&im.ex.Item)
		x, stderr := sc.Uncertain(&im.ex.Item)
		first := im.truth / slotFactors[im.place][im.ex.Slot]
		if math.Abs(x-math.Log(first/(1-first))) <= 2*stderr {
			covered++
		}
		if f := factors[im.ex.Placement]; f != nil {
			p *= f[im.ex.Slot]
		}
		all.add(p, im.truth)
		conversions.add(sc.PCVR(&im.ex.Item), im.conversion)
		for _, name := range []string{
			"placement=" + im.ex.Placement, fmt.Sprintf("slot=%s.%d", im.ex.Placement, im.ex.Slot), fmt.Sprintf("country=%d", im.country),
			fmt.Sprintf("ad=%d", im.ex.Item.AdID), fmt.Sprintf("campaign=%d", im.ex.Item.CampaignID), "category=" + im.ex.Item.Category,
			"objective=" + string(im.ex.Item.Objective), fmt.Sprintf("placement×country=%s.%d", im.ex.Placement, im.country),
		} {
			part := parts[name]
			if part == nil {
				part = &tally{}
				parts[name] = part
			}
			part.add(p, im.truth)
		}
	}
	res.Model, res.Bayes = all.entropies()
	res.OverBayes = res.Model/res.Bayes - 1
	res.Calibration = all.predicted / all.truth
	res.Coverage = float64(covered) / float64(res.HeldOut)
	model, bayes := conversions.entropies()
	res.ConversionOverBayes, res.ConversionCalibration = model/bayes-1, conversions.predicted/conversions.truth
	for name, part := range parts {
		if part.n >= minSlice {
			res.Slices = append(res.Slices, Slice{name, part.n, part.predicted / part.truth})
		}
	}
	slices.SortFunc(res.Slices, func(a, b Slice) int { return cmp.Compare(a.Name, b.Name) })
}
