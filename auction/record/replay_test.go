package record_test

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/auction"
	"gavel/auction/record"
	"gavel/campaign"
	"gavel/internal/money"
	"gavel/internal/replaybench"
)

// plain is a scene of three ads: two on the page, one without money.
func plain() *record.Record {
	r := made(2)
	r.Scene = auction.Scene{
		AuctionID: r.AuctionID, At: r.At, Placement: "BROWSE", SlotIDs: []string{"s1", "s2", "s3"}, UserKnown: true, RulesVersion: "rules", ModelVersion: "model", Seed: 1<<63 + 5,
		Page:        auction.Page{Pricing: auction.GSP, Slots: []auction.PageSlot{{Position: 3, Factor: 1}, {Position: 9, Factor: 0.5}, {Position: 15, Factor: 0.25}}},
		Exploration: auction.Exploration{Mode: auction.ExploreOff},
	}
	for i, bid := range []int64{5_000_000, 9_000_000, 7_000_000} {
		var c auction.Candidate
		c.AdID, c.AdAccountID, c.CampaignID = campaign.AdID(1<<60+i), campaign.AdAccountID(i+1), campaign.CampaignID(i+1)
		c.BillableEvent, c.PacePPM, c.PCTR = campaign.BillImpression, 1_000_000, 0.02
		c.Bid = money.Nanos(bid)
		r.Candidates = append(r.Candidates, c)
	}
	var d auction.Decider
	r.Outcome = *d.Decide(&r.Scene, broke{1})
	d.Propensities(&r.Scene)
	r.Extra = auction.Extra{RequestID: "r", Missed: []auction.Missed{{AdID: 77, Reason: auction.MissGender}}, Unexplained: 4}
	return r
}

// broke is a payer for whom candidate c has no money.
type broke struct{ c int }

func (b broke) Pay(c int, _, _ money.Nanos) (auction.Reason, string) {
	if c == b.c {
		return auction.BudgetExhausted, "CAMPAIGN DAILY"
	}
	return auction.Won, ""
}

func (b broke) CancelAll() {}

func TestReplayIsEqual(t *testing.T) {
	t.Parallel()
	m := replaybench.NewMarket()
	var d auction.Decider
	var r, back record.Record
	answers, refusals := 0, 0
	for n := range uint64(3000) {
		m.Make(11, n, &r)
		require.NoError(t, record.Decode(record.Append(nil, &r), &back))
		require.Empty(t, record.Replay(&back, &d), "auction %d", n)
		answers += len(back.Answers)
		for _, a := range back.Answers {
			if a.Reason != auction.Won {
				refusals++
			}
		}
	}
	require.Greater(t, answers, 3000)
	require.Greater(t, refusals, 100, "the market has winners without money")
}

// TestEveryChangeIsNoticed changes one value of a record after the other, by the least that it can change, and demands a difference.
func TestEveryChangeIsNoticed(t *testing.T) {
	t.Parallel()
	var d auction.Decider
	changes := 0
	for n := range uint64(60) {
		r := decoded(t, made(n))
		require.Empty(t, record.Replay(r, &d))
		noticed := func(what string, change func(), restore func()) {
			t.Helper()
			changes++
			change()
			require.NotEmpty(t, record.Replay(r, &d), "auction %d: %s", n, what)
			restore()
		}
		amount := func(what string, x *money.Nanos) {
			old := *x
			for _, by := range []money.Nanos{1, -1} {
				noticed(what, func() { *x += by }, func() { *x = old })
			}
		}
		float := func(what string, x *float64) {
			old := *x
			for _, to := range []float64{math.Inf(1), math.Inf(-1)} {
				noticed(what, func() { *x = math.Nextafter(old, to) }, func() { *x = old })
			}
		}
		reason := func(what string, x *auction.Reason) {
			old := *x
			for _, to := range []auction.Reason{auction.Won, auction.BudgetExhausted, auction.BudgetPending, auction.BelowFloor, auction.LostToHigherBid} {
				if to != old {
					noticed(what, func() { *x = to }, func() { *x = old })
				}
			}
		}
		text := func(what string, x *string) {
			old := *x
			noticed(what, func() { *x += "x" }, func() { *x = old })
		}
		index := func(what string, x *int) {
			old := *x
			noticed(what, func() { *x++ }, func() { *x = old })
		}
		for i := range r.Candidates {
			c, f := &r.Candidates[i], &r.Fates[i]
			reason("reason of a fate", &f.Reason)
			amount("bid of a fate", &f.Bid)
			amount("floor of a fate", &f.Floor)
			float("rate of a fate", &f.Rate)
			float("relevance of a fate", &f.Relevance)
			float("propensity of a fate", &f.Propensity)
			text("budget line of a fate", &f.BlockedBy)
			if c.CPAGoal == 0 && c.PacePPM > 0 { // the least change of a bid that its pace does not round away
				old := c.Bid
				noticed("bid of a candidate", func() { c.Bid += money.Nanos(1_000_000/c.PacePPM + 1) }, func() { c.Bid = old })
			}
			if c.BillableEvent == campaign.BillClickthrough && r.Exploration.Mode == auction.ExploreOff {
				float("click probability of a candidate", &c.PCTR)
			}
		}
		for i := range r.Placed {
			p := &r.Placed[i]
			amount("price", &p.Price)
			index("slot", &p.Slot)
			index("winner", &p.Bidder)
			index("what set the price", &p.PricedBy)
		}
		for i := range r.Answers {
			a := &r.Answers[i]
			amount("price of an answer", &a.Price)
			reason("reason of an answer", &a.Reason)
			text("budget line of an answer", &a.BlockedBy)
			old := a.AdID
			noticed("ad of an answer", func() { a.AdID++ }, func() { a.AdID = old })
		}
		answers, placed, fates := r.Answers, r.Placed, r.Fates
		noticed("an answer more", func() { r.Answers = append(answers[:len(answers):len(answers)], auction.Answer{AdID: 1}) }, func() { r.Answers = answers })
		noticed("a winner more", func() { r.Placed = append(placed[:len(placed):len(placed)], auction.Placed{}) }, func() { r.Placed = placed })
		noticed("a fate less", func() { r.Fates = fates[1:] }, func() { r.Fates = fates })
		if len(answers) > 0 {
			noticed("an answer less", func() { r.Answers = answers[:len(answers)-1] }, func() { r.Answers = answers })
			noticed("no answer", func() { r.Answers = nil }, func() { r.Answers = answers })
		}
		if len(placed) > 0 {
			noticed("a winner less", func() { r.Placed = placed[:len(placed)-1] }, func() { r.Placed = placed })
		}
		require.Empty(t, record.Replay(r, &d), "all was restored")
	}
	require.Greater(t, changes, 20_000)
}

func TestDifferencesAreReadable(t *testing.T) {
	t.Parallel()
	r := decoded(t, plain())
	r.Fates[0].Bid++
	r.Answers[0].Price--
	differences := record.Replay(r, &auction.Decider{})
	require.Equal(t, "ad 1152921504606846977: the budget was asked for 6999999 nanos, and is now asked for 7000000 nanos", differences[0])
	require.Equal(t, "ad 1152921504606846976: its bid was 5000001 nanos, and is now 5000000 nanos", differences[1])
	require.Len(t, differences, 2)
	for i := range r.Fates {
		r.Fates[i] = auction.Fate{Reason: 9, BlockedBy: "x", Bid: -1, Floor: -1, Rate: -1, Relevance: -1, Propensity: -1}
	}
	require.Equal(t, "and more", record.Replay(r, &auction.Decider{})[20])
}

func TestExplanation(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(record.Explain(plain()))
	require.NoError(t, err)
	var e struct {
		Seed     string
		Versions map[string]string
		Winners  []struct {
			AdID     string `json:"ad_id"`
			SlotID   string `json:"slot_id"`
			SetBy    string `json:"set_by"`
			Price    string
			Nanos    int64           `json:"price_nanos"`
			RunnerUp *map[string]any `json:"runner_up"`
			Inputs   map[string]any
			Position int
			Per      string
		}
		EmptySlots []string `json:"empty_slots"`
		Candidates []map[string]any
		Budget     []map[string]any
		NotMatched []map[string]any `json:"not_matched"`
		NotListed  int              `json:"not_listed"`
	}
	require.NoError(t, json.Unmarshal(text, &e))
	require.Equal(t, "9223372036854775813", e.Seed, "digits: it does not fit a number of JSON")
	require.Equal(t, map[string]string{"program": "bench", "rules": "rules", "model": "model"}, e.Versions)
	require.Len(t, e.Winners, 2)
	first, second := e.Winners[0], e.Winners[1]
	require.Equal(t, "1152921504606846978", first.AdID)
	require.Equal(t, "s1", first.SlotID)
	require.Equal(t, "AD", first.SetBy)
	require.EqualValues(t, 5_000_000, first.Nanos)
	require.Equal(t, "0.005000000", first.Price)
	require.Equal(t, "IMPRESSION", first.Per)
	require.Equal(t, "1152921504606846976", (*first.RunnerUp)["ad_id"])
	require.EqualValues(t, 7_000_000, first.Inputs["effective_bid_nanos"])
	require.Equal(t, "FLOOR", second.SetBy)
	require.Nil(t, second.RunnerUp)
	require.Equal(t, []string{"s3"}, e.EmptySlots)
	require.Len(t, e.Candidates, 3)
	require.Equal(t, "BUDGET_EXHAUSTED", e.Candidates[0]["reason_name"], "most valuable first")
	require.Equal(t, "CAMPAIGN DAILY", e.Candidates[0]["budget_line"])
	require.NotEmpty(t, e.Candidates[0]["meaning"])
	require.Equal(t, false, e.Budget[0]["promised"])
	require.Equal(t, "GENDER", e.NotMatched[0]["reason_name"])
	require.Equal(t, 4, e.NotListed)

	empty, err := json.Marshal(record.Explain(&record.Record{}))
	require.NoError(t, err)
	require.NotContains(t, string(empty), "null", "lists are lists")
	odd := plain()
	odd.Page.Organic, odd.Candidates[0].PCTR, odd.Fates[0].Rate = math.Inf(-1), math.NaN(), math.Inf(1)
	_, err = json.Marshal(record.Explain(odd))
	require.NoError(t, err, "JSON has no infinity")
}

// The cost of a record with 200 candidates and 4 slots, a large one.
func large() *record.Record {
	r := made(1)
	for n := uint64(2); len(r.Candidates) < 200; n++ {
		more := made(n)
		r.Candidates = append(r.Candidates, more.Candidates...)
	}
	r.Candidates = r.Candidates[:200]
	var d auction.Decider
	r.Outcome = *d.Decide(&r.Scene, broke{-1})
	d.Propensities(&r.Scene)
	return r
}

func BenchmarkAppend200(b *testing.B) {
	r := large()
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = record.Append(dst[:0], r)
	}
	b.ReportMetric(float64(len(dst)), "bytes/record")
}

func BenchmarkDecode200(b *testing.B) {
	text := record.Append(nil, large())
	var r record.Record
	b.ReportAllocs()
	for b.Loop() {
		if err := record.Decode(text, &r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReplay(b *testing.B) {
	var d auction.Decider
	records := make([][]byte, 512)
	m := replaybench.NewMarket()
	var r record.Record
	for n := range records {
		m.Make(3, uint64(n), &r)
		records[n] = record.Append(nil, &r)
	}
	b.ReportAllocs()
	n := 0
	var back record.Record
	for b.Loop() {
		if err := record.Decode(records[n%len(records)], &back); err != nil {
			b.Fatal(err)
		}
		if len(record.Replay(&back, &d)) > 0 {
			b.Fatal("a difference")
		}
		n++
	}
}
