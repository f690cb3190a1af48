package campaign

import (
	"slices"
	"strings"

	"gavel/internal/fault"
)

// Opt is one field of an input: absent (the zero value), null, or a value.
type Opt[T any] struct {
	Value T
	// Set says that the field was given; Null that it was given as null. Null implies Set.
	Set, Null bool
}

// Some is a field with a value.
func Some[T any](v T) Opt[T] { return Opt[T]{Value: v, Set: true} }

// Null is a field that was given as null.
func Null[T any]() Opt[T] { return Opt[T]{Set: true, Null: true} }

// Given reports whether there is a value: set and not null.
func (o Opt[T]) Given() bool { return o.Set && !o.Null }

// Item is one element of a batch. Problems are those that its decoder found; an item with any is not written, and what the
// rules find more is reported with them.
type Item[T any] struct {
	Input    T
	Problems []fault.Field
}

// Result is what became of one [Item]: Value as it is stored, or Err and nothing written.
type Result[T any] struct {
	Value T
	Err   *fault.Error
}

// invalid makes a refused item's result from the problems of the decoder and of the rules; nil when there are none.
// A rule's problem is dropped where the decoder has one of the same field: the rule saw the field as absent.
func invalid(decoded, rules []fault.Field) *fault.Error {
	all := slices.Clone(decoded)
	for _, r := range rules {
		told := func(d fault.Field) bool {
			return d.Name == r.Name || strings.HasPrefix(d.Name, r.Name+"[") || strings.HasPrefix(d.Name, r.Name+".")
		}
		if r.Name == "" || !slices.ContainsFunc(decoded, told) {
			all = append(all, r)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return &fault.Error{Code: fault.Invalid, Message: "invalid input", Fields: all}
}

// apply writes a given value to dst. Null is a problem.
func apply[T any](p *fault.Fields, field string, in Opt[T], dst *T) {
	switch {
	case in.Null:
		p.Add(field, "must not be null")
	case in.Set:
		*dst = in.Value
	}
}

// applyNullable writes a given value to dst, or the zero value for null.
func applyNullable[T any](in Opt[T], dst *T) {
	if in.Set {
		*dst = in.Value
	}
	if in.Null {
		var zero T
		*dst = zero
	}
}

// applyFixed is for a field that is set at creation and never changes: an update may repeat it.
func applyFixed[T comparable](p *fault.Fields, field string, in Opt[T], dst *T, creating bool) {
	switch {
	case in.Null:
		p.Add(field, "must not be null")
	case !in.Set:
	case creating:
		*dst = in.Value
	case *dst != in.Value:
		p.Add(field, "cannot be changed once it is created")
	}
}

// required reports a field that a create must have.
func required[T any](p *fault.Fields, field string, in Opt[T]) {
	if !in.Set {
		p.Add(field, "is required")
	}
}
