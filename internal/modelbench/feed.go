package modelbench

import (
	"cmp"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"gavel/campaign"
	"gavel/internal/openbandit"
	"gavel/ranking"
)

// trainDays of the log are learned from, the days after them are predicted.
const trainDays = 5

// resamples is how often the test rows are drawn anew for a confidence interval.
const resamples = 10_000

// Feed is what a run on the log of a real feed has shown. Entropies are relative to that of the mean click rate of the test days, which
// nobody could know before.
type Feed struct {
	TrainRows   int `json:"train_rows"`
	TrainClicks int `json:"train_clicks"`
	TestRows    int `json:"test_rows"`
	TestClicks  int `json:"test_clicks"`
	// Alpha, L2 and Strength were chosen on the training days: the rate and regularisation of the model, and how many impressions the
	// overall rate counts for in the constant of an item.
	Alpha    float64 `json:"alpha"`
	L2       float64 `json:"l2"`
	Strength float64 `json:"strength"`
	// Model is the normalised entropy of the snapshot after the training days; Online that of the model which learns on.
	Model  float64 `json:"ne_model"`
	Online float64 `json:"ne_online"`
	// Items is that of the best constant per item, Constant that of the click rate of the training days.
	Items    float64 `json:"ne_items"`
	Constant float64 `json:"ne_constant"`
	// Low and High hold 95 % of the resampled differences Model − Items; Better is how many of them are below 0.
	Low         float64 `json:"difference_low"`
	High        float64 `json:"difference_high"`
	Better      float64 `json:"share_better"`
	Calibration float64 `json:"calibration"`
}

// The grids of what is chosen on the training days.
var (
	feedAlphas    = []float64{0.003, 0.01, 0.03, 0.1}
	feedL2s       = []float64{1, 10, 100}
	feedStrengths = []float64{30, 100, 300, 1000, 3000, 10000, 100000}
)

// RunFeed learns the first days of a log and predicts the rest.
func RunFeed(ctx context.Context, l *openbandit.Log) (*Feed, error) {
	if len(l.Rows) == 0 {
		return nil, errNoDays
	}
	split := l.Rows[0].At.Truncate(24*time.Hour).AddDate(0, 0, trainDays)
	n, _ := slices.BinarySearchFunc(l.Rows, split, func(r openbandit.Row, at time.Time) int { return r.At.Compare(at) })
	list := examples(l)
	train, test := list[:n], list[n:]
	res := &Feed{TrainRows: len(train), TestRows: len(test), TrainClicks: clicks(train), TestClicks: clicks(test)}
	if res.TrainClicks == 0 || res.TestClicks == 0 {
		return nil, errNoDays
	}
	t, err := res.choose(ctx, train)
	if err != nil {
		return nil, err
	}
	s := t.Snapshot("feed")
	items := constants(train, res.Strength)
	var model, constant, item, online []float64
	predicted := 0.0
	rate := float64(res.TrainClicks) / float64(len(train))
	for i := range test {
		ex := &test[i]
		sc := s.Scorer(&ex.Features)
		p := sc.PCTR(&ex.Item)
		if f := s.SlotFactors(ex.Placement); f != nil {
			p *= f[min(ex.Slot, len(f)-1)]
		}
		predicted += p
		model = append(model, loss(p, ex.Clicked))
		item = append(item, loss(items.predict(ex), ex.Clicked))
		constant = append(constant, loss(rate, ex.Clicked))
		online = append(online, loss(t.LearnClick(ex), ex.Clicked))
	}
	testRate := float64(res.TestClicks) / float64(len(test))
	base := -(testRate*math.Log(testRate) + (1-testRate)*math.Log1p(-testRate))
	res.Model, res.Items, res.Constant, res.Online = mean(model)/base, mean(item)/base, mean(constant)/base, mean(online)/base
	res.Calibration = predicted / float64(res.TestClicks)
	res.bootstrap(test, model, item)
	return res, nil
}

var errNoDays = errors.New("the log needs clicks before and after its fifth day")

// choose tries the grids on the training days alone, each value by its progressive log loss, and returns the best model after them.
func (f *Feed) choose(ctx context.Context, train []ranking.Example) (*ranking.Trainer, error) {
	var best *ranking.Trainer
	least := math.Inf(1)
	for _, alpha := range feedAlphas {
		for _, l2 := range feedL2s {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			p := ranking.DefaultParams()
			p.ClickBits, p.ConversionBits, p.Alpha, p.L1, p.L2 = 18, ranking.MinBits, alpha, 0, l2
			t, err := ranking.NewTrainer(p)
			if err != nil {
				return nil, err
			}
			sum := 0.0
			for i := range train {
				sum += loss(t.LearnClick(&train[i]), train[i].Clicked)
			}
			if sum < least {
				least, best, f.Alpha, f.L2 = sum, t, alpha, l2
			}
		}
	}
	least = math.Inf(1)
	for _, strength := range feedStrengths {
		c, sum := constants(nil, strength), 0.0
		for i := range train {
			sum += loss(c.predict(&train[i]), train[i].Clicked)
			c.learn(&train[i])
		}
		if sum < least {
			least, f.Strength = sum, strength
		}
	}
	return best, nil
}

// bootstrap resamples the test rows, the model's and the items' losses of a row together.
func (f *Feed) bootstrap(test []ranking.Example, model, item []float64) {
	r := rand.New(rand.NewPCG(1, 5)) //nolint:gosec // a run must be repeatable
	var differences []float64
	for len(differences) < resamples {
		clicked, difference := 0, 0.0
		for range test {
			i := r.IntN(len(test))
			if test[i].Clicked {
				clicked++
			}
			difference += model[i] - item[i]
		}
		if clicked == 0 {
			continue
		}
		rate := float64(clicked) / float64(len(test))
		differences = append(differences, difference/float64(len(test))/-(rate*math.Log(rate)+(1-rate)*math.Log1p(-rate)))
	}
	slices.SortFunc(differences, cmp.Compare[float64])
	f.Low, f.High = differences[resamples/40], differences[resamples-resamples/40-1]
	below, _ := slices.BinarySearch(differences, 0)
	f.Better = float64(below) / resamples
}

// itemRates are a constant per item: its clicks by its impressions, shrunk to the rate of all.
type itemRates struct {
	strength float64
	all      [2]float64 // impressions, clicks
	items    map[campaign.AdID][2]float64
}

func constants(train []ranking.Example, strength float64) *itemRates {
	c := &itemRates{strength: strength, all: [2]float64{1000, 5}, items: map[campaign.AdID][2]float64{}} // starts where the model's prior does
	for i := range train {
		c.learn(&train[i])
	}
	return c
}

func (c *itemRates) learn(ex *ranking.Example) {
	n := c.items[ex.Item.AdID]
	n[0]++
	c.all[0]++
	if ex.Clicked {
		n[1]++
		c.all[1]++
	}
	c.items[ex.Item.AdID] = n
}

func (c *itemRates) predict(ex *ranking.Example) float64 {
	n := c.items[ex.Item.AdID]
	return (n[1] + c.strength*c.all[1]/c.all[0]) / (n[0] + c.strength)
}

// examples are the rows of a log: its hashed user features stand in four places of the context, the item's in its category and kin.
func examples(l *openbandit.Log) []ranking.Example {
	items := map[int]ranking.Item{}
	kin := map[string]int64{}
	number := func(s string) int64 {
		if kin[s] == 0 {
			kin[s] = int64(len(kin) + 1)
		}
		return kin[s]
	}
	for _, i := range l.Items {
		items[i.ID] = ranking.Item{
			AdID: campaign.AdID(i.ID + 1), CampaignID: campaign.CampaignID(number("1" + i.Features[1])), AdAccountID: campaign.AdAccountID(number("2" + i.Features[2])),
			Category: i.Features[0][:8], BillableEvent: campaign.BillClickthrough,
		}
	}
	var list []ranking.Example
	for _, r := range l.Rows {
		c := ranking.Context{
			Placement: "BROWSE", Gender: r.User[0], AppType: r.User[1], Interests: []string{r.User[2]}, Country: r.User[3],
			HourOfWeek: campaign.HourOfWeek(r.At, time.UTC),
		}
		list = append(list, ranking.Example{Features: c.Features(), Item: items[r.Item], Placement: "BROWSE", Slot: r.Position - 1, Clicked: r.Click})
	}
	return list
}

func clicks(list []ranking.Example) int {
	n := 0
	for i := range list {
		if list[i].Clicked {
			n++
		}
	}
	return n
}

func loss(p float64, clicked bool) float64 {
	if clicked {
		return -math.Log(p)
	}
	return -math.Log1p(-p)
}

func mean(list []float64) float64 {
	sum := 0.0
	for _, x := range list {
		sum += x
	}
	return sum / float64(len(list))
}
