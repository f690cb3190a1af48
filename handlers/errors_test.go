package handlers

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/internal/fault"
)

func TestEveryCodeHasAStatusOfItsOwn(t *testing.T) {
	t.Parallel()
	statuses, numbers := map[int]bool{}, map[int]bool{}
	for _, k := range kinds {
		require.False(t, statuses[k.status] || numbers[k.number], "%+v", k)
		statuses[k.status], numbers[k.number] = true, true
		require.Equal(t, k, kindOf(k.code))
		require.Equal(t, k, kindOfStatus(k.status))
	}
	require.Equal(t, fault.Internal, kindOf("new").code)
	require.Equal(t, fault.Invalid, kindOfStatus(418).code)
	require.Equal(t, fault.Internal, kindOfStatus(599).code)
}

func TestErrorHandler(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err    error
		status int
		body   string
		header string
	}{
		"fault":      {fault.InvalidFields("bad", fault.Field{Name: "a", Message: "is b"}), 400, `{"code":1,"message":"bad","details":[{"field":"a","message":"is b"}]}`, ""},
		"wrapped":    {campaign.ErrAdNotFound.Because(errors.New("pq: secret")), 404, `{"code":4,"message":"ad not found in this ad account"}`, ""},
		"anything":   {errors.New("pq: secret"), 500, `{"code":12,"message":"internal error"}`, ""},
		"outage":     {fault.Wrap(fault.Unavailable, "down", errors.New("pq: secret")), 503, `{"code":11,"message":"down"}`, fiber.HeaderRetryAfter},
		"nobody":     {errNoKey, 401, `{"code":2,"message":"send a key: Authorization: Bearer <key>"}`, fiber.HeaderWWWAuthenticate},
		"Fiber":      {fiber.ErrRequestEntityTooLarge, 413, `{"code":7,"message":"request entity too large"}`, ""},
		"no method":  {fiber.ErrMethodNotAllowed, 405, `{"code":1,"message":"method not allowed"}`, ""},
		"Fiber text": {fiber.NewError(500, "secret"), 500, `{"code":12,"message":"internal server error"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app := newApp()
			app.Get("/", func(*fiber.Ctx) error { return c.err })
			resp, err := app.Test(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody), -1)
			require.NoError(t, err)
			defer resp.Body.Close()
			require.Equal(t, c.status, resp.StatusCode)
			body := make([]byte, 4096)
			n, _ := resp.Body.Read(body)
			require.JSONEq(t, c.body, string(body[:n]))
			if c.header != "" {
				require.NotEmpty(t, resp.Header.Get(c.header))
			}
		})
	}
}

func TestAuthenticateKeepsThePrincipal(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	app := newApp()
	app.Get("/", Authenticate(b.ring, campaign.RoleFeed), func(c *fiber.Ctx) error { return c.SendString(principal(c).Name) })
	for key, want := range map[string]int{b.feed: 200, b.operator: 403, "x": 401} {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
		req.Header.Set(fiber.HeaderAuthorization, "Bearer "+key)
		resp, err := app.Test(req, -1)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, want, resp.StatusCode)
	}
}
