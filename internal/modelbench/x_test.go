package modelbench

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"testing"

	"gavel/ranking"
)

func TestX(t *testing.T) {
	env := func(k string, d float64) float64 {
		if v, err := strconv.ParseFloat(os.Getenv(k), 64); err == nil {
			return v
		}
		return d
	}
	p := ranking.DefaultParams()
	p.Alpha, p.Beta, p.L1, p.L2 = env("A", p.Alpha), env("B", p.Beta), env("L1", p.L1), env("L2", p.L2)
	p.ClickBits = uint8(env("BITS", float64(p.ClickBits)))
	p.HalfLife = env("HL", p.HalfLife)
	res, err := RunTruth(t.Context(), Options{Impressions: int(env("N", 300000)), Seed: uint64(env("SEED", 1)), Params: p})
	if err != nil {
		t.Log(err)
	}
	wrong := res.Wrong()
	worst := res.Slices
	res.Slices = nil
	b, _ := json.Marshal(res)
	fmt.Println(string(b))
	lo, hi := 1.0, 1.0
	for _, s := range worst {
		lo, hi = min(lo, s.Calibration), max(hi, s.Calibration)
	}
	fmt.Println(len(worst), lo, hi, wrong)
}
