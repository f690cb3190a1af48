package campaign

import (
	"slices"
	"strings"
	"time"

	"gavel/internal/fault"
)

// MaxKeywordLength is the most characters of a keyword.
const MaxKeywordLength = 120

// AdGroupKeyword is a keyword where it is kept: in an ad group.
type AdGroupKeyword struct {
	ID          KeywordID
	AdAccountID AdAccountID
	AdGroupID   AdGroupID
	Keyword
	Archived  bool
	CreatedAt time.Time
}

// KeywordInput creates one keyword. Surrounding white space is dropped.
type KeywordInput struct {
	MatchType Opt[MatchType]
	Value     Opt[string]
}

// Valid reports whether m is one of the match types.
func (m MatchType) Valid() bool { return slices.Contains(matchTypes(), m) }

func matchTypes() []MatchType {
	return []MatchType{MatchBroad, MatchPhrase, MatchExact, MatchExactNegative, MatchPhraseNegative}
}

// CheckKeyword says, in words for the advertiser, why a keyword could never match; nil if it could. An ad group with such a
// keyword would be accepted here and then never be served.
type CheckKeyword func(k Keyword) error

func newKeyword(account AdAccountID, parent AdGroupID, in KeywordInput, check CheckKeyword) (AdGroupKeyword, []fault.Field) {
	var p fault.Fields
	k := AdGroupKeyword{AdAccountID: account, AdGroupID: parent}
	required(&p, "match_type", in.MatchType)
	required(&p, "value", in.Value)
	apply(&p, "match_type", in.MatchType, &k.MatchType)
	apply(&p, "value", in.Value, &k.Value)
	if in.MatchType.Given() {
		checkOneOf(&p, "match_type", k.MatchType, matchTypes()...)
	}
	if in.Value.Given() {
		k.Value = strings.TrimSpace(k.Value)
		checkText(&p, "value", k.Value, 1, MaxKeywordLength)
	}
	if len(p) == 0 {
		if err := check(k.Keyword); err != nil {
			p.Add("value", err.Error())
		}
	}
	return k, p
}
