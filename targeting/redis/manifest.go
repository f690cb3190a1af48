package redis

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/zeebo/xxh3"

	"gavel/targeting"
)

// ErrDamaged says that bytes in Redis are not what was written there.
var ErrDamaged = errors.New("damaged index")

const (
	// chunkBytes is the size of all chunks of a blob but the last: no command moves more than that, so none holds Redis up.
	chunkBytes = 256 << 10
	// maxBlobBytes is the most that a blob may have, and maxBlobs the most segments of a manifest: what is larger was never written.
	maxBlobBytes = 1 << 30
	maxBlobs     = 1 << 14
	// checksumDigits is the length of a checksum in hexadecimal digits.
	checksumDigits = 16
)

// blob names bytes that are kept in chunks. No two writes have one name, so that what is under a name is all there is of it.
type blob struct {
	Name  string `json:"name"`
	Bytes int    `json:"bytes"`
	// Checksum is the XXH3 of the bytes.
	Checksum string `json:"checksum"`
	// Ads is how many ads a segment has.
	Ads int `json:"ads,omitempty"`
}

// chunks is in how many pieces the blob is kept.
func (b blob) chunks() int { return (b.Bytes + chunkBytes - 1) / chunkBytes }

func (b blob) validate() error {
	switch {
	case b.Name == "" || strings.ContainsAny(b.Name, "{} \r\n"):
		return fmt.Errorf("blob name %q", b.Name)
	case b.Bytes < 1 || b.Bytes > maxBlobBytes:
		return fmt.Errorf("blob %s of %d bytes", b.Name, b.Bytes)
	case len(b.Checksum) != checksumDigits:
		return fmt.Errorf("checksum %q of blob %s", b.Checksum, b.Name)
	case b.Ads < 0:
		return fmt.Errorf("%d ads in blob %s", b.Ads, b.Name)
	}
	return nil
}

// manifest says what an index consists of: these blobs, and the log after BaseSeq.
type manifest struct {
	Generation string `json:"generation"`
	// BaseSeq is the last change that the segments hold.
	BaseSeq int64 `json:"base_seq"`
	// MaxCTR and MaxCVR are the bounds of the ranking model that the order of the ads was made with.
	MaxCTR float64 `json:"max_ctr"`
	MaxCVR float64 `json:"max_cvr"`
	// Ads is how many ads the segments have together.
	Ads int `json:"ads"`
	// Tables has the lists of audiences and the taxonomy, as a change that makes them from nothing.
	Tables blob `json:"tables"`
	// Segments are in the order of the index.
	Segments []blob `json:"segments"`
}

// blobs are all that the manifest names.
func (m *manifest) blobs() []blob { return append([]blob{m.Tables}, m.Segments...) }

func (m *manifest) bounds() targeting.Bounds {
	return targeting.Bounds{MaxCTR: m.MaxCTR, MaxCVR: m.MaxCVR}
}

// bytes is the size of all blobs.
func (m *manifest) bytes() (n int64) {
	for _, b := range m.blobs() {
		n += int64(b.Bytes)
	}
	return n
}

// encode is the manifest as it is stored: 16 hexadecimal digits of the XXH3 of the JSON, and the JSON.
func (m *manifest) encode() (string, error) {
	doc, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("encode manifest: %w", err)
	}
	return checksum(doc) + string(doc), nil
}

// decodeManifest reads what encode made, or returns ErrDamaged.
func decodeManifest(text string) (*manifest, error) {
	if len(text) < checksumDigits || text[:checksumDigits] != checksum([]byte(text[checksumDigits:])) {
		return nil, fmt.Errorf("checksum of the manifest: %w", ErrDamaged)
	}
	var m manifest
	if err := json.Unmarshal([]byte(text[checksumDigits:]), &m); err != nil {
		return nil, fmt.Errorf("read manifest: %w: %w", ErrDamaged, err)
	}
	if err := m.validate(); err != nil {
		return nil, fmt.Errorf("read manifest: %w: %w", ErrDamaged, err)
	}
	return &m, nil
}

func (m *manifest) validate() error {
	if m.Generation == "" || m.BaseSeq < 0 {
		return fmt.Errorf("change %d of generation %q", m.BaseSeq, m.Generation)
	}
	if err := m.bounds().Validate(); err != nil {
		return err
	}
	if len(m.Segments) > maxBlobs {
		return fmt.Errorf("%d segments", len(m.Segments))
	}
	ads, names := 0, map[string]bool{}
	for _, b := range m.blobs() {
		if err := b.validate(); err != nil {
			return err
		}
		if names[b.Name] {
			return fmt.Errorf("blob %s twice", b.Name)
		}
		names[b.Name] = true
		ads += b.Ads
	}
	if ads != m.Ads {
		return fmt.Errorf("%d ads in segments of %d", m.Ads, ads)
	}
	return nil
}

func checksum(data []byte) string {
	hex := strconv.FormatUint(xxh3.Hash(data), 16)
	return strings.Repeat("0", checksumDigits-len(hex)) + hex
}
