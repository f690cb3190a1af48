package targeting

import (
	"math/bits"
	"slices"
)

// column is a set of ads by position: dense words for frequent values, a sorted list for the tail. One of them is nil.
type column struct {
	dense []uint64
	list  []uint32
	count int
}

// dimension holds, for one key of the spec, the ads of each value, and those that the key does not restrict.
type dimension[K comparable] struct {
	values map[K]column
	// open has a bit for each ad that the key does not restrict.
	open column
	// restricted is how many ads the key restricts.
	restricted int
}

// dimensionBuilder collects a dimension from ads in ascending position.
type dimensionBuilder[K comparable] struct {
	ads   int
	lists map[K][]uint32
	open  []uint64
}

func newDimensionBuilder[K comparable](ads int) *dimensionBuilder[K] {
	return &dimensionBuilder[K]{ads: ads, lists: map[K][]uint32{}, open: make([]uint64, wordsFor(ads))}
}

// add restricts the ad at pos to one value more. A value may come twice.
func (b *dimensionBuilder[K]) add(pos uint32, value K) {
	list := b.lists[value]
	if n := len(list); n == 0 || list[n-1] != pos {
		b.lists[value] = append(list, pos)
	}
}

// pass says that the key does not restrict the ad at pos.
func (b *dimensionBuilder[K]) pass(pos uint32) { b.open[pos/64] |= 1 << (pos % 64) }

// addAll restricts the ad at pos to the values; to none if there are none and nil is not said.
func (b *dimensionBuilder[K]) addAll(pos uint32, values []K) {
	if values == nil {
		b.pass(pos)
	}
	for _, v := range values {
		b.add(pos, v)
	}
}

func (b *dimensionBuilder[K]) build() dimension[K] {
	d := dimension[K]{values: make(map[K]column, len(b.lists)), open: column{dense: b.open, count: countBits(b.open)}}
	d.restricted = b.ads - d.open.count
	for value, list := range b.lists {
		d.values[value] = newColumn(list, b.ads)
	}
	return d
}

// newColumn keeps a list as words when those are smaller: from one ad in 32.
func newColumn(list []uint32, ads int) column {
	if len(list)*32 < ads {
		return column{list: slices.Clip(list), count: len(list)}
	}
	dense := make([]uint64, wordsFor(ads))
	for _, pos := range list {
		dense[pos/64] |= 1 << (pos % 64)
	}
	return column{dense: dense, count: len(list)}
}

func wordsFor(ads int) int { return (ads + 63) / 64 }

func countBits(words []uint64) int {
	n := 0
	for _, w := range words {
		n += bits.OnesCount64(w)
	}
	return n
}

// blockWords is how many words are looked at together: 1,024 ads, 128 bytes of each column, so that all the columns of a
// query stay in the first-level cache and a scan that has enough stops soon.
const blockWords = 16

type block [blockWords]uint64

// or adds the column's ads from word first on, which is where b begins. It moves the column's list past what it has added, so
// first must not go back.
func (c *column) or(b *block, first int) {
	if c.dense != nil {
		for i, w := range c.dense[first:min(first+blockWords, len(c.dense))] {
			b[i] |= w
		}
		return
	}
	base := uint32(first) * 64
	if len(c.list) > 0 && c.list[0] < base {
		n, _ := slices.BinarySearch(c.list, base)
		c.list = c.list[n:]
	}
	n := 0
	for _, pos := range c.list {
		at := pos - base
		if at >= blockWords*64 {
			break
		}
		b[at/64] |= 1 << (at % 64)
		n++
	}
	c.list = c.list[n:]
}
