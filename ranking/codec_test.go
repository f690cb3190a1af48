package ranking

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zeebo/xxh3"
	"pgregory.net/rapid"

	"gavel/campaign"
)

func TestSnapshotIsWhatItWas(t *testing.T) {
	t.Parallel()
	for _, s := range []*Snapshot{Default(), randomSnapshot(rand.New(rand.NewPCG(1, 6)), 10)} {
		require.NoError(t, s.Validate())
		b := s.Append([]byte("before"))[len("before"):]
		again, err := Decode(b)
		require.NoError(t, err)
		require.Equal(t, s, again)
		require.Equal(t, b, again.Append(nil))
	}
}

// Every bit counts.
func TestDecodeRefusesDamage(t *testing.T) {
	t.Parallel()
	tr := newTrainer(t, smallParams())
	learn(tr, rand.New(rand.NewPCG(1, 7)), 500)
	snapshot, state := tr.Snapshot("v").Append(nil), tr.AppendState(nil)
	rapid.Check(t, func(t *rapid.T) {
		for _, whole := range [][]byte{snapshot, state} {
			b := append([]byte(nil), whole...)
			switch i := rapid.IntRange(0, len(b)-1).Draw(t, "at"); rapid.IntRange(0, 2).Draw(t, "how") {
			case 0:
				b[i] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			case 1:
				b = b[:i]
			case 2:
				b = append(b[:i], append([]byte{rapid.Byte().Draw(t, "more")}, b[i:]...)...)
			}
			if _, err := Decode(b); err == nil {
				t.Fatal("a damaged snapshot was read")
			}
			if _, err := RestoreTrainer(b); err == nil {
				t.Fatal("a damaged state was read")
			}
		}
	})
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(s *Snapshot){
		"no version":        func(s *Snapshot) { s.Version = "" },
		"prior is NaN":      func(s *Snapshot) { s.click.prior[0][0] = math.NaN() },
		"prior is above":    func(s *Snapshot) { s.click.prior[2][5] = 0 },
		"prior is infinite": func(s *Snapshot) { s.convert.prior[1][1] = math.Inf(-1) },
		"calibrator is NaN": func(s *Snapshot) { s.click.cal.LogGamma = math.NaN() },
		"calibrator turns":  func(s *Snapshot) { s.convert.cal.Kappa = -1 },
		"a bucket is taken": func(s *Snapshot) { s.click.weights[0] = 1 },
		"a tail is taken":   func(s *Snapshot) { s.click.known[512] = 1 },
		"table is short":    func(s *Snapshot) { s.click.weights = s.click.weights[1:] },
		"factors rise":      func(s *Snapshot) { s.slots[1] = []float64{1, 0.5, 0.6} },
		"factors start low": func(s *Snapshot) { s.slots[1] = []float64{0.9} },
		"factor is NaN":     func(s *Snapshot) { s.slots[1] = []float64{1, math.NaN()} },
		"factor is 0":       func(s *Snapshot) { s.slots[1] = []float64{1, 0} },
		"too many slots":    func(s *Snapshot) { s.slots[1] = append([]float64{1}, s.slots[1]...); s.slots[1] = make([]float64, 21) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := randomSnapshot(rand.New(rand.NewPCG(1, 8)), 10)
			spoil(s)
			require.Error(t, s.Validate())
		})
	}
	s := randomSnapshot(rand.New(rand.NewPCG(1, 8)), 10)
	s.click.cal.Kappa = math.NaN()
	_, err := Decode(s.Append(nil))
	require.ErrorContains(t, err, "calibrator", "the sum is right, the content is not")
}

// reseal gives bytes a right frame, so that fuzzing gets past the sum.
func reseal(magic string, b []byte) []byte {
	b = append([]byte(magic), b...)
	return binary.LittleEndian.AppendUint64(b, xxh3.Hash(b))
}

// One snapshot has one encoding.
func TestDecodeRefusesLongNumbers(t *testing.T) {
	t.Parallel()
	b := Default().Append(nil)
	body := b[len(snapshotMagic) : len(b)-sumBytes]
	_, err := Decode(reseal(snapshotMagic, body))
	require.NoError(t, err)
	_, err = Decode(reseal(snapshotMagic, append([]byte{body[0] | 0x80, 0}, body[1:]...)))
	require.ErrorIs(t, err, ErrDamaged)
}

func FuzzDecode(f *testing.F) {
	tr, err := NewTrainer(Params{ClickBits: 4, ConversionBits: 3, Alpha: 0.1, Beta: 1, HalfLife: 1e6})
	if err != nil {
		f.Fatal(err)
	}
	learn(tr, rand.New(rand.NewPCG(1, 9)), 50)
	for _, b := range [][]byte{Default().Append(nil), tr.Snapshot("v").Append(nil), tr.AppendState(nil)} {
		f.Add(b)
		f.Add(b[len(snapshotMagic) : len(b)-sumBytes])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, in := range [][]byte{b, reseal(snapshotMagic, b)} {
			if s, err := Decode(in); err == nil {
				require.NoError(t, s.Validate())
				require.Equal(t, in, s.Append(nil))
				c := Context{Placement: "BROWSE", Country: "US"}
				features := c.Features()
				sc := s.Scorer(&features)
				p := sc.PCTR(&Item{AdID: 1})
				require.True(t, p > 0 && p <= MaxCTR)
			}
		}
		for _, in := range [][]byte{b, reseal(stateMagic, b)} {
			if tr, err := RestoreTrainer(in); err == nil {
				require.Equal(t, in, tr.AppendState(nil))
			}
		}
	})
}

func TestServed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := genContext(t)
		it := genItem(t)
		s := Served{
			Features: c.Features(), PCTR: float32(rapid.Float64Range(0, 1).Draw(t, "p")), Slot: rapid.IntRange(0, MaxSlots-1).Draw(t, "slot"),
			Placement: rapid.SampledFrom(placementNames[:]).Draw(t, "placement"), Objective: rapid.SampledFrom(objectiveNames[:]).Draw(t, "objective"),
			BillableEvent: it.BillableEvent, Category: rapid.SampledFrom([]string{"", "IAB1", "IAB26", "12345678"}).Draw(t, "category"),
		}
		b := s.Encode()
		again, ok := DecodeServed(&b)
		if !ok || again != s {
			t.Fatalf("%+v became %+v", s, again)
		}
		it.Objective, it.Category = s.Objective, s.Category
		ex := again.Example(Item{AdID: it.AdID, AdGroupID: it.AdGroupID, CampaignID: it.CampaignID, AdAccountID: it.AdAccountID})
		if indexes(&ex.Features, &ex.Item, 20) != indexes(&s.Features, &it, 20) {
			t.Fatal("what is learned is not what was scored")
		}
	})
	var none [ServedSize]byte
	_, ok := DecodeServed(&none)
	require.False(t, ok, "zeros say nothing")
}

// The first eight bytes of a category count, in scoring as in what an impression carries.
func TestLongCategories(t *testing.T) {
	t.Parallel()
	s := Served{Category: "123456789"}
	b := s.Encode()
	again, ok := DecodeServed(&b)
	require.True(t, ok)
	a, c := Item{AdID: 1, Category: s.Category}, Item{AdID: 1, Category: again.Category}
	require.Equal(t, indexes(&Features{}, &a, 20), indexes(&Features{}, &c, 20))
}

func FuzzDecodeServed(f *testing.F) {
	s := Served{Placement: "SEARCH", Objective: campaign.WebConversion, BillableEvent: campaign.BillImpression, Category: "IAB3", PCTR: 0.01, Slot: 3}
	b := s.Encode()
	f.Add(b[:])
	f.Fuzz(func(t *testing.T, raw []byte) {
		var b [ServedSize]byte
		copy(b[:], raw)
		if s, ok := DecodeServed(&b); ok {
			require.Equal(t, b, s.Encode())
		}
	})
}
