package targetbench

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"gavel/campaign"
	"gavel/targeting"
)

// Data is what every engine gets.
type Data struct {
	// Ads are in the order of the index: see targeting.Compare.
	Ads     []*targeting.Ad
	Queries []*targeting.Query
	Tables  targeting.Tables
	Bounds  targeting.Bounds
	Seed    uint64

	// scan is the rule, made ready to be asked of all ads.
	scan *targeting.Scan
	// words has the ad groups with keywords, and of each keyword that includes the longest word, without which it is not found.
	words map[campaign.AdGroupID][]string
	// changeable are some of the ads as they came, for changes.
	changeable []campaign.ServingAd
}

// mostChangeable is about how many ads the changes are spread over.
const mostChangeable = 100_000

// NewData makes the market of a seed.
func NewData(ctx context.Context, seed uint64, ads, queries int, b targeting.Bounds) (*Data, error) {
	m := NewMarket(seed)
	d := &Data{Bounds: b, Seed: seed, Ads: make([]*targeting.Ad, 0, ads), words: map[campaign.AdGroupID][]string{}}
	var err error
	if d.Tables.Interests, err = targeting.NewTaxonomy(m.Interests()); err != nil {
		return nil, err
	}
	parser := targeting.NewParser(b)
	texts := map[string]string{}
	r := seeded(seed, streamChangeable)
	for s := range m.Ads(ads) {
		ad, err := parser.Parse(s)
		if err != nil {
			return nil, fmt.Errorf("generated %w", err)
		}
		if d.Ads = append(d.Ads, ad); len(d.Ads)%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if _, known := d.words[s.AdGroupID]; !known && len(s.Keywords) > 0 {
			d.words[s.AdGroupID] = longestWords(s.Keywords, texts)
		}
		if share(r, mostChangeable/float64(ads)) {
			d.changeable = append(d.changeable, s)
		}
	}
	slices.SortFunc(d.Ads, targeting.Compare)
	d.scan = targeting.NewScan(d.Ads, d.Tables)
	d.Queries = m.Queries(queries)
	return d, nil
}

// longestWords has the longest word of each keyword that includes; texts has every word once.
func longestWords(keywords []campaign.Keyword, texts map[string]string) []string {
	list := []string{}
	for _, k := range keywords {
		if k.MatchType == campaign.MatchExactNegative || k.MatchType == campaign.MatchPhraseNegative {
			continue
		}
		longest := ""
		for w := range strings.FieldsSeq(targeting.NormalizeText(k.Value)) {
			if len(w) > len(longest) {
				longest = w
			}
		}
		if _, known := texts[longest]; !known {
			texts[strings.Clone(longest)] = strings.Clone(longest)
		}
		if longest = texts[longest]; !slices.Contains(list, longest) {
			list = append(list, longest)
		}
	}
	return list
}

// answers are the ads that match each of the first queries, in the order of the index, by the rule alone.
type answers [][]*targeting.Ad

// answer asks the rule about every ad, for the first queries, on all cores.
func (d *Data) answer(ctx context.Context, scan *targeting.Scan, queries int) (answers, error) {
	list := make(answers, min(queries, len(d.Queries)))
	next := make(chan int, len(list))
	for i := range list {
		next <- i
	}
	close(next)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range next {
				if ctx.Err() != nil {
					return
				}
				list[i] = scan.Match(d.Queries[i], -1, nil)
			}
		})
	}
	wg.Wait()
	return list, ctx.Err()
}

// isThat reports whether an engine's answer to the i-th query is the rule's: all ads of it, or the first k.
func (a answers) isThat(i, k int, got []*targeting.Ad) bool {
	want := a[i]
	if k < 0 {
		got = slices.Clone(got)
		slices.SortFunc(got, targeting.Compare) // a set: the order is not part of a full answer
	} else {
		want = want[:min(k, len(want))]
	}
	return slices.EqualFunc(want, got, func(x, y *targeting.Ad) bool { return x.AdID == y.AdID && x.Bound == y.Bound })
}
