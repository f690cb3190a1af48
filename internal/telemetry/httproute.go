package telemetry

import (
	"maps"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gofiber/fiber/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"gavel/internal/telemetry/redact"
)

// cache is a map that is read without a lock and copied to be written; its zero value is empty. It suits keys that are few and
// known after the first requests: routes, methods, status codes.
type cache[K comparable, V any] struct {
	mu sync.Mutex
	m  atomic.Pointer[map[K]V]
}

// get returns the value of k, made by create the first time.
func (c *cache[K, V]) get(k K, create func(K) V) V {
	if m := c.m.Load(); m != nil {
		if v, ok := (*m)[k]; ok {
			return v
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	next := make(map[K]V)
	if m := c.m.Load(); m != nil {
		if v, ok := (*m)[k]; ok {
			return v
		}
		maps.Copy(next, *m)
	}
	v := create(k)
	next[k] = v
	c.m.Store(&next)
	return v
}

// route is what a Fiber route is called outside.
type route struct {
	// template is the path with its parameters in braces, as in the OpenAPI document.
	template string
	pieces   []piece
	known    bool // a route for requests, not the place where a middleware hangs
	fixed    bool // without parameters
}

// piece is text of a template, or a parameter of that name.
type piece struct{ text, param string }

// unmatched is the route of requests that no route answered.
var unmatched = &route{}

// routeOf returns the route that answered. Fiber leaves the last one that it entered, which may be where a middleware hangs.
func (s *httpServer) routeOf(c *fiber.Ctx) *route {
	rt := s.routes.get(c.Route(), func(fr *fiber.Route) *route { return newRoute(c.App(), fr) })
	if !rt.known {
		return unmatched
	}
	// A middleware at the path of a real route looks like it; the path of the request tells them apart.
	if rt.fixed && !samePath(c.Path(), rt.template) {
		return unmatched
	}
	return rt
}

func samePath(a, b string) bool {
	return strings.EqualFold(strings.TrimRight(a, "/"), strings.TrimRight(b, "/"))
}

func newRoute(app *fiber.App, fr *fiber.Route) *route {
	rt := &route{pieces: parseRoute(fr.Path), fixed: len(fr.Params) == 0}
	for _, r := range app.GetRoutes(true) { // without those of middlewares
		rt.known = rt.known || (r.Path == fr.Path && r.Method == fr.Method)
	}
	var b strings.Builder
	for _, p := range rt.pieces {
		if p.param == "" {
			b.WriteString(p.text)
			continue
		}
		b.WriteString("{" + p.param + "}")
	}
	rt.template = b.String()
	return rt
}

// parseRoute splits a Fiber path, such as /v5/:id<int>/ads/*, into text and parameters.
func parseRoute(path string) []piece {
	var pieces []piece
	text := ""
	flush := func() {
		if text != "" {
			pieces = append(pieces, piece{text: text})
			text = ""
		}
	}
	for i := 0; i < len(path); i++ {
		switch ch := path[i]; ch {
		case '\\':
			if i++; i < len(path) {
				text += path[i : i+1]
			}
		case '*', '+':
			flush()
			pieces = append(pieces, piece{param: string(ch)})
		case ':':
			flush()
			end := i + 1
			for end < len(path) && !strings.ContainsRune("/-.:?<*+\\", rune(path[end])) {
				end++
			}
			pieces = append(pieces, piece{param: path[i+1 : end]})
			if end < len(path) && path[end] == '<' {
				for end < len(path) && path[end] != '>' {
					end++
				}
				end++
			}
			if end < len(path) && path[end] == '?' {
				end++
			}
			i = end - 1
		default:
			text += string(ch)
		}
	}
	flush()
	return pieces
}

// safePath returns the path of the request as far as it may be kept: the template, with decimal parameters filled in. Ids are
// decimal; tokens and keys are not.
func (rt *route) safePath(c *fiber.Ctx) string {
	if rt == unmatched {
		return safeUnmatched(c.Path())
	}
	var b strings.Builder
	for _, p := range rt.pieces {
		switch v := ""; {
		case p.param == "":
			b.WriteString(p.text)
		default:
			if p.param != "*" && p.param != "+" {
				v = c.Params(p.param)
			}
			if isDecimal(v) {
				b.WriteString(v) // copies
			} else {
				b.WriteString("{" + p.param + "}")
			}
		}
	}
	return b.String()
}

func isDecimal(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) > 0 && len(s) <= 20
}

// safeUnmatched keeps the segments of an unknown path that are plain words: enough to see a typing error, too little for a token.
func safeUnmatched(path string) string {
	const most = 8
	var b strings.Builder
	n := 0
	for segment := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if n++; n > most {
			b.WriteString("/…")
			break
		}
		plain := len(segment) <= 16 && !strings.ContainsFunc(segment, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '-'
		})
		if plain {
			b.WriteString("/" + segment)
		} else {
			b.WriteString("/{}")
		}
	}
	return b.String()
}

// pointKey is what tells the series of the request histogram apart. All of it is bounded.
type pointKey struct {
	route  *route
	method string
	status int
	tls    bool
}

// pointOptions returns the attributes of a series, built once.
func pointOptions(k pointKey) []metric.RecordOption {
	attrs := []attribute.KeyValue{
		semconv.HTTPRequestMethodKey.String(k.method),
		semconv.URLScheme(schemeOf(k.tls)),
		semconv.HTTPResponseStatusCode(k.status),
	}
	if k.route != unmatched {
		attrs = append(attrs, semconv.HTTPRoute(k.route.template))
	}
	if k.status >= fiber.StatusInternalServerError {
		attrs = append(attrs, semconv.ErrorTypeKey.String(strconv.Itoa(k.status)))
	}
	return []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attrs...))}
}

// spanName follows the conventions: the method and the route, or the method alone.
func spanName(k pointKey) string {
	method := k.method
	if method == otherMethod {
		method = "HTTP"
	}
	if k.route == unmatched {
		return method
	}
	return method + " " + k.route.template
}

// describe returns the attributes of the span. Every string in it is a copy.
func describe(c *fiber.Ctx, k pointKey) []attribute.KeyValue {
	const longest = 256
	attrs := make([]attribute.KeyValue, 0, 10)
	attrs = append(attrs,
		semconv.HTTPRequestMethodKey.String(k.method),
		semconv.URLPath(k.route.safePath(c)),
		semconv.URLScheme(schemeOf(k.tls)),
		semconv.HTTPResponseStatusCode(k.status),
	)
	if k.route != unmatched {
		attrs = append(attrs, semconv.HTTPRoute(k.route.template))
	}
	authority := string(c.Context().Host())
	authority = authority[strings.LastIndexByte(authority, '@')+1:]
	host, port, err := net.SplitHostPort(authority)
	if err != nil {
		host, port = authority, ""
	}
	attrs = append(attrs, semconv.ServerAddress(redact.Cut(host, longest)))
	if n, err := strconv.Atoi(port); err == nil {
		attrs = append(attrs, semconv.ServerPort(n))
	}
	if ua := c.Context().UserAgent(); len(ua) > 0 {
		attrs = append(attrs, semconv.UserAgentOriginal(redact.Text(string(ua))))
	}
	if k.status >= fiber.StatusInternalServerError {
		attrs = append(attrs, semconv.ErrorTypeKey.String(strconv.Itoa(k.status)))
	}
	return attrs
}

func schemeOf(tls bool) string {
	if tls {
		return "https"
	}
	return "http"
}

const otherMethod = "_OTHER"

// methodName returns a constant for the method: Fiber's own string dies with the request, and a client may send any word.
func methodName(m string) string {
	switch m {
	case fiber.MethodGet:
		return fiber.MethodGet
	case fiber.MethodPost:
		return fiber.MethodPost
	case fiber.MethodPatch:
		return fiber.MethodPatch
	case fiber.MethodPut:
		return fiber.MethodPut
	case fiber.MethodDelete:
		return fiber.MethodDelete
	case fiber.MethodHead:
		return fiber.MethodHead
	case fiber.MethodOptions:
		return fiber.MethodOptions
	case fiber.MethodConnect:
		return fiber.MethodConnect
	case fiber.MethodTrace:
		return fiber.MethodTrace
	default:
		return otherMethod
	}
}
