package handlers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"gavel/campaign"
	"gavel/internal/fault"
	"gavel/internal/money"
)

// inputField is one field of an input of the v5 API: it reads its JSON and says what is wrong with it. The same types make
// the schema in the OpenAPI document, so that the two cannot drift apart.
type inputField interface {
	decode(raw json.RawMessage, name string, p *fault.Fields)
	huma.SchemaProvider
}

// maxUnknown bounds how many unknown fields of one object are told.
const maxUnknown = 20

// decodeArray splits a body that must be an array; at most limit elements are read.
func decodeArray(body []byte, limit int) ([]json.RawMessage, error) {
	whole := func(message string) error { return fault.InvalidFields("invalid body", fault.Field{Message: message}) }
	if !utf8.Valid(body) {
		return nil, whole("must be UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if t, err := dec.Token(); err != nil {
		return nil, whole("must be valid JSON")
	} else if t != json.Delim('[') {
		return nil, whole(fmt.Sprintf("must be an array of 1 to %d items", limit))
	}
	var elements []json.RawMessage
	for dec.More() {
		if len(elements) == limit {
			return nil, whole(fmt.Sprintf("must be an array of 1 to %d items, has more", limit))
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, whole(notJSON(err))
		}
		elements = append(elements, raw)
	}
	if _, err := dec.Token(); err != nil {
		return nil, whole("must be valid JSON: the array does not end")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, whole("must be valid JSON: something follows the array")
	}
	return elements, nil
}

// notJSON says where a text stops being JSON.
func notJSON(err error) string {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf("must be valid JSON: byte %d", syntax.Offset)
	}
	return "must be valid JSON"
}

// decodeObject reads raw into the inputFields of dst, a pointer to a struct of them, and returns every problem: fields that
// are unknown, given twice or of the wrong type.
func decodeObject(raw []byte, dst any) []fault.Field {
	var p fault.Fields
	if !utf8.Valid(raw) {
		p.Add("", "must be UTF-8")
		return p
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		if err != nil {
			p.Add("", notJSON(err))
		} else {
			p.Add("", "must be an object")
		}
		return p
	}
	fields := fieldsOf(reflect.ValueOf(dst).Elem(), map[string]inputField{})
	seen := map[string]bool{}
	unknown := 0
	for dec.More() {
		t, err := dec.Token()
		name, isName := t.(string)
		var value json.RawMessage
		if err == nil && isName {
			err = dec.Decode(&value)
		}
		if err != nil || !isName {
			p.Add("", notJSON(err))
			return p
		}
		field, known := fields[name]
		switch {
		case !known:
			if unknown++; unknown <= maxUnknown {
				p.Add(shortened(name), "is not a known field")
			}
		case seen[name]:
			p.Add(name, "is given twice")
		default:
			seen[name] = true
			field.decode(value, name, &p)
		}
	}
	if _, err := dec.Token(); err != nil {
		p.Add("", notJSON(err))
	} else if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		p.Add("", "must be valid JSON: something follows the object")
	}
	return p
}

// fieldsOf collects the inputFields of a struct and of what it embeds, by their JSON names.
func fieldsOf(v reflect.Value, into map[string]inputField) map[string]inputField {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		field, isInput := v.Field(i).Addr().Interface().(inputField)
		switch {
		case f.Anonymous && !isInput:
			fieldsOf(v.Field(i), into)
		case isInput:
			if off, isOff := field.(*offIn); isOff {
				off.accepted = strings.Split(f.Tag.Get("enum"), ",")
			}
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			into[name] = field
		}
	}
	return into
}

// shortened makes a name of the client's safe to repeat.
func shortened(name string) string {
	const longest = 64
	if len(name) <= longest {
		return name
	}
	return strings.ToValidUTF8(name[:longest], "") + "…"
}

func isNull(raw json.RawMessage) bool { return string(raw) == "null" }

// decodeValue reads a JSON value of type T, or null.
func decodeValue[T any](raw json.RawMessage, name, want string, p *fault.Fields) campaign.Opt[T] {
	if isNull(raw) {
		return campaign.Null[T]()
	}
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		p.Add(name, "must be "+want)
		return campaign.Opt[T]{}
	}
	return campaign.Some(v)
}

// textIn is a string.
type textIn[T ~string] struct{ campaign.Opt[T] }

func (f *textIn[T]) decode(raw json.RawMessage, name string, p *fault.Fields) {
	f.Opt = decodeValue[T](raw, name, "a string", p)
}

// Schema implements huma.SchemaProvider.
func (*textIn[T]) Schema(huma.Registry) *huma.Schema { return &huma.Schema{Type: huma.TypeString} }

// boolIn is a boolean.
type boolIn struct{ campaign.Opt[bool] }

func (f *boolIn) decode(raw json.RawMessage, name string, p *fault.Fields) {
	f.Opt = decodeValue[bool](raw, name, "true or false", p)
}

// Schema implements huma.SchemaProvider.
func (*boolIn) Schema(huma.Registry) *huma.Schema { return &huma.Schema{Type: huma.TypeBoolean} }

// intIn is an integer, written as one: 5, not 5.0 or 5e0.
type intIn[T ~int64] struct{ campaign.Opt[T] }

func (f *intIn[T]) decode(raw json.RawMessage, name string, p *fault.Fields) {
	if isNull(raw) {
		f.Opt = campaign.Null[T]()
		return
	}
	v, err := strconv.ParseInt(string(raw), 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		p.Add(name, "is out of range")
	case err != nil:
		p.Add(name, "must be an integer")
	default:
		f.Opt = campaign.Some(T(v))
	}
}

// Schema implements huma.SchemaProvider.
func (*intIn[T]) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeInteger, Format: "int64"}
}

// amountIn is an amount in micro currency.
type amountIn = intIn[money.Micros]

// timeIn is a Unix time in seconds.
type timeIn struct{ campaign.Opt[time.Time] }

func (f *timeIn) decode(raw json.RawMessage, name string, p *fault.Fields) {
	var seconds intIn[int64]
	seconds.decode(raw, name, p)
	f.Opt = campaign.Opt[time.Time]{Set: seconds.Set, Null: seconds.Null}
	if seconds.Given() {
		f.Value = time.Unix(seconds.Value, 0).UTC()
	}
}

// Schema implements huma.SchemaProvider.
func (*timeIn) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeInteger, Format: "int64"}
}

// idIn is an id: a string of digits.
type idIn[T ~int64] struct{ campaign.Opt[T] }

const (
	idPattern   = `^\d+$`
	maxIDDigits = 18
)

func (f *idIn[T]) decode(raw json.RawMessage, name string, p *fault.Fields) {
	if isNull(raw) {
		f.Opt = campaign.Null[T]()
		return
	}
	var text string
	if err := json.Unmarshal(raw, &text); err == nil {
		if id, ok := parseID[T](text); ok {
			f.Opt = campaign.Some(id)
			return
		}
	}
	p.Add(name, fmt.Sprintf("must be an id: a string of 1 to %d digits", maxIDDigits))
}

// parseID reads an id; ok is false for what is none.
func parseID[T ~int64](text string) (id T, ok bool) {
	if text == "" || len(text) > maxIDDigits || strings.ContainsFunc(text, func(r rune) bool { return r < '0' || r > '9' }) {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return T(n), err == nil && n > 0
}

// Schema implements huma.SchemaProvider.
func (*idIn[T]) Schema(huma.Registry) *huma.Schema {
	longest := maxIDDigits
	return &huma.Schema{Type: huma.TypeString, Pattern: idPattern, MaxLength: &longest}
}

// specIn is a targeting_spec; the targeting rules read it.
type specIn struct{ campaign.Opt[json.RawMessage] }

func (f *specIn) decode(raw json.RawMessage, _ string, _ *fault.Fields) {
	if isNull(raw) {
		f.Opt = campaign.Null[json.RawMessage]()
		return
	}
	f.Opt = campaign.Some(slices.Clone(raw))
}

// Schema implements huma.SchemaProvider.
func (*specIn) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

// scheduleIn is an ad_schedule.
type scheduleIn struct {
	campaign.Opt[[]campaign.ScheduleInput]
}

func (f *scheduleIn) decode(raw json.RawMessage, name string, p *fault.Fields) {
	elements := decodeValue[[]json.RawMessage](raw, name, "an array of objects", p)
	f.Opt = campaign.Opt[[]campaign.ScheduleInput]{Set: elements.Set, Null: elements.Null}
	if len(elements.Value) > campaign.MaxAdSchedule {
		p.Add(name, fmt.Sprintf("has %d entries, at most %d are allowed", len(elements.Value), campaign.MaxAdSchedule))
		return
	}
	told := 0
	for i, element := range elements.Value {
		item := decodeItem(element, (*scheduleRequest).input)
		p.Nest(fault.Index(name, i), item.Problems)
		f.Value = append(f.Value, item.Input)
		told += len(item.Problems)
		if told >= maxUnknown || slices.ContainsFunc(item.Problems, func(x fault.Field) bool { return x.Name == "" }) {
			f.Opt = campaign.Opt[[]campaign.ScheduleInput]{} // no object, or too much: what is missing is not told as well
			return
		}
	}
}

// Schema implements huma.SchemaProvider.
func (*scheduleIn) Schema(r huma.Registry) *huma.Schema {
	fewest, most := 1, campaign.MaxAdSchedule
	return &huma.Schema{
		Type: huma.TypeArray, MinItems: &fewest, MaxItems: &most,
		Items: r.Schema(reflect.TypeFor[scheduleRequest](), true, ""),
	}
}

// textsIn is a list of strings.
type textsIn struct{ campaign.Opt[[]string] }

func (f *textsIn) decode(raw json.RawMessage, name string, p *fault.Fields) {
	f.Opt = decodeValue[[]string](raw, name, "an array of strings", p)
}

// Schema implements huma.SchemaProvider.
func (*textsIn) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeString}}
}

// offIn is a field of v5 that would change delivery or money and that does not exist here yet. Only values that mean "not
// used" pass: those of the tag enum.
type offIn struct {
	accepted []string
}

func (f *offIn) decode(raw json.RawMessage, name string, p *fault.Fields) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err == nil && slices.Contains(f.accepted, compact.String()) {
		return
	}
	p.Add(name, "is not supported yet")
}

// Schema implements huma.SchemaProvider.
func (*offIn) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "Not supported yet: only values that switch it off are accepted."}
}

// ignoredIn is a field that v5 accepts and ignores.
type ignoredIn struct{}

func (*ignoredIn) decode(json.RawMessage, string, *fault.Fields) {}

// Schema implements huma.SchemaProvider.
func (*ignoredIn) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "Accepted and ignored."}
}

// keywordListIn is the list of keywords of a request; each has problems of its own.
type keywordListIn struct {
	items []campaign.Item[campaign.KeywordInput]
}

func (f *keywordListIn) decode(raw json.RawMessage, name string, p *fault.Fields) {
	var elements []json.RawMessage
	if err := json.Unmarshal(raw, &elements); err != nil || isNull(raw) {
		p.Add(name, "must be an array of keywords")
		return
	}
	if len(elements) > campaign.MaxKeywords {
		p.Add(name, fmt.Sprintf("must have 1 to %d elements, has %d", campaign.MaxKeywords, len(elements)))
		return
	}
	for _, element := range elements {
		f.items = append(f.items, decodeItem(element, (*keywordRequest).input))
	}
}

// Schema implements huma.SchemaProvider.
func (*keywordListIn) Schema(r huma.Registry) *huma.Schema {
	fewest, most := 1, campaign.MaxKeywords
	return &huma.Schema{
		Type: huma.TypeArray, MinItems: &fewest, MaxItems: &most,
		Items: r.Schema(reflect.TypeFor[keywordRequest](), true, ""),
	}
}
