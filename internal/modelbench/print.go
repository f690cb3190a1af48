package modelbench

import (
	"fmt"
	"io"
)

// Print says what a run has shown.
func (res *Truth) Print(w io.Writer) {
	fmt.Fprintf(w, "learned              %d impressions, %d clicks (%.2f %%), %d of them late; %d conversions\n", res.Impressions, res.Clicks, 100*res.CTR, res.LateClicks, res.Conversions)
	fmt.Fprintf(w, "predicted            %d impressions\n", res.HeldOut)
	fmt.Fprintf(w, "normalised entropy   %.5f; of the true probabilities %.5f: %.2f %% above\n", res.Model, res.Bayes, 100*res.OverBayes)
	fmt.Fprintf(w, "calibration          %.4f\n", res.Calibration)
	low, high := res.worst()
	fmt.Fprintf(w, "  of %3d slices      %.4f (%s) to %.4f (%s)\n", len(res.Slices), low.Calibration, low.Name, high.Calibration, high.Name)
	fmt.Fprintf(w, "slot factors         at most %.1f %% off\n", 100*res.SlotError)
	fmt.Fprintf(w, "two standard errors  hold %.2f %% of the true logits\n", 100*res.Coverage)
	fmt.Fprintf(w, "conversions          normalised entropy %.2f %% above, calibration %.4f\n", 100*res.ConversionOverBayes, res.ConversionCalibration)
	fmt.Fprintf(w, "progressive, recent  normalised entropy %.5f, calibration %.4f, against drawn clicks\n", res.Progressive, res.ProgressiveCalibration)
	fmt.Fprintf(w, "cost                 %.1f s, %.0f ns an example; snapshot %.1f MB, state %.1f MB\n",
		res.TrainSeconds, res.NSPerExample, float64(res.SnapshotBytes)/1e6, float64(res.StateBytes)/1e6)
}

// worst are the slices of the least and the most calibration.
func (res *Truth) worst() (low, high Slice) {
	for i, s := range res.Slices {
		if i == 0 || s.Calibration < low.Calibration {
			low = s
		}
		if i == 0 || s.Calibration > high.Calibration {
			high = s
		}
	}
	return low, high
}

// Print says what a run has shown.
func (f *Feed) Print(w io.Writer) {
	fmt.Fprintf(w, "learned              %d rows, %d clicks; α %g, λ2 %g, chosen there\n", f.TrainRows, f.TrainClicks, f.Alpha, f.L2)
	fmt.Fprintf(w, "predicted            %d rows, %d clicks\n", f.TestRows, f.TestClicks)
	fmt.Fprintf(w, "normalised entropy   model %.4f (%.4f when it learns on), constant per item %.4f (strength %g), one constant %.4f\n",
		f.Model, f.Online, f.Items, f.Strength, f.Constant)
	fmt.Fprintf(w, "model − per item     %+.4f, 95 %% of resamples in [%+.4f, %+.4f], %.1f %% of them below 0\n", f.Model-f.Items, f.Low, f.High, 100*f.Better)
	fmt.Fprintf(w, "calibration          %.3f\n", f.Calibration)
}
