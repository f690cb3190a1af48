package redact

import (
	"regexp"
	"strings"
)

// maxBytes bounds what Text returns; the rest of a longer text is cut.
const maxBytes = 512

// hidden stands where a secret stood.
const hidden = "***"

var rules = []struct {
	find    *regexp.Regexp
	replace string
}{
	// scheme://user:password@host. Passwords may hold "/" and "@": everything up to the last "@" of the word goes.
	{regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.\-]*://)[^\s"'<>]*@`), "${1}" + hidden + "@"},
	// Authorization headers, and the bare schemes.
	{regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=\-]+`), "${1} " + hidden},
	// password=…, "password":"…", ?token=…, api-key: …; quoted values to their closing quote.
	{
		regexp.MustCompile(`(?i)([A-Za-z0-9_\-]*(?:password|passwd|pwd|secret|token|api[_\-]?key|authorization)["']?\s*[=:]\s*)` +
			`("[^"]*"|'[^']*'|[^\s"'&,;)}\]]+)`),
		"${1}" + hidden,
	},
}

// Text returns s without user info in URLs, bearer tokens and the values of keys that sound secret; at most 512 bytes of
// valid UTF-8 on one line.
func Text(s string) string {
	for _, r := range rules {
		s = r.find.ReplaceAllString(s, r.replace)
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "�"))
	return Cut(s, maxBytes)
}

// Cut returns at most n bytes of s, ending at a whole character, with "…" in place of what it cut.
func Cut(s string, n int) string {
	const mark = "…"
	if len(s) <= n {
		return s
	}
	end := max(n-len(mark), 0)
	for end > 0 && s[end]&0xC0 == 0x80 {
		end--
	}
	return s[:end] + mark
}
