package targeting_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/campaign"
	"gavel/targeting"
)

// keywords is written "BROAD red shoes", one per line.
func keywords(lines ...string) func(*campaign.ServingAd) {
	return func(s *campaign.ServingAd) {
		for _, line := range lines {
			how, value, _ := strings.Cut(line, " ")
			s.Keywords = append(s.Keywords, campaign.Keyword{MatchType: campaign.MatchType(how), Value: value})
		}
	}
}

func TestKeywords(t *testing.T) {
	t.Parallel()
	on := func(phrases ...string) []string { return phrases }
	tests := map[string]struct {
		keywords []string
		query    string
		page     []string
		want     bool
	}{
		"broad, any order":                      {on("BROAD red shoes"), "shoes that are red", nil, true},
		"broad, a word is missing":              {on("BROAD red shoes"), "red boots", nil, false},
		"broad, a part of a word is not one":    {on("BROAD red shoes"), "redder shoes", nil, false},
		"broad, not across phrases":             {on("BROAD red shoes"), "red", on("shoes"), false},
		"broad, in one page keyword":            {on("BROAD red shoes"), "", on("boots", "shoes red"), true},
		"phrase":                                {on("PHRASE red shoes"), "buy red shoes now", nil, true},
		"phrase, words between":                 {on("PHRASE red shoes"), "red running shoes", nil, false},
		"phrase, other order":                   {on("PHRASE red shoes"), "shoes red", nil, false},
		"phrase, part of a word":                {on("PHRASE red shoes"), "tired red shoestring", nil, false},
		"exact":                                 {on("EXACT red shoes"), "Red   SHOES!", nil, true},
		"exact, a word more":                    {on("EXACT red shoes"), "red shoes now", nil, false},
		"exact, on a page keyword":              {on("EXACT red shoes"), "boots", on("red shoes"), true},
		"apostrophes and accents":               {on("EXACT men's été"), "MENS ÉTÉ", nil, true},
		"hyphens part words":                    {on("PHRASE t shirt"), "a T-Shirt", nil, true},
		"full width and ligatures":              {on("EXACT fish"), "ﬁｓｈ", nil, true},
		"sharp s":                               {on("EXACT STRASSE"), "straße", nil, true},
		"Cherokee small letters":                {on("EXACT \uab70"), "\u13a0", nil, true},
		"soft hyphens are invisible":            {on("EXACT shoelace"), "shoe\u00adlace", nil, true},
		"one positive is enough":                {on("EXACT a", "EXACT b"), "b", nil, true},
		"nothing to match":                      {on("BROAD red"), "", nil, false},
		"only punctuation to match":             {on("BROAD red"), "!?", nil, false},
		"a keyword without words matches none":  {on("BROAD !"), "!", nil, false},
		"only negatives, not said":              {on("PHRASE_NEGATIVE cheap"), "red shoes", nil, true},
		"only negatives, nothing said":          {on("PHRASE_NEGATIVE cheap", "EXACT_NEGATIVE free"), "", nil, true},
		"phrase negative":                       {on("PHRASE_NEGATIVE cheap"), "cheap shoes", nil, false},
		"phrase negative, on a page keyword":    {on("PHRASE_NEGATIVE cheap"), "shoes", on("cheap shoes"), false},
		"exact negative":                        {on("EXACT_NEGATIVE cheap shoes"), "cheap shoes", nil, false},
		"exact negative, a word more":           {on("EXACT_NEGATIVE cheap shoes"), "cheap red shoes", nil, true},
		"a negative beats a positive":           {on("BROAD shoes", "PHRASE_NEGATIVE cheap"), "cheap shoes", nil, false},
		"the same value positive and negative":  {on("EXACT shoes", "EXACT_NEGATIVE shoes"), "shoes", nil, false},
		"a positive where no negative applies":  {on("BROAD shoes", "PHRASE_NEGATIVE cheap"), "red shoes", nil, true},
		"a negative excludes on another phrase": {on("EXACT shoes", "EXACT_NEGATIVE free"), "shoes", on("free"), false},
		"too long a query":                      {on("BROAD red"), "red" + strings.Repeat(" x", targeting.MaxPhraseBytes), nil, false},
		"too long a query for a negative":       {on("PHRASE_NEGATIVE zzz"), strings.Repeat("x", targeting.MaxPhraseBytes+1), nil, false},
		"too many page keywords":                {on("PHRASE_NEGATIVE zzz"), "", make([]string, targeting.MaxPageKeywords+1), false},
		"too much text, but no keywords":        {nil, strings.Repeat("x", targeting.MaxPhraseBytes+1), nil, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := targeting.MissKeyword
			if tt.want {
				want = targeting.Matched
			}
			a := ad(t, `{}`, keywords(tt.keywords...))
			require.Equal(t, want, matches(t, a, targeting.Query{SearchQuery: tt.query, Keywords: tt.page}))
		})
	}
}

func TestCheckKeyword(t *testing.T) {
	t.Parallel()
	require.NoError(t, targeting.CheckKeyword(campaign.Keyword{MatchType: campaign.MatchBroad, Value: "red shoes"}))
	require.ErrorContains(t, targeting.CheckKeyword(campaign.Keyword{MatchType: "broad", Value: "red"}), `"broad"`)
	require.ErrorContains(t, targeting.CheckKeyword(campaign.Keyword{MatchType: campaign.MatchBroad, Value: "!?"}), `"!?"`)
	require.ErrorContains(t, targeting.CheckKeyword(campaign.Keyword{MatchType: campaign.MatchExact, Value: strings.Repeat("x", 481)}), "480")
	require.NoError(t, targeting.CheckKeyword(campaign.Keyword{MatchType: campaign.MatchExact, Value: strings.Repeat("𐐀", campaign.MaxKeywordLength)}),
		"what the API takes can be served")
}

func TestNormalizeTextIsStable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		once := targeting.NormalizeText(rapid.String().Draw(t, "s"))
		require.Equal(t, once, targeting.NormalizeText(once))
	})
}

// FuzzKeywordMatch holds the rule to the words of its definition, by a second, naive way.
func FuzzKeywordMatch(f *testing.F) {
	f.Add("red shoes", "Buy RED shoes!", "page")
	f.Add("été", "E\u0301T\u00c9", "'")
	f.Add("!", "", " ")
	f.Add("straße", "STRASSE x", "\xff")
	f.Fuzz(func(t *testing.T, keyword, query, page string) {
		if len(keyword) > targeting.MaxKeywordBytes || len(query) > targeting.MaxPhraseBytes || len(page) > targeting.MaxPhraseBytes {
			return
		}
		k := strings.Fields(targeting.NormalizeText(keyword))
		said := func(is func(phrase []string) bool) bool {
			return slices.ContainsFunc([]string{query, page}, func(s string) bool {
				words := strings.Fields(targeting.NormalizeText(s))
				return len(words) > 0 && len(k) > 0 && is(words)
			})
		}
		broad := said(func(p []string) bool {
			return !slices.ContainsFunc(k, func(w string) bool { return !slices.Contains(p, w) })
		})
		phrase := said(func(p []string) bool {
			for i := 0; i+len(k) <= len(p); i++ {
				if slices.Equal(p[i:i+len(k)], k) {
					return true
				}
			}
			return false
		})
		exact := said(func(p []string) bool { return slices.Equal(p, k) })
		for how, want := range map[campaign.MatchType]bool{
			campaign.MatchBroad: broad, campaign.MatchPhrase: phrase, campaign.MatchExact: exact,
			campaign.MatchPhraseNegative: !phrase, campaign.MatchExactNegative: !exact,
		} {
			a := ad(t, `{}`, keywords(string(how)+" "+keyword))
			got := matches(t, a, targeting.Query{SearchQuery: query, Keywords: []string{page}}) == targeting.Matched
			require.Equal(t, want, got, "%s %q on %q and %q", how, keyword, query, page)
		}
	})
}
