package campaign

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"time"

	"gavel/internal/fault"
)

// Role is what a key may do.
type Role string

// The roles.
const (
	// RoleFeed asks for ads and reports events.
	RoleFeed Role = "FEED"
	// RoleAdvertiser manages one ad account.
	RoleAdvertiser Role = "ADVERTISER"
	// RoleOperator manages all ad accounts.
	RoleOperator Role = "OPERATOR"
)

// KeyHash is the SHA-256 of a key's text. A key is 256 bits of randomness, so a slow hash would add nothing.
type KeyHash [sha256.Size]byte

// HashKey is the hash by which a key is stored and found.
func HashKey(text string) KeyHash { return sha256.Sum256([]byte(text)) }

// Key is an API key without its text, which exists only in the answer of [Service.CreateKey].
type Key struct {
	ID   int64
	Name string
	Role Role
	// AdAccountID is not 0 for RoleAdvertiser only.
	AdAccountID AdAccountID
	// MayExplain lets a feed key ask why an auction went as it did.
	MayExplain bool
	CreatedAt  time.Time
	// RevokedAt is zero for a live key.
	RevokedAt time.Time
}

// Principal is who is calling.
type Principal struct {
	KeyID       int64
	Name        string
	Role        Role
	AdAccountID AdAccountID
	MayExplain  bool
}

// MayManage reports whether p may read and write the ad account.
func (p Principal) MayManage(account AdAccountID) bool {
	return p.Role == RoleOperator || (p.Role == RoleAdvertiser && p.AdAccountID == account)
}

// KeyInput creates a key.
type KeyInput struct {
	Name        string
	Role        Role
	AdAccountID AdAccountID
	MayExplain  bool
}

const keyBytes = 32

func newKey(in KeyInput) (Key, []fault.Field) {
	var p fault.Fields
	checkText(&p, "name", in.Name, 1, 128)
	checkOneOf(&p, "role", in.Role, RoleFeed, RoleAdvertiser, RoleOperator)
	switch {
	case in.Role == RoleAdvertiser && in.AdAccountID == 0:
		p.Add("ad_account_id", "is required for the role ADVERTISER")
	case in.Role != RoleAdvertiser && in.AdAccountID != 0:
		p.Add("ad_account_id", "is only for the role ADVERTISER")
	}
	return Key{Name: in.Name, Role: in.Role, AdAccountID: in.AdAccountID, MayExplain: in.MayExplain}, p
}

// newKeyText draws a key: gvl_<role>_<43 characters of base64url>.
func newKeyText(role Role, random io.Reader) (string, error) {
	var secret [keyBytes]byte
	if _, err := io.ReadFull(random, secret[:]); err != nil {
		return "", fmt.Errorf("draw key: %w", err)
	}
	return "gvl_" + strings.ToLower(string(role)) + "_" + base64.RawURLEncoding.EncodeToString(secret[:]), nil
}
