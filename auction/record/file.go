package record

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// A file is magic, then a zstd stream of: each record behind its length as a uvarint, a length of 0, the number of records as a uvarint.
// A file that was cut off lacks the last two, and zstd checks the whole.
const magic = "GAVELREC1\n"

// ErrNoFile says that what is read is not a file of records.
var ErrNoFile = errors.New("this is not a file of recorded auctions")

// ErrTruncated says that a file ends before its end.
var ErrTruncated = errors.New("the file was cut off")

// maxWindow bounds the memory that a file can make the reader use.
const maxWindow = 64 << 20

// Writer writes a file of records.
type Writer struct {
	z *zstd.Encoder
	n uint64
}

// NewWriter begins a file on w.
func NewWriter(w io.Writer) (*Writer, error) {
	if _, err := io.WriteString(w, magic); err != nil {
		return nil, fmt.Errorf("write records: %w", err)
	}
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("write records: %w", err)
	}
	return &Writer{z: z}, nil
}

// Write appends a record, as [Append] made it.
func (w *Writer) Write(record []byte) error {
	if len(record) == 0 || len(record) > MaxBytes {
		return fmt.Errorf("write a record of %d bytes: %w", len(record), ErrDamaged)
	}
	var length [binary.MaxVarintLen64]byte
	if _, err := w.z.Write(binary.AppendUvarint(length[:0], uint64(len(record)))); err != nil {
		return fmt.Errorf("write records: %w", err)
	}
	if _, err := w.z.Write(record); err != nil {
		return fmt.Errorf("write records: %w", err)
	}
	w.n++
	return nil
}

// Close ends the file; without it the file counts as cut off. It does not close what it writes to.
func (w *Writer) Close() error {
	if _, err := w.z.Write(binary.AppendUvarint([]byte{0}, w.n)); err != nil {
		return errors.Join(fmt.Errorf("write records: %w", err), w.z.Close())
	}
	if err := w.z.Close(); err != nil {
		return fmt.Errorf("write records: %w", err)
	}
	return nil
}

// Reader reads a file of records.
type Reader struct {
	z     *zstd.Decoder
	b     *bufio.Reader
	n     uint64
	ended bool
}

// NewReader reads the head of a file. It returns ErrNoFile for anything else. Close frees it.
func NewReader(r io.Reader) (*Reader, error) {
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(r, head); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("read records: %w", err)
	}
	if string(head) != magic {
		return nil, ErrNoFile
	}
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	return &Reader{z: z, b: bufio.NewReaderSize(z, 64<<10)}, nil
}

// Close frees the reader; it does not close what it reads from.
func (r *Reader) Close() { r.z.Close() }

// Next appends the next record to dst, for [Decode]. It returns io.EOF after the last, ErrTruncated when the file ends before its end,
// and ErrDamaged when its content is not what was written.
func (r *Reader) Next(dst []byte) ([]byte, error) {
	if r.ended {
		return dst, io.EOF
	}
	length, err := binary.ReadUvarint(r.b)
	switch {
	case err != nil:
		return dst, r.broken(err)
	case length == 0:
		return dst, r.end()
	case length > MaxBytes:
		return dst, fmt.Errorf("record %d is said to have %d bytes: %w", r.n+1, length, ErrDamaged)
	}
	start := len(dst)
	dst = append(dst, make([]byte, length)...)
	if _, err := io.ReadFull(r.b, dst[start:]); err != nil {
		return dst[:start], r.broken(err)
	}
	r.n++
	return dst, nil
}

// end checks the end mark: the count, and nothing after it.
func (r *Reader) end() error {
	n, err := binary.ReadUvarint(r.b)
	if err != nil {
		return r.broken(err)
	}
	if n != r.n {
		return fmt.Errorf("there are %d records, and the file says %d: %w", r.n, n, ErrDamaged)
	}
	switch _, err := r.b.ReadByte(); {
	case err == nil:
		return fmt.Errorf("something follows the end mark: %w", ErrDamaged)
	case !errors.Is(err, io.EOF):
		return r.broken(err)
	}
	r.ended = true
	return io.EOF
}

// broken turns an error of reading into one that says what it means for the file.
func (r *Reader) broken(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("it ends after %d whole records: %w", r.n, ErrTruncated)
	}
	return fmt.Errorf("after %d whole records: %w: %w", r.n, ErrDamaged, err)
}
