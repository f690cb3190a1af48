package handlers

import (
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gofiber/fiber/v2"

	"gavel/campaign"
	"gavel/internal/fault"
)

// principalKey is where a request's principal is kept.
type principalKey struct{}

var (
	errNoKey      = fault.New(fault.Unauthorized, "send a key: Authorization: Bearer <key>")
	errUnknownKey = fault.New(fault.Unauthorized, "the key is unknown or revoked")
	errWrongRole  = fault.New(fault.Forbidden, "this key's role may not do this")
	errNotYours   = fault.New(fault.Forbidden, "this key may not use this ad account")
)

// identify finds who is calling and whether its role may.
func identify(ring *campaign.KeyRing, authorization string, roles []campaign.Role) (campaign.Principal, *fault.Error) {
	scheme, key, found := strings.Cut(authorization, " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return campaign.Principal{}, errNoKey
	}
	p, known := ring.Lookup(strings.TrimSpace(key))
	switch {
	case !known:
		return campaign.Principal{}, errUnknownKey
	case !slices.Contains(roles, p.Role):
		return campaign.Principal{}, errWrongRole
	}
	return p, nil
}

// Authenticate lets only keys of the roles pass. It asks no database.
func Authenticate(ring *campaign.KeyRing, roles ...campaign.Role) fiber.Handler {
	return func(c *fiber.Ctx) error {
		p, refused := identify(ring, c.Get(fiber.HeaderAuthorization), roles)
		if refused != nil {
			return refused
		}
		c.Locals(principalKey{}, p)
		return c.Next()
	}
}

// principal is who is calling; nobody where Authenticate did not run.
func principal(c *fiber.Ctx) campaign.Principal {
	p, _ := c.Locals(principalKey{}).(campaign.Principal)
	return p
}

// accountParam is the path parameter that names the ad account.
const accountParam = "ad_account_id"

// authenticate is Authenticate for operations of the v5 API. A key of one account that names another is refused before
// anything is looked up, so it learns nothing of what exists there.
func (v *v5) authenticate(roles ...campaign.Role) func(ctx huma.Context, next func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		p, refused := identify(v.ring, ctx.Header(fiber.HeaderAuthorization), roles)
		if refused == nil && p.Role == campaign.RoleAdvertiser {
			if named := ctx.Param(accountParam); named != "" && named != strconv.FormatInt(int64(p.AdAccountID), 10) {
				refused = errNotYours
			}
		}
		if refused != nil {
			v.refuse(ctx, refused)
			return
		}
		next(huma.WithValue(ctx, principalKey{}, p))
	}
}
