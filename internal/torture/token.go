package torture

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// Opened is what a token says, read by the checker's own code from the format that event/token.go describes: version, key id, kind
// and impression id in clear, then XChaCha20-Poly1305 over six numbers and the day, with kind and impression id as the nonce.
type Opened struct {
	Impression string // as a UUID's text
	Kind       string // IMPRESSION, VIEWABLE or CLICK
	Day        int    // yyyymmdd
	Lease      int64
	Ad         int64
	AdGroup    int64
	Nanos      int64 // what the event costs
	Exp        time.Time
}

// tokenKeys are the keys by their id.
type tokenKeys map[byte][]byte

// parseTokenKeys reads GAVEL_TOKEN_KEYS.
func parseTokenKeys(text string) (tokenKeys, error) {
	keys := tokenKeys{}
	for _, part := range strings.Split(text, ",") {
		id, secret, _ := strings.Cut(part, ":")
		n, err := strconv.ParseUint(id, 10, 8)
		if err != nil {
			return nil, fmt.Errorf("id of a token key: %w", err)
		}
		if keys[byte(n)], err = base64.StdEncoding.DecodeString(secret); err != nil {
			return nil, errors.New("a token key is not base64")
		}
	}
	return keys, nil
}

var eventKinds = map[byte]string{1: "IMPRESSION", 2: "VIEWABLE", 3: "CLICK"}

// open reads a token that was not changed. It does not ask what time it is.
func (k tokenKeys) open(text string) (Opened, error) {
	const head, plain, served = 19, 52, 64 // a token of version 2 goes on with what the ranking model saw
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return Opened{}, fmt.Errorf("token is not base64url: %w", err)
	}
	sizes := map[byte]int{1: head + plain + chacha20poly1305.Overhead, 2: head + plain + served + chacha20poly1305.Overhead}
	if len(raw) < head || len(raw) != sizes[raw[0]] || eventKinds[raw[2]] == "" || k[raw[1]] == nil {
		return Opened{}, errors.New("token is not one of ours")
	}
	box, err := chacha20poly1305.NewX(k[raw[1]])
	if err != nil {
		return Opened{}, fmt.Errorf("token key %d: %w", raw[1], err)
	}
	nonce := make([]byte, chacha20poly1305.NonceSizeX)
	copy(nonce, raw[2:head])
	body, err := box.Open(nil, nonce, raw[head:], raw[:head])
	if err != nil {
		return Opened{}, errors.New("token does not verify")
	}
	n := func(from, size int) (v int64) {
		for _, b := range body[from : from+size] {
			v = v<<8 | int64(b)
		}
		return v
	}
	id := raw[3:head]
	return Opened{
		Impression: fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:]),
		Kind:       eventKinds[raw[2]], Lease: n(0, 8), Ad: n(8, 8), Nanos: n(16, 8), AdGroup: n(32, 8), Exp: time.UnixMilli(n(40, 8)), Day: int(n(48, 4)),
	}, nil
}
