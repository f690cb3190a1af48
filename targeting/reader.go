package targeting

import (
	"encoding/binary"
	"errors"

	"gavel/campaign"
)

// ErrCorrupt says that bytes are not what this package has written.
var ErrCorrupt = errors.New("corrupt bytes of an index")

// reader takes values from the front of s. What is not there reads as zero and sets bad. Texts share s.
type reader struct {
	s   string
	bad bool
}

func (r *reader) fail() {
	r.s, r.bad = "", true
}

func (r *reader) byte() byte {
	if r.s == "" {
		r.bad = true
		return 0
	}
	b := r.s[0]
	r.s = r.s[1:]
	return b
}

func (r *reader) bytes(n int) string {
	if n < 0 || n > len(r.s) {
		r.fail()
		return ""
	}
	b := r.s[:n]
	r.s = r.s[n:]
	return b
}

// uvarint reads the shortest form only, so that equal values have equal bytes.
func (r *reader) uvarint() uint64 {
	var v uint64
	for i := 0; i < len(r.s) && i < binary.MaxVarintLen64; i++ {
		b := r.s[i]
		if b < 0x80 {
			if i == binary.MaxVarintLen64-1 && b > 1 || i > 0 && b == 0 {
				break
			}
			r.s = r.s[i+1:]
			return v | uint64(b)<<(7*i)
		}
		v |= uint64(b&0x7f) << (7 * i)
	}
	r.fail()
	return 0
}

// count reads a number of things, each of which takes at least so many bytes: what is announced must be there.
func (r *reader) count(each int) int {
	n := r.uvarint()
	if n > uint64(len(r.s)/each) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) text() string { return r.bytes(r.count(1)) }

func (r *reader) texts() []string {
	n := r.count(1)
	list := make([]string, n)
	for i := range list {
		list[i] = r.text()
	}
	return list
}

// skipTexts passes a list of texts, if it is there.
func (r *reader) skipTexts(there bool) {
	if there {
		for range r.count(1) {
			r.text()
		}
	}
}

// head reads the placement and the parts of a code.
func (r *reader) head() (placement, parts int) {
	placement = int(r.byte())
	parts = int(r.byte())
	return placement, parts | int(r.byte())<<8
}

// toKeywords reads a code up to its keywords, and reports whether it has some.
func (r *reader) toKeywords() bool {
	_, parts := r.head()
	if parts&partSchedule != 0 {
		r.uvarint()
		r.uvarint()
	}
	if parts&partHours != 0 {
		r.hours()
		r.text()
	}
	return parts&partKeywords != 0
}

func (r *reader) uint64() uint64 {
	var v uint64
	b := r.bytes(8)
	for i := range len(b) {
		v |= uint64(b[i]) << (8 * i)
	}
	return v
}

func (r *reader) hours() (h campaign.WeekHours) {
	for i := range h {
		h[i] = r.uint64()
	}
	return h
}

func (r *reader) matchType() campaign.MatchType {
	how := r.byte()
	if int(how) >= len(matchTypes) {
		r.fail()
		return ""
	}
	return matchTypes[how]
}

func (r *reader) audiences() []campaign.AudienceID {
	n := r.count(1)
	list := make([]campaign.AudienceID, n)
	var last uint64
	for i := range list {
		last += r.uvarint()
		list[i] = campaign.AudienceID(last)
	}
	return list
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendTexts(dst []byte, list []string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	for _, s := range list {
		dst = appendText(dst, s)
	}
	return dst
}

func appendAudiences(dst []byte, sorted []campaign.AudienceID) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(sorted)))
	var last campaign.AudienceID
	for _, id := range sorted {
		dst = binary.AppendUvarint(dst, uint64(id-last))
		last = id
	}
	return dst
}
