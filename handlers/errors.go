package handlers

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gofiber/fiber/v2"

	"gavel/internal/fault"
)

// kind is how one fault.Code looks from outside.
type kind struct {
	code   fault.Code
	status int
	// number is the "code" of a v5 error body.
	number int
}

// kinds is the one table that turns faults into HTTP. docs/decisions/0003-v5-batch-errors.md lists it for clients.
var kinds = []kind{
	{fault.Invalid, http.StatusBadRequest, 1},
	{fault.Unauthorized, http.StatusUnauthorized, 2},
	{fault.Forbidden, http.StatusForbidden, 3},
	{fault.NotFound, http.StatusNotFound, 4},
	{fault.Conflict, http.StatusConflict, 5},
	{fault.Gone, http.StatusGone, 6},
	{fault.TooLarge, http.StatusRequestEntityTooLarge, 7},
	{fault.RateLimited, http.StatusTooManyRequests, 8},
	{fault.Unavailable, http.StatusServiceUnavailable, 11},
	{fault.Internal, http.StatusInternalServerError, 12},
}

func kindOf(code fault.Code) kind {
	if i := slices.IndexFunc(kinds, func(k kind) bool { return k.code == code }); i >= 0 {
		return kinds[i]
	}
	return kinds[len(kinds)-1]
}

// kindOfStatus finds a kind by the status that a library chose; other client errors count as invalid input.
func kindOfStatus(status int) kind {
	if i := slices.IndexFunc(kinds, func(k kind) bool { return k.status == status }); i >= 0 {
		return kinds[i]
	}
	if status >= 400 && status < 500 {
		return kinds[0]
	}
	return kinds[len(kinds)-1]
}

// retryAfterOutage is how many seconds a client should wait when something behind us is down.
const retryAfterOutage = 2

// errorBody is the body of every error answer.
type errorBody struct {
	Code    int           `json:"code" doc:"What kind of error it is: 1 invalid, 2 unauthorized, 3 forbidden, 4 not found, 5 conflict, 6 gone, 7 too large, 8 rate limited, 11 unavailable, 12 internal." example:"1"`
	Message string        `json:"message" doc:"What went wrong." example:"invalid input"`
	Details []fieldDetail `json:"details,omitempty" nullable:"false" doc:"Every problem of the input."`

	status int
}

// fieldDetail is one problem of an input.
type fieldDetail struct {
	Field   string `json:"field" doc:"JSON path of the field, or the name of the parameter; empty for the whole body." example:"[0].bid_in_micro_currency"`
	Message string `json:"message" doc:"What is wrong with it." example:"must be greater than 0"`
}

var (
	_ huma.StatusError  = (*errorBody)(nil)
	_ huma.HeadersError = (*errorBody)(nil)
)

// Error implements error.
func (e *errorBody) Error() string { return e.Message }

// GetStatus implements huma.StatusError.
func (e *errorBody) GetStatus() int { return e.status }

// GetHeaders implements huma.HeadersError.
func (e *errorBody) GetHeaders() http.Header {
	h := http.Header{}
	for name, value := range headersOf(e.status) {
		h.Set(name, value)
	}
	return h
}

// TransformSchema names the schema's purpose.
func (e *errorBody) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Description = "Every error has this shape."
	return s
}

func headersOf(status int) map[string]string {
	switch status {
	case http.StatusUnauthorized:
		return map[string]string{fiber.HeaderWWWAuthenticate: `Bearer realm="gavel"`}
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return map[string]string{fiber.HeaderRetryAfter: strconv.Itoa(retryAfterOutage)}
	}
	return nil
}

// bodyOf is the answer to err. Only what a fault says goes out; anything else is "internal error" and stays in the log.
func bodyOf(err error) *errorBody {
	f := fault.From(err)
	k := kindOf(f.Code)
	body := &errorBody{Code: k.number, Message: f.Message, status: k.status}
	for _, field := range f.Fields {
		body.Details = append(body.Details, fieldDetail{Field: field.Name, Message: field.Message})
	}
	return body
}

// logServerFault logs what the client is not told.
func logServerFault(status int, method, path string, err error) {
	if status >= http.StatusInternalServerError {
		slog.Error("request failed", "status", status, "method", method, "path", path, "error", err)
	}
}

// ErrorHandler is the Fiber app's: it turns what a handler returned into the answer.
func ErrorHandler(c *fiber.Ctx, err error) error {
	body := bodyOf(err)
	if fe, ok := errors.AsType[*fiber.Error](err); ok {
		k := kindOfStatus(fe.Code)
		body = &errorBody{Code: k.number, Message: strings.ToLower(http.StatusText(fe.Code)), status: fe.Code}
	}
	logServerFault(body.status, c.Method(), c.Route().Path, err)
	for name, value := range headersOf(body.status) {
		if len(c.Response().Header.Peek(name)) == 0 { // what a handler set by itself stays
			c.Set(name, value)
		}
	}
	return c.Status(body.status).JSON(body)
}

// useOurErrors makes huma answer in our shape. huma keeps the maker of its errors in a package variable.
var useOurErrors = sync.OnceFunc(func() {
	huma.NewError = newError
})

// newError is for the errors that huma finds by itself: parameters that do not fit, a body that is too large.
func newError(status int, message string, errs ...error) huma.StatusError {
	if status == http.StatusUnprocessableEntity {
		status = http.StatusBadRequest
	}
	k := kindOfStatus(status)
	body := &errorBody{Code: k.number, Message: message, status: k.status}
	if k.code == fault.Internal {
		body.Message = "internal error"
		return body
	}
	for _, err := range errs {
		d, ok := errors.AsType[*huma.ErrorDetail](err)
		if !ok {
			continue // a text that nobody meant for clients
		}
		_, name, _ := strings.Cut(d.Location, ".") // "query.page_size": where it stands is plain from its name
		body.Details = append(body.Details, fieldDetail{Field: name, Message: d.Message})
	}
	slices.SortFunc(body.Details, func(a, b fieldDetail) int { return strings.Compare(a.Field, b.Field) })
	return body
}
