package event

import (
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/chacha20poly1305"

	"gavel/budget"
	"gavel/campaign"
	"gavel/internal/money"
)

// ErrForged says that the token was not sealed by us, or was changed, or its key has been retired. It does not say which: that would
// help only who forged it.
var ErrForged = errors.New("event: token does not verify")

// Token is what an event URL carries, sealed: nobody outside can read a price from it or change it.
type Token struct {
	budget.EventID
	LeaseID budget.LeaseID
	AdID    campaign.AdID
	// Price is what the event costs, 0 if the ad does not pay for this kind.
	Price    money.Nanos
	UserHash int64
	// AdGroupID counts the impression against the ad group's frequency cap.
	AdGroupID campaign.AdGroupID
	// Exp is the last moment of validity, in whole milliseconds: never after the lease's max_exp.
	Exp time.Time
	// Served travels with an impression and takes no room in other tokens.
	Served Served
}

// Served is what the ranking model saw; see [budget.Served].
type Served = budget.Served

// NewImpressionID names an impression: a UUID v7 of the node's time, so that it also says when the ad was served.
func NewImpressionID(servedAt time.Time) uuid.UUID {
	id := uuid.Must(uuid.NewV7())
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(servedAt.UnixMilli()))
	copy(id[:6], ms[2:])
	return id
}

// ServedAt is the time that NewImpressionID was given, in whole milliseconds.
func ServedAt(id uuid.UUID) time.Time {
	var ms [8]byte
	copy(ms[2:], id[:6])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(ms[:])))
}

// A token is: version (1) ‖ key id (1) ‖ kind (1) ‖ impression id (16) ‖ XChaCha20-Poly1305(body). The nonce is kind and
// impression id, which are never used twice with different bodies; the header is authenticated as additional data. Version 1 is
// a token without Served, version 2 one with it: the body goes on with its 64 bytes.
const (
	plainVersion  = 1
	servedVersion = 2
	headerSize    = 3 + 16
	bodySize      = 8*5 + 8 + 4
	servedSize    = len(Served{})
	tokenSize     = headerSize + bodySize + chacha20poly1305.Overhead
	maxTokenSize  = tokenSize + servedSize
)

// The lengths of tokens as text: of those without Served and of those with it.
var (
	EncodedTokenSize       = base64.RawURLEncoding.EncodedLen(tokenSize)
	EncodedServedTokenSize = base64.RawURLEncoding.EncodedLen(maxTokenSize)
)

var kinds = [...]budget.Kind{1: budget.Impression, 2: budget.Viewable, 3: budget.Click}

// Keys seal and open tokens. The first key seals; all of them open, so that a key can be rotated while its tokens live.
type Keys struct {
	seal byte
	open map[byte]cipher.AEAD
}

// KeySize is the size of a token key in bytes.
const KeySize = chacha20poly1305.KeySize

// ParseKeys reads "id:base64,id:base64…": ids are 1 to 255, keys 32 bytes. The first one seals.
func ParseKeys(text string) (*Keys, error) {
	k := &Keys{open: map[byte]cipher.AEAD{}}
	for i, part := range strings.Split(text, ",") {
		idText, keyText, ok := strings.Cut(strings.TrimSpace(part), ":")
		var id int
		if _, err := fmt.Sscanf(idText, "%d", &id); !ok || err != nil || id < 1 || id > 255 {
			return nil, fmt.Errorf("token key %d: want id:base64 with an id from 1 to 255", i+1)
		}
		key, err := base64.StdEncoding.DecodeString(keyText)
		if err != nil {
			return nil, fmt.Errorf("token key %d: not base64", i+1)
		}
		aead, err := chacha20poly1305.NewX(key)
		if err != nil {
			return nil, fmt.Errorf("token key %d: %d bytes, want %d", i+1, len(key), KeySize)
		}
		if _, twice := k.open[byte(id)]; twice {
			return nil, fmt.Errorf("token key %d: id %d is used twice", i+1, id)
		}
		k.open[byte(id)] = aead
		if i == 0 {
			k.seal = byte(id)
		}
	}
	return k, nil
}

// Seal appends the text of t to dst.
func (k *Keys) Seal(dst []byte, t *Token) []byte {
	var raw [maxTokenSize]byte
	var nonce [chacha20poly1305.NonceSizeX]byte
	raw[0], raw[1], raw[2] = plainVersion, k.seal, kindCode(t.Kind)
	copy(raw[3:], t.ImpressionID[:])
	copy(nonce[:], raw[2:headerSize])
	var room [bodySize + servedSize]byte
	body, size := room[:bodySize], tokenSize
	for i, v := range []int64{int64(t.LeaseID), int64(t.AdID), int64(t.Price), t.UserHash, int64(t.AdGroupID), t.Exp.UnixMilli()} {
		binary.BigEndian.PutUint64(body[i*8:], uint64(v))
	}
	binary.BigEndian.PutUint32(body[48:], uint32(t.Day))
	if t.Served != (Served{}) {
		raw[0], size = servedVersion, maxTokenSize
		body = append(body, t.Served[:]...)
	}
	k.open[k.seal].Seal(raw[:headerSize], nonce[:], body, raw[:headerSize])
	return base64.RawURLEncoding.AppendEncode(dst, raw[:size])
}

// Open verifies and reads a token; whether its time is over is for [budget.Intake] to say. It returns ErrForged.
func (k *Keys) Open(text []byte) (Token, error) {
	var raw [maxTokenSize]byte
	version, size := byte(plainVersion), tokenSize
	switch len(text) {
	case EncodedTokenSize:
	case EncodedServedTokenSize:
		version, size = servedVersion, maxTokenSize
	default:
		return Token{}, ErrForged
	}
	if _, err := base64.RawURLEncoding.Strict().Decode(raw[:], text); err != nil {
		return Token{}, ErrForged
	}
	aead := k.open[raw[1]]
	if raw[0] != version || aead == nil || raw[2] == 0 || int(raw[2]) >= len(kinds) {
		return Token{}, ErrForged
	}
	var nonce [chacha20poly1305.NonceSizeX]byte
	copy(nonce[:], raw[2:headerSize])
	var plain [bodySize + servedSize]byte
	body, err := aead.Open(plain[:0], nonce[:], raw[headerSize:size], raw[:headerSize])
	if err != nil {
		return Token{}, ErrForged
	}
	field := func(i int) int64 { return int64(binary.BigEndian.Uint64(body[i*8:])) }
	t := Token{
		EventID: budget.EventID{Day: int(binary.BigEndian.Uint32(body[48:])), ImpressionID: uuid.UUID(raw[3:headerSize]), Kind: kinds[raw[2]]},
		LeaseID: budget.LeaseID(field(0)), AdID: campaign.AdID(field(1)), Price: money.Nanos(field(2)),
		UserHash: field(3), AdGroupID: campaign.AdGroupID(field(4)), Exp: time.UnixMilli(field(5)),
	}
	copy(t.Served[:], body[bodySize:])
	return t, nil
}

func kindCode(kind budget.Kind) byte {
	for code, k := range kinds {
		if k == kind && code > 0 {
			return byte(code)
		}
	}
	panic("event: no such kind: " + string(kind))
}
