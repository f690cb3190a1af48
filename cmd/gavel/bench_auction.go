package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"gavel/auction"
	"gavel/campaign"
	"gavel/internal/money"
	"gavel/internal/targetbench"
	"gavel/ranking"
)

type benchAuctionCmd struct {
	Sizes []string      `default:"200x4,500x10" placeholder:"ADSxSLOTS,…" help:"How many candidates and slots: ${default}."`
	Pages int           `default:"2000" help:"How many different pages."`
	Seed  uint64        `default:"1" help:"What the candidates are made from."`
	For   time.Duration `default:"3s" help:"How long one row is timed."`
	JSON  bool          `name:"json" help:"Print an array of rows and nothing else."`
}

// auctionRow is one way to make pages of one size.
type auctionRow struct {
	// Engine is gavel or plain: a full sort, and the whole page made again for each price.
	Engine     string `json:"engine"`
	What       string `json:"what"`
	Candidates int    `json:"candidates"`
	Slots      int    `json:"slots"`
	// P50NS and P99NS are thread CPU time per page, of scoring alone per candidate.
	P50NS  float64 `json:"p50_ns"`
	P99NS  float64 `json:"p99_ns"`
	Allocs float64 `json:"allocs_per_page"`
	// Pages is how many were timed, Checked how many were compared with the plain way.
	Pages   int  `json:"pages"`
	Checked int  `json:"checked"`
	Agrees  bool `json:"agrees"`
}

const (
	scoring    = "score, per candidate"
	wholePage  = "score, slate, VCG"
	apartPage  = "score, slate, VCG; categories apart"
	maxBenched = 100_000
)

// Run prints the rows. The exit status is 1 when the two ways disagree.
func (c benchAuctionCmd) Run(ctx context.Context, w world) error {
	ctx, cancel := underGoRun(ctx)
	defer cancel()
	if c.Pages < 1 || c.For <= 0 {
		return errors.New("--pages and --for must be above 0")
	}
	fmt.Fprintln(w.stderr, machine())
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var rows []auctionRow
	for _, size := range c.Sizes {
		var ads, slots int
		if _, err := fmt.Sscanf(size, "%dx%d", &ads, &slots); err != nil || ads < 1 || ads > maxBenched || slots < 1 || slots > auction.MaxPageSlots {
			return fmt.Errorf("--sizes: %q is not ADSxSLOTS, with up to %d ads and %d slots", size, maxBenched, auction.MaxPageSlots)
		}
		part, err := c.rows(ctx, ads, slots)
		rows = append(rows, part...)
		if err != nil {
			return err
		}
	}
	clean := !slices.ContainsFunc(rows, func(r auctionRow) bool { return !r.Agrees })
	if c.JSON {
		return orUnclean(printRows(w.stdout, rows), clean)
	}
	printAuction(w.stdout, rows)
	return orUnclean(nil, clean)
}

func (c benchAuctionCmd) rows(ctx context.Context, ads, slots int) (rows []auctionRow, err error) {
	b := newAuctionBench(c, ads, slots)
	n := float64(ads)
	for _, row := range []struct {
		auctionRow
		apart bool
		page  func(p *benchPage)
		per   float64
	}{
		{auctionRow{Engine: "gavel", What: scoring}, false, b.score, n},
		{auctionRow{Engine: "gavel", What: wholePage}, false, b.solve, 1},
		{auctionRow{Engine: "plain", What: wholePage}, false, b.plain, 1},
		{auctionRow{Engine: "gavel", What: apartPage}, true, b.solve, 1},
	} {
		r := row.auctionRow
		r.Candidates, r.Slots, r.Agrees = ads, slots, true
		b.page.SeparateCategories = row.apart
		if err := b.time(ctx, c.For, row.page, &r); err != nil {
			return rows, err
		}
		r.P50NS, r.P99NS = r.P50NS/row.per, r.P99NS/row.per
		if row.What == wholePage {
			r.Checked, r.Agrees = b.check()
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// benchPage is the page of one user.
type benchPage struct {
	features ranking.Features
	ads      []benchAd
}

// benchAd is a candidate before it is scored.
type benchAd struct {
	bidder auction.Bidder
	item   ranking.Item
}

type auctionBench struct {
	lists   []benchPage
	page    auction.Page
	model   *ranking.Snapshot
	solver  auction.Solver
	bidders []auction.Bidder
	placed  []auction.Placed
}

// newAuctionBench draws markets: half of the ads pay per click, an ad account has three ads, and there are 20 categories.
func newAuctionBench(c benchAuctionCmd, ads, slots int) *auctionBench {
	r := rand.New(rand.NewPCG(c.Seed, uint64(ads))) //nolint:gosec // the same markets in every run
	made := make([]auction.Slot, slots)
	b := &auctionBench{page: auction.DefaultRules().Page("BROWSE", made, nil), bidders: make([]auction.Bidder, 0, ads)}
	b.model = benchModel(r)
	for range c.Pages {
		list := benchPage{benchFeatures(r), make([]benchAd, ads)}
		for i := range list.ads {
			id := int64(i + 1)
			account := r.Int64N(int64(ads)/3 + 1)
			ad := &list.ads[i]
			ad.bidder = auction.Bidder{
				AdID: campaign.AdID(id), CampaignID: campaign.CampaignID(account), AdAccountID: campaign.AdAccountID(account),
				Category: fmt.Sprintf("IAB%d", 1+account%20), Bid: money.Nanos(200_000 + r.Int64N(5_000_000)), Rate: 1, Floor: 100_000,
			}
			ad.item = ranking.Item{
				AdID: ad.bidder.AdID, AdGroupID: campaign.AdGroupID(id), CampaignID: ad.bidder.CampaignID, AdAccountID: ad.bidder.AdAccountID,
				Objective: campaign.Awareness, Category: ad.bidder.Category, BillableEvent: campaign.BillImpression,
			}
			if r.IntN(2) == 0 {
				ad.item.Objective, ad.item.BillableEvent = campaign.Consideration, campaign.BillClickthrough
				ad.bidder.Bid *= 200
				ad.bidder.Floor *= 200
			}
		}
		b.lists = append(b.lists, list)
	}
	return b
}

// benchModel has a table as large as those that are served, with weights all over it.
func benchModel(r *rand.Rand) *ranking.Snapshot {
	t, err := ranking.NewTrainer(ranking.DefaultParams())
	if err != nil {
		panic(err) // the defaults are sound
	}
	const examples = 200_000
	for range examples {
		account := 1 + r.Int64N(200)
		t.LearnClick(&ranking.Example{
			Features: benchFeatures(r), Placement: "BROWSE", Clicked: r.IntN(100) == 0, Item: ranking.Item{
				AdID: campaign.AdID(1 + r.Int64N(500)), AdGroupID: campaign.AdGroupID(1 + r.Int64N(500)), CampaignID: campaign.CampaignID(account),
				AdAccountID: campaign.AdAccountID(account), Objective: campaign.Consideration, Category: fmt.Sprintf("IAB%d", 1+account%20),
				BillableEvent: campaign.BillClickthrough,
			},
		})
	}
	return t.Snapshot("bench")
}

// benchFeatures are those of a drawn user.
func benchFeatures(r *rand.Rand) ranking.Features {
	of := func(list ...string) string { return list[r.IntN(len(list))] }
	c := ranking.Context{
		Placement: "BROWSE", Country: of("US", "DE", "FR", "GB", "BR", "JP"), Gender: of("female", "male", "unknown"), AppType: of("iphone", "android_mobile", "web"),
		Locale: of("en-US", "de-DE", "fr-FR"), Age: 18 + r.IntN(60), HourOfWeek: r.IntN(168), UserHash: r.Int64N(100_000),
		Interests: []string{of("a", "b", "c", "d"), of("e", "f", "g")},
	}
	return c.Features()
}

// score makes bidders, each scored whatever it pays for, as an ad request does it.
func (b *auctionBench) score(p *benchPage) {
	b.bidders = b.bidders[:0]
	scorer := b.model.Scorer(&p.features)
	for i := range p.ads {
		ad := &p.ads[i]
		pctr := scorer.PCTR(&ad.item)
		b.bidders = append(b.bidders, ad.bidder)
		if ad.item.BillableEvent == campaign.BillClickthrough {
			b.bidders[i].Rate = pctr
		}
	}
}

func (b *auctionBench) solve(p *benchPage) {
	b.score(p)
	b.placed = b.solver.Solve(&b.page, b.bidders, b.placed[:0])
}

// plain is the obvious way: sort, take the best that the caps allow, and make the page again without each winner and its account's losers.
func (b *auctionBench) plain(p *benchPage) {
	b.score(p)
	order := make([]int, len(b.bidders))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(x, y int) int {
		return cmp.Or(cmp.Compare(b.bidders[y].Value(), b.bidders[x].Value()), cmp.Compare(b.bidders[x].AdID, b.bidders[y].AdID))
	})
	best := func(without campaign.AdAccountID) []int {
		var page []int
		for _, i := range order {
			if len(page) == len(b.page.Slots) {
				break
			}
			account := b.bidders[i].AdAccountID
			if account != without && !slices.ContainsFunc(page, func(j int) bool { return b.bidders[j].AdAccountID == account }) {
				page = append(page, i)
			}
		}
		return page
	}
	page := best(-1)
	b.placed = b.placed[:0]
	for k, i := range page {
		w := &b.bidders[i]
		least, others := float64(w.Floor)*w.Rate, 0.0
		floored := slices.DeleteFunc(best(w.AdAccountID), func(j int) bool { return b.bidders[j].Value() <= least })
		for j := range b.page.Slots { // what the others get with w at its floor, less what they get now
			value, now := least, 0.0
			if j < len(floored) {
				value = b.bidders[floored[j]].Value()
			} else if j > len(floored) {
				value = 0
			}
			if j < len(page) && j != k {
				now = b.bidders[page[j]].Value()
			}
			others += b.page.Slots[j].Factor * (value - now)
		}
		price := money.CeilPrice(others / (b.page.Slots[k].Factor * w.Rate))
		b.placed = append(b.placed, auction.Placed{Slot: k, Bidder: i, Price: min(max(price, w.Floor), w.Bid)})
	}
}

// check compares every page of the two ways.
func (b *auctionBench) check() (checked int, agrees bool) {
	for i := range b.lists {
		list := &b.lists[i]
		b.plain(list)
		want := slices.Clone(b.placed)
		b.solve(list)
		if !slices.EqualFunc(want, b.placed, func(x, y auction.Placed) bool {
			return x.Slot == y.Slot && x.Bidder == y.Bidder && x.Price == y.Price
		}) {
			return checked, false
		}
		checked++
	}
	return checked, true
}

func (b *auctionBench) time(ctx context.Context, budget time.Duration, page func(*benchPage), row *auctionRow) error {
	for i := range b.lists { // buffers grow
		page(&b.lists[i])
	}
	var took []time.Duration
	took = slices.Grow(took, 1<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for began := time.Now(); time.Since(began) < budget && len(took) < cap(took); row.Pages++ {
		at := targetbench.ThreadTime()
		page(&b.lists[row.Pages%len(b.lists)])
		took = append(took, targetbench.ThreadTime()-at)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	runtime.ReadMemStats(&after)
	row.Allocs = float64((after.Mallocs - before.Mallocs) / uint64(row.Pages))
	p50, p99 := targetbench.Percentiles(took)
	row.P50NS, row.P99NS = float64(p50), float64(p99)
	return nil
}

func printAuction(w io.Writer, rows []auctionRow) {
	t := newTable(4, 8, "candidates × slots", "engine", "what", "p50 µs", "p99 µs", "allocs", "pages", "agrees")
	for _, r := range rows {
		agrees := ""
		if r.Checked > 0 || !r.Agrees {
			agrees = fmt.Sprintf("yes (%d)", r.Checked)
		}
		if !r.Agrees {
			agrees = fmt.Sprintf("NO: page %d", r.Checked)
		}
		t.AppendRow(table.Row{
			fmt.Sprintf("%d × %d", r.Candidates, r.Slots), r.Engine, r.What, fmt.Sprintf("%.3f", r.P50NS/1e3), fmt.Sprintf("%.3f", r.P99NS/1e3), r.Allocs, r.Pages, agrees,
		})
	}
	fmt.Fprintln(w, t.Render())
	fmt.Fprintln(w, strings.TrimSpace(`
p50 and p99 are CPU time of one thread. agrees: so many pages, with their prices, are the same either way.`))
}
