package targeting

import (
	"bytes"
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Limits on the text of one query. Text beyond them is "not known" as a whole: no ad with keywords matches.
const (
	// MaxPhraseBytes is the most bytes of a search query or of one page keyword.
	MaxPhraseBytes = 1024
	// MaxPageKeywords is the most page keywords.
	MaxPageKeywords = 64
)

// NormalizeText is the form in which keywords meet queries: Unicode NFKC with full case folding; apostrophes and invisible
// format characters are dropped ("Men's" is "mens"); whatever else is not a letter, mark or number separates words
// ("t-shirt" is "t shirt"); one space between words, none at the ends. Text without words, as "!?", gives "".
func NormalizeText(s string) string {
	return string(bytes.TrimSpace(appendWords(nil, s)))
}

// appendWords appends the normal form with a space before and after each word (" red shoes "), so that whole words are found
// by searching for bytes. It appends nothing for text without words.
func appendWords(dst []byte, s string) []byte {
	if !isASCII(s) {
		// What is dropped goes first, for its neighbours may compose; folding can undo a composition, hence composing twice.
		// Fold turns Cherokee small letters into capitals and capitals into small ones, hence lower case after it.
		s = norm.NFKC.String(strings.ToLower(cases.Fold().String(strings.Map(drop, norm.NFKC.String(s)))))
	}
	start, inWord := len(dst), false
	for _, r := range s {
		switch {
		case 'A' <= r && r <= 'Z':
			r += 'a' - 'A'
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
		case drop(r) < 0:
			continue
		case r < utf8.RuneSelf, r == utf8.RuneError, !unicode.In(r, unicode.L, unicode.M, unicode.N):
			inWord = false
			continue
		}
		if !inWord {
			dst = append(dst, ' ')
			inWord = true
		}
		dst = utf8.AppendRune(dst, r)
	}
	if len(dst) > start {
		dst = append(dst, ' ')
	}
	return dst
}

// drop is -1 for what is taken out without parting the word: apostrophes and format characters such as the soft hyphen.
func drop(r rune) rune {
	if r == '\'' || r == '’' || r == '‘' || unicode.Is(unicode.Cf, r) {
		return -1
	}
	return r
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// words yields each word of what appendWords made, with the space on either side. The slices alias text.
func words(text []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(text) > 1 {
			n := bytes.IndexByte(text[1:], ' ') + 2
			if !yield(text[:n]) {
				return
			}
			text = text[n-1:]
		}
	}
}
