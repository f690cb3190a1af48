package handlers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"

	"gavel/internal/fault"
)

// The limits of an ad request.
const (
	maxAdRequestBytes = 64 << 10
	maxSlots          = 20
	maxPosition       = 10_000
	maxIDLength       = 128
	maxInterests      = 200
	maxPageKeywords   = 50
	maxQueryLength    = 500
	maxExclusions     = 500
	maxAge            = 150
)

// adRequest is the body of POST /v1/ads. An attribute that is left out is not known; docs/targeting.md says what that means.
type adRequest struct {
	RequestID string         `json:"request_id" required:"false" maxLength:"128" doc:"The caller's own id of the request, for its logs and ours."`
	Placement string         `json:"placement" enum:"BROWSE,SEARCH,OTHER" doc:"Home feed, search results, related."`
	Slots     []slotRequest  `json:"slots" minItems:"1" maxItems:"20"`
	User      userRequest    `json:"user" required:"false"`
	Device    deviceRequest  `json:"device" required:"false"`
	Context   contextRequest `json:"context" required:"false"`
	Exclude   excludeRequest `json:"exclude" required:"false"`
	Explain   bool           `json:"explain" required:"false" doc:"Why each ad did or did not win; needs a key that may explain."`
}

type slotRequest struct {
	ID       string `json:"id" minLength:"1" maxLength:"128"`
	Position int    `json:"position" required:"false" minimum:"0" maximum:"10000" doc:"In items from the top of the page; slots come in order of their positions. If no slot has one, the slots stand one after the other."`
}

type userRequest struct {
	ID        string   `json:"id" required:"false" maxLength:"128" doc:"The feed's id of the user. Without it no audience and no frequency counter is known."`
	Country   string   `json:"country" required:"false" pattern:"^[A-Z]{2}$" doc:"ISO 3166-1 alpha-2." example:"US"`
	Region    string   `json:"region" required:"false" pattern:"^[A-Z]{2}-[A-Z0-9]{1,3}$" doc:"ISO 3166-2. It does not imply the country." example:"US-CA"`
	DMA       string   `json:"dma" required:"false" pattern:"^[1-9][0-9]{2}$" doc:"US market area (Nielsen DMA). It does not imply the country." example:"807"`
	Gender    string   `json:"gender" required:"false" enum:"female,male,unknown" doc:"Left out is unknown."`
	Age       *int     `json:"age" required:"false" minimum:"1" maximum:"150" doc:"Years."`
	Locale    string   `json:"locale" required:"false" maxLength:"35" doc:"BCP 47; en_US is read as en-US." example:"en-US"`
	Interests []string `json:"interests" required:"false" maxItems:"200" doc:"Interest ids; each stands for its parents too, once a taxonomy is loaded."`
}

type deviceRequest struct {
	AppType string `json:"app_type" required:"false" enum:"android_mobile,android_tablet,ipad,iphone,web,web_mobile"`
}

type contextRequest struct {
	Query    string   `json:"query" required:"false" maxLength:"500" doc:"What the user searched for; keywords are compared with it."`
	Keywords []string `json:"keywords" required:"false" maxItems:"50" doc:"Keywords of the page, each a phrase of its own."`
}

type excludeRequest struct {
	AdAccountIDs []string `json:"ad_account_ids" required:"false" maxItems:"500" doc:"No ads of these."`
	AdIDs        []string `json:"ad_ids" required:"false" maxItems:"500" doc:"None of these ads."`
}

// decodeAdRequest reads and checks a body. The error is a fault that names every field that is wrong.
func decodeAdRequest(body []byte) (*adRequest, error) {
	var r adRequest
	if err := decodeStrict(body, &r); err != nil {
		return nil, err
	}
	var p problems
	p.required("placement", r.Placement)
	if r.Placement != "" {
		p.oneOf("placement", r.Placement, "BROWSE", "SEARCH", "OTHER")
	}
	p.atMost("request_id", len(r.RequestID), maxIDLength, "bytes")
	r.checkSlots(&p)
	r.checkUser(&p)
	p.atMost("context.query", len(r.Context.Query), maxQueryLength, "bytes")
	p.list("context.keywords", r.Context.Keywords, maxPageKeywords)
	p.ids("exclude.ad_account_ids", r.Exclude.AdAccountIDs)
	p.ids("exclude.ad_ids", r.Exclude.AdIDs)
	return &r, p.fault("the ad request is not valid")
}

func (r *adRequest) checkSlots(p *problems) {
	if len(r.Slots) == 0 {
		p.add("slots", "at least one slot is required")
	}
	p.atMost("slots", len(r.Slots), maxSlots, "slots")
	seen := make(map[string]bool, len(r.Slots))
	placed := slices.ContainsFunc(r.Slots, func(s slotRequest) bool { return s.Position != 0 })
	for i, s := range r.Slots {
		field := "slots[" + strconv.Itoa(i) + "]"
		p.required(field+".id", s.ID)
		p.atMost(field+".id", len(s.ID), maxIDLength, "bytes")
		if seen[s.ID] {
			p.add(field+".id", "is used by another slot")
		}
		seen[s.ID] = true
		if s.Position < 0 || s.Position > maxPosition {
			p.add(field+".position", fmt.Sprintf("must be from 0 to %d", maxPosition))
		} else if placed && i > 0 && s.Position <= r.Slots[i-1].Position {
			p.add(field+".position", "must be above that of the slot before")
		}
	}
}

func (r *adRequest) checkUser(p *problems) {
	p.atMost("user.id", len(r.User.ID), maxIDLength, "bytes")
	if c := r.User.Country; c != "" && !isUpper(c, 2) {
		p.add("user.country", "must be an ISO 3166-1 alpha-2 code such as US")
	}
	if reg := r.User.Region; reg != "" && !isRegion(reg) {
		p.add("user.region", "must be an ISO 3166-2 code such as US-CA")
	}
	if d := r.User.DMA; d != "" && !(len(d) == 3 && d[0] != '0' && isDigits(d)) {
		p.add("user.dma", "must be a US market area (Nielsen DMA) of three digits such as 807")
	}
	if r.User.Gender != "" {
		p.oneOf("user.gender", r.User.Gender, "female", "male", "unknown")
	}
	if a := r.User.Age; a != nil && (*a < 1 || *a > maxAge) {
		p.add("user.age", fmt.Sprintf("must be from 1 to %d", maxAge))
	}
	p.atMost("user.locale", len(r.User.Locale), 35, "bytes")
	p.list("user.interests", r.User.Interests, maxInterests)
	if r.Device.AppType != "" {
		p.oneOf("device.app_type", r.Device.AppType, "android_mobile", "android_tablet", "ipad", "iphone", "web", "web_mobile")
	}
}

func isUpper(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := range len(s) {
		if s[i] < 'A' || s[i] > 'Z' {
			return false
		}
	}
	return true
}

// isRegion reports whether s has the shape of an ISO 3166-2 code, in capitals: another spelling would never match.
func isRegion(s string) bool {
	if len(s) < 4 || len(s) > 6 || s[2] != '-' || !isUpper(s[:2], 2) {
		return false
	}
	return !strings.ContainsFunc(s[3:], func(r rune) bool { return !('A' <= r && r <= 'Z') && !('0' <= r && r <= '9') })
}

func isDigits(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

// problems collects what is wrong with an input.
type problems struct{ fields []fault.Field }

func (p *problems) add(name, message string) {
	p.fields = append(p.fields, fault.Field{Name: name, Message: message})
}

func (p *problems) required(name, value string) {
	if value == "" {
		p.add(name, "is required")
	}
}

func (p *problems) oneOf(name, value string, allowed ...string) {
	for _, a := range allowed {
		if value == a {
			return
		}
	}
	p.add(name, "must be one of "+strings.Join(allowed, ", "))
}

func (p *problems) atMost(name string, n, limit int, unit string) {
	if n > limit {
		p.add(name, fmt.Sprintf("has %d %s, at most %d are allowed", n, unit, limit))
	}
}

func (p *problems) list(name string, values []string, limit int) {
	p.atMost(name, len(values), limit, "values")
	for i, v := range values {
		if v == "" || len(v) > maxIDLength {
			p.add(fmt.Sprintf("%s[%d]", name, i), fmt.Sprintf("must have 1 to %d bytes", maxIDLength))
		}
	}
}

func (p *problems) ids(name string, values []string) {
	p.atMost(name, len(values), maxExclusions, "values")
	for i, v := range values {
		if id, err := strconv.ParseInt(v, 10, 64); err != nil || id <= 0 {
			p.add(fmt.Sprintf("%s[%d]", name, i), "must be an id: a string of digits")
		}
	}
}

func (p *problems) fault(message string) error {
	if len(p.fields) == 0 {
		return nil
	}
	return &fault.Error{Code: fault.Invalid, Message: message, Fields: p.fields}
}

// decodeStrict decodes a JSON object: unknown fields, wrong types and trailing bytes are faults that name the field.
func decodeStrict(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return invalidBody(fault.Field{Message: "has something after the JSON object"})
		}
		return nil
	}
	return invalidBody(diagnose(body, reflect.TypeOf(into).Elem(), err)...)
}

func invalidBody(fields ...fault.Field) error {
	return &fault.Error{Code: fault.Invalid, Message: "the body is not valid", Fields: fields}
}

// diagnose finds what a failed decode did not like. It is slow and runs only after a failure: the standard decoder stops at
// the first problem and does not say where an unknown field is.
func diagnose(body []byte, t reflect.Type, cause error) []fault.Field {
	var tree any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		var syntax *json.SyntaxError
		switch {
		case len(bytes.TrimSpace(body)) == 0:
			return []fault.Field{{Message: "is empty; a JSON object is required"}}
		case errors.As(err, &syntax):
			return []fault.Field{{Message: fmt.Sprintf("is not JSON: %s at byte %d", syntax.Error(), syntax.Offset)}}
		}
		return []fault.Field{{Message: "is not JSON: it ends too early"}}
	}
	var p problems
	p.compare("", tree, t)
	if len(p.fields) == 0 { // a number out of range, for one
		var wrong *json.UnmarshalTypeError
		if errors.As(cause, &wrong) {
			p.add(wrong.Field, "does not fit: "+wrong.Value)
		} else {
			p.add("", "does not have the form that is documented")
		}
	}
	sort.SliceStable(p.fields, func(i, j int) bool { return p.fields[i].Name < p.fields[j].Name })
	return p.fields
}

// compare walks a decoded tree beside the type that it should have had.
func (p *problems) compare(path string, value any, t reflect.Type) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if value == nil {
		return // null is "absent"
	}
	switch t.Kind() {
	case reflect.Struct:
		object, ok := value.(map[string]any)
		if !ok {
			p.add(path, "must be an object")
			return
		}
		p.compareObject(path, object, t)
	case reflect.Slice:
		list, ok := value.([]any)
		if !ok {
			p.add(path, "must be an array")
			return
		}
		for i, v := range list {
			p.compare(path+"["+strconv.Itoa(i)+"]", v, t.Elem())
		}
	case reflect.String:
		if _, ok := value.(string); !ok {
			p.add(path, "must be a string")
		}
	case reflect.Bool:
		if _, ok := value.(bool); !ok {
			p.add(path, "must be true or false")
		}
	case reflect.Int:
		if n, ok := value.(json.Number); !ok {
			p.add(path, "must be an integer")
		} else if _, err := strconv.ParseInt(n.String(), 10, 64); err != nil {
			p.add(path, "must be an integer")
		}
	}
}

func (p *problems) compareObject(path string, object map[string]any, t reflect.Type) {
	known := map[string]reflect.Type{}
	for i := range t.NumField() {
		known[t.Field(i).Tag.Get("json")] = t.Field(i).Type
	}
	for name, v := range object {
		field := strings.TrimPrefix(path+"."+name, ".")
		ft, ok := known[name]
		if !ok {
			// The decoder matches names without regard to case; what it took is not unknown.
			for k, kt := range known {
				if strings.EqualFold(k, name) {
					ft, ok = kt, true
				}
			}
		}
		if !ok {
			p.add(field, "is not a known field")
			continue
		}
		p.compare(field, v, ft)
	}
}
