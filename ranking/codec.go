package ranking

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/zeebo/xxh3"
)

// A snapshot, and the state of a trainer, are a magic word with a layout number, the content, and the xxh3 sum of both; integers are
// unsigned varints, floats and weights little-endian. Tables are sparse: the distance from the bucket before, then what it holds, for each bucket that holds
// something. What decodes is what would be encoded again, byte for byte.
const (
	snapshotMagic = "GVRK\x01"
	stateMagic    = "GVRT\x01"
)

// ErrDamaged is what is not a whole and unchanged snapshot or state of this version.
var ErrDamaged = errors.New("damaged")

const sumBytes = 8

func seal(dst []byte, from int) []byte {
	return binary.LittleEndian.AppendUint64(dst, xxh3.Hash(dst[from:]))
}

// Append appends the encoding of a snapshot.
func (s *Snapshot) Append(dst []byte) []byte {
	from := len(dst)
	dst = append(dst, snapshotMagic...)
	dst = appendText(dst, s.Version)
	dst = s.click.append(dst)
	dst = s.convert.append(dst)
	for _, factors := range s.slots {
		dst = binary.AppendUvarint(dst, uint64(len(factors)))
		for _, a := range factors {
			dst = appendFloat(dst, a)
		}
	}
	return seal(dst, from)
}

// Decode reads a snapshot that is whole, unchanged and valid, or fails with [ErrDamaged] or what [Snapshot.Validate] says.
func Decode(b []byte) (*Snapshot, error) {
	d, err := open(b, snapshotMagic)
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	s := &Snapshot{Version: d.text()}
	s.click = d.table()
	s.convert = d.table()
	for p := range s.slots {
		n := d.upTo(MaxSlots)
		for range n {
			s.slots[p] = append(s.slots[p], d.float())
		}
	}
	if err := d.end(); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return s, nil
}

func (t *table) append(dst []byte) []byte {
	dst = append(dst, t.bits)
	dst = appendPrior(dst, &t.prior)
	dst = appendFloat(dst, t.cal.LogGamma)
	dst = appendFloat(dst, t.cal.Kappa)
	used := 0
	for i, w := range t.weights {
		if w != 0 || t.known[i] != 0 {
			used++
		}
	}
	dst = binary.AppendUvarint(dst, uint64(used))
	last := 0
	for i, w := range t.weights {
		if w != 0 || t.known[i] != 0 {
			dst = binary.AppendUvarint(dst, uint64(i-last))
			dst = binary.LittleEndian.AppendUint16(dst, uint16(w))
			dst = append(dst, t.known[i])
			last = i
		}
	}
	return dst
}

func (d *decoder) table() table {
	bits := d.bits()
	if d.bad {
		return table{}
	}
	t := emptyTable(bits)
	d.prior(&t.prior)
	t.cal = Calibrator{LogGamma: d.float(), Kappa: d.float()}
	d.sparse(bits, 3, func(i int, b []byte) bool {
		t.weights[i], t.known[i] = int16(binary.LittleEndian.Uint16(b)), b[2]
		return t.weights[i] != 0 || t.known[i] != 0
	})
	return t
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendFloat(dst []byte, x float64) []byte {
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(x))
}

func appendPrior(dst []byte, prior *[placements][objectives]float64) []byte {
	for p := range prior {
		for _, x := range prior[p] {
			dst = appendFloat(dst, x)
		}
	}
	return dst
}

// decoder reads from b and remembers that something was wrong; then it reads zeros.
type decoder struct {
	b   []byte
	bad bool
}

// open checks the frame.
func open(b []byte, magic string) (*decoder, error) {
	body := len(b) - sumBytes
	if body < len(magic) || string(b[:len(magic)]) != magic || binary.LittleEndian.Uint64(b[body:]) != xxh3.Hash(b[:body]) {
		return nil, ErrDamaged
	}
	return &decoder{b: b[len(magic):body]}, nil
}

// end fails unless everything was read, and was good.
func (d *decoder) end() error {
	if d.bad || len(d.b) > 0 {
		return ErrDamaged
	}
	return nil
}

// take is the next n bytes, nil when there are not as many.
func (d *decoder) take(n int) []byte {
	if d.bad || len(d.b) < n {
		d.bad = true
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

// uvarint refuses numbers that are longer than they need to be.
func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if d.bad || n <= 0 || n > 1 && d.b[n-1] == 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) upTo(most int) int {
	v := d.uvarint()
	if v > uint64(most) {
		d.bad = true
		return 0
	}
	return int(v)
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) float() float64 {
	if b := d.take(8); b != nil {
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
	return 0
}

func (d *decoder) text() string { return string(d.take(d.upTo(maxVersion))) }

func (d *decoder) bits() uint8 {
	b := d.byte()
	if b < MinBits || b > MaxBits {
		d.bad = true
	}
	return b
}

func (d *decoder) prior(prior *[placements][objectives]float64) {
	for p := range prior {
		for o := range prior[p] {
			prior[p][o] = d.float()
		}
	}
}

// sparse reads the buckets of a table, each with size bytes. put says whether what it got may stand there.
func (d *decoder) sparse(bits uint8, size int, put func(i int, b []byte) bool) {
	at := uint64(0)
	for n, i := d.upTo(1<<bits), 0; i < n && !d.bad; i++ {
		gap := d.uvarint()
		b := d.take(size)
		if d.bad || gap == 0 || gap >= 1<<bits-at || !put(int(at+gap), b) {
			d.bad = true
			return
		}
		at += gap
	}
}
