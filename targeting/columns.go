package targeting

import (
	"math/bits"
)

const (
	// maxRows is the most rows of a segment: what a uint16 can number.
	maxRows = 1 << 16
	// blockWords is how many words are looked at together: 1,024 rows, 128 bytes of each column, so that all the columns of a
	// query stay in the first-level cache and a scan that has enough stops soon.
	blockWords = 16
	blockRows  = blockWords * 64
)

type block = [blockWords]uint64

// column is a set of rows: whole blocks of words for frequent values, a sorted list for the tail. One of them is nil.
type column struct {
	dense []uint64
	list  []uint16
	count int
}

// dimension holds, for one key of the spec, the rows of each value, and those that the key does not restrict.
type dimension[K comparable] struct {
	values map[K]column
	// open has a bit for each row that the key does not restrict.
	open column
	// restricted is how many rows the key restricts.
	restricted int
	// folded says that the dense columns of values have the open rows too, so that they need not be added.
	folded bool
}

// dimensionBuilder collects a dimension from rows in ascending order.
type dimensionBuilder[K comparable] struct {
	rows   int
	folded bool
	lists  map[K]*[]uint16
	open   []uint64
}

func newDimensionBuilder[K comparable](rows int) *dimensionBuilder[K] {
	return &dimensionBuilder[K]{rows: rows, folded: true, lists: map[K]*[]uint16{}, open: make([]uint64, wordsFor(rows))}
}

// add restricts a row to one value more. A value may come twice.
func (b *dimensionBuilder[K]) add(row int, value K) {
	list := b.lists[value]
	if list == nil {
		list = new([]uint16)
		b.lists[value] = list
	}
	if n := len(*list); n == 0 || (*list)[n-1] != uint16(row) {
		*list = append(*list, uint16(row))
	}
}

// pass says that the key does not restrict a row.
func (b *dimensionBuilder[K]) pass(row int) { b.open[row/64] |= 1 << (row % 64) }

func (b *dimensionBuilder[K]) build() dimension[K] {
	d := dimension[K]{values: make(map[K]column, len(b.lists)), open: column{dense: b.open, count: countBits(b.open)}, folded: b.folded}
	d.restricted = b.rows - d.open.count
	tail := 0
	for _, list := range b.lists {
		if !isDense(len(*list), b.rows) {
			tail += len(*list)
		}
	}
	arena := make([]uint16, 0, tail)
	for value, list := range b.lists {
		if isDense(len(*list), b.rows) {
			d.values[value] = d.denseColumn(*list)
			continue
		}
		from := len(arena)
		arena = append(arena, *list...)
		d.values[value] = column{list: arena[from:len(arena):len(arena)], count: len(*list)}
	}
	return d
}

// isDense says that a column is words: from one row in 128. A list is smaller up to one row in 16, but a block of words is added in
// the time of some six rows of a list.
func isDense(count, rows int) bool { return count*128 >= rows }

func (d *dimension[K]) denseColumn(list []uint16) column {
	words := make([]uint64, len(d.open.dense))
	if d.folded {
		copy(words, d.open.dense)
	}
	for _, row := range list {
		words[row/64] |= 1 << (row % 64)
	}
	return column{dense: words, count: countBits(words)}
}

// bytes is how much memory the columns take.
func (d *dimension[K]) bytes(keyBytes int) int {
	n := len(d.open.dense) * 8
	for _, c := range d.values {
		n += len(c.dense)*8 + len(c.list)*2 + keyBytes + columnBytes
	}
	return n
}

// columnBytes is what a column takes in a map beside its rows and its key.
const columnBytes = 64

// wordsFor is how many words hold so many rows in whole blocks.
func wordsFor(rows int) int { return (rows + blockRows - 1) / blockRows * blockWords }

func countBits(words []uint64) int {
	n := 0
	for _, w := range words {
		n += bits.OnesCount64(w)
	}
	return n
}

// blockAt is the block of a dense column that begins at a word.
func (c *column) blockAt(first int) *block { return (*block)(c.dense[first:]) }
