package fault

import (
	"errors"
	"strconv"
	"strings"
)

// Code is the kind of a fault. It decides the HTTP status.
type Code string

// The codes.
const (
	// Invalid means that the input breaks a rule; Fields say which. HTTP 400.
	Invalid Code = "invalid"
	// Unauthorized means that the caller is not known. HTTP 401.
	Unauthorized Code = "unauthorized"
	// Forbidden means that the caller is known and may not. HTTP 403.
	Forbidden Code = "forbidden"
	// NotFound means that what was named does not exist, or not for this caller. HTTP 404.
	NotFound Code = "not_found"
	// Conflict means that the input is well-formed and contradicts what is stored. HTTP 409.
	Conflict Code = "conflict"
	// Gone means that what was named has expired. HTTP 410.
	Gone Code = "gone"
	// TooLarge means that the input is over a limit on its size. HTTP 413.
	TooLarge Code = "too_large"
	// RateLimited means too many requests. HTTP 429.
	RateLimited Code = "rate_limited"
	// Unavailable means that something needed is down; the same request may work later. HTTP 503.
	Unavailable Code = "unavailable"
	// Internal means a defect of ours, or an error that nobody has coded. HTTP 500.
	Internal Code = "internal"
)

// Field is one problem of the input. Name is a JSON path from the root of what was sent: "bid_in_micro_currency",
// "[0].targeting_spec.GENDER[1]"; "" is the whole of it.
type Field struct {
	Name    string `json:"field"`
	Message string `json:"message"`
}

// Error is a coded error. It is immutable once returned.
type Error struct {
	Code    Code
	Message string
	Fields  []Field
	// Cause is for logs only and may be nil.
	Cause error
}

// Error implements error: the message, the fields and the cause. It is for logs, not for clients.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	for i, f := range e.Fields {
		if i == 0 {
			b.WriteString(": ")
		} else {
			b.WriteString("; ")
		}
		if f.Name != "" {
			b.WriteString(f.Name)
			b.WriteString(": ")
		}
		b.WriteString(f.Message)
	}
	if e.Cause != nil {
		b.WriteString(": ")
		b.WriteString(e.Cause.Error())
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is makes two faults of one code and message equal for errors.Is, so that a package can export faults as sentinels and
// return copies that carry a cause.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Message == e.Message
}

// Because returns a copy of e with the cause.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.Cause = cause
	return &c
}

// New returns a fault without fields.
func New(code Code, message string) *Error { return &Error{Code: code, Message: message} }

// Wrap returns a fault with a cause. The message is for the client, the cause is not.
func Wrap(code Code, message string, cause error) *Error {
	return &Error{Code: code, Message: message, Cause: cause}
}

// InvalidFields returns an Invalid fault that lists fields, or nil when there are none.
func InvalidFields(message string, fields ...Field) error {
	if len(fields) == 0 {
		return nil
	}
	return &Error{Code: Invalid, Message: message, Fields: fields}
}

// CodeOf is the code of the first fault in err's chain; Internal when there is none. It is "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if f, ok := errors.AsType[*Error](err); ok {
		return f.Code
	}
	return Internal
}

// From is the first fault in err's chain, or an Internal one that hides err's text and keeps it as the cause. It is nil for nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*Error](err); ok {
		return f
	}
	return Wrap(Internal, "internal error", err)
}

// Fields collects problems while input is checked. The zero value is ready.
type Fields []Field

// Add appends one problem.
func (f *Fields) Add(name, message string) { *f = append(*f, Field{Name: name, Message: message}) }

// Nest appends fields below prefix: Join(prefix, name) is the name of each.
func (f *Fields) Nest(prefix string, fields []Field) {
	for _, x := range fields {
		f.Add(Join(prefix, x.Name), x.Message)
	}
}

// Err is the Invalid fault of the problems, or nil when there are none.
func (f Fields) Err(message string) error { return InvalidFields(message, f...) }

// Join is the JSON path of name below prefix: Join("a", "b") is "a.b", Join("a", "[0].b") is "a[0].b".
func Join(prefix, name string) string {
	if prefix == "" || name == "" || name[0] == '[' {
		return prefix + name
	}
	return prefix + "." + name
}

// Index is the JSON path of element i below prefix: Index("a", 0) is "a[0]".
func Index(prefix string, i int) string { return prefix + "[" + strconv.Itoa(i) + "]" }
