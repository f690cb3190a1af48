package targeting

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"gavel/campaign"
)

// Limits on the keywords of one ad group.
const (
	// MaxKeywords is the most keywords of an ad group.
	MaxKeywords = 1000
	// MaxKeywordBytes is the most bytes of one keyword: 120 characters at four bytes.
	MaxKeywordBytes = 480
)

// keyword is a keyword in normal form.
type keyword struct {
	how  campaign.MatchType
	text []byte // as appendWords makes it; empty is found nowhere
}

var errNoWords = errors.New("no letter and no number")

// CheckKeyword returns an error, in words for the advertiser, for a keyword that cannot be used: an unknown match type, a
// value that is too long, or one without a single letter or number.
func CheckKeyword(k campaign.Keyword) error {
	_, err := compileKeyword(k)
	return err
}

func compileKeyword(k campaign.Keyword) (keyword, error) {
	switch k.MatchType {
	case campaign.MatchBroad, campaign.MatchPhrase, campaign.MatchExact, campaign.MatchExactNegative, campaign.MatchPhraseNegative:
	default:
		return keyword{}, fmt.Errorf("match type %q is not one of BROAD, PHRASE, EXACT, EXACT_NEGATIVE, PHRASE_NEGATIVE", k.MatchType)
	}
	if len(k.Value) > MaxKeywordBytes {
		return keyword{}, fmt.Errorf("a keyword has at most %d bytes", MaxKeywordBytes)
	}
	text := appendWords(nil, k.Value)
	if len(text) == 0 {
		return keyword{how: k.MatchType}, fmt.Errorf("keyword %q has %w", k.Value, errNoWords)
	}
	return keyword{how: k.MatchType, text: text}, nil
}

// isNegative reports whether the keyword excludes.
func (k *keyword) isNegative() bool {
	return k.how == campaign.MatchExactNegative || k.how == campaign.MatchPhraseNegative
}

// hits reports whether the keyword is found in one of the phrases, each as appendWords makes it.
func (k *keyword) hits(phrases [][]byte) bool {
	for _, phrase := range phrases {
		if k.isIn(phrase) {
			return true
		}
	}
	return false
}

func (k *keyword) isIn(phrase []byte) bool {
	if len(k.text) == 0 {
		return false
	}
	switch k.how {
	case campaign.MatchExact, campaign.MatchExactNegative:
		return bytes.Equal(phrase, k.text)
	case campaign.MatchPhrase, campaign.MatchPhraseNegative:
		return bytes.Contains(phrase, k.text)
	case campaign.MatchBroad:
		for word := range words(k.text) {
			if !bytes.Contains(phrase, word) {
				return false
			}
		}
		return true
	}
	return false
}

// matchKeywords is the rule for all keywords of an ad: no negative one may hit, and if there are positive ones, one must.
func matchKeywords(keywords []keyword, phrases [][]byte) bool {
	positive, hit := false, false
	for i := range keywords {
		k := &keywords[i]
		switch {
		case k.isNegative() && k.hits(phrases):
			return false
		case !k.isNegative():
			positive, hit = true, hit || k.hits(phrases)
		}
	}
	return hit || !positive
}

// eachWord calls f for each word of a text as appendWords makes it, with the space on either side.
func eachWord(text string, f func(word string)) {
	for len(text) > 1 {
		n := strings.IndexByte(text[1:], ' ') + 2
		f(text[:n])
		text = text[n-1:]
	}
}
