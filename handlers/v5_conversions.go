package handlers

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gofiber/fiber/v2"

	"gavel/campaign"
	"gavel/event"
	"gavel/internal/fault"
	"gavel/internal/money"
)

const conversionsPath = accountsPath + "/{ad_account_id}/events"

// maxExternalIDs is how many ids one event may give its user.
const maxExternalIDs = 10

type conversionsInput struct {
	AccountPath
	Test bool `query:"test" doc:"The events are checked and answered, and not recorded."`
	JSONBody
}

// conversionsAnswer is v5's ConversionApiResponse.
type conversionsAnswer struct {
	Received  int                `json:"num_events_received" doc:"Events of the request."`
	Processed int                `json:"num_events_processed" doc:"Events that were recorded, or were before."`
	Events    []conversionResult `json:"events" nullable:"false" doc:"One per event, in their order."`
}

type conversionResult struct {
	Status  string `json:"status" enum:"failed,processed"`
	Error   string `json:"error_message,omitempty" doc:"Why a failed event was not recorded: every problem."`
	Warning string `json:"warning_message,omitempty" doc:"What was noticed of a processed event: fields that are not known, a duplicate, nothing that it could be credited by."`
}

// partialFailure is v5's DetailedError.
type partialFailure struct {
	Code    int               `json:"code" doc:"As in every error."`
	Message string            `json:"message"`
	Details conversionsAnswer `json:"details" doc:"What became of each event. Those that were processed need not be sent again."`
}

func (v *v5) registerConversions() {
	op := v.operation(http.MethodPost, conversionsPath, "events/create", "conversion_events", "Send conversions", managers...)
	op.MaxBodyBytes = maxUsersBody + 1
	register(v, op, v.createConversions)
	v.describeBody(http.MethodPost, conversionsPath, v.schema(reflect.TypeFor[conversionsRequest]()), "Conversion events.",
		reflect.TypeFor[conversionsAnswer](), reflect.TypeFor[errorBody]())
	v.api.OpenAPI().Paths[conversionsPath].Post.Responses["422"] = &huma.Response{
		Description: "Not all events were processed.",
		Content:     map[string]*huma.MediaType{fiber.MIMEApplicationJSON: {Schema: v.schema(reflect.TypeFor[partialFailure]())}},
	}
}

func (v *v5) createConversions(ctx context.Context, in *conversionsInput) (*jsonOutput, error) {
	if _, err := v.svc.AdAccount(ctx, in.account()); err != nil {
		return nil, err
	}
	var body conversionsRequest
	var problems fault.Fields = decodeObject(in.RawBody, &body)
	if len(problems) == 0 && !body.Data.given {
		problems.Add("data", "is required")
	}
	if err := problems.Err("the request was invalid"); err != nil {
		return nil, err
	}
	now := time.Now()
	out := conversionsAnswer{Received: len(body.Data.elements), Events: make([]conversionResult, len(body.Data.elements))}
	var good []event.Conversion
	var at []int
	for i, raw := range body.Data.elements {
		c, refused, warnings := readConversion(raw, now)
		if refused != "" {
			out.Events[i] = conversionResult{Status: "failed", Error: refused}
			continue
		}
		out.Events[i] = conversionResult{Status: "processed", Warning: warnings}
		good, at = append(good, c), append(at, i)
	}
	if !in.Test && len(good) > 0 {
		receipts, err := v.conversions.Record(ctx, in.account(), good)
		if err != nil {
			return nil, err
		}
		for k, r := range receipts {
			if r.Duplicate {
				e := &out.Events[at[k]]
				e.Warning = joined(e.Warning, "an event with this event_id and event_name was received before: it counts once")
			}
		}
	}
	if out.Processed = len(good); out.Processed < out.Received {
		return outputOf(campaign.Answer{Status: http.StatusUnprocessableEntity, Body: encode(partialFailure{
			Code: kindOf(fault.Invalid).number, Message: "not all events were successfully processed", Details: out,
		})}), nil
	}
	return outputOf(campaign.Answer{Status: http.StatusOK, Body: encode(out)}), nil
}

// readConversion reads one event: what it is, or why it is refused, and what is only odd.
func readConversion(raw json.RawMessage, now time.Time) (c event.Conversion, refused, warnings string) {
	var in conversionRequest
	var wrong fault.Fields
	for _, p := range decodeObject(raw, &in) {
		if p.Message == "is not a known field" {
			warnings = joined(warnings, problemText(p))
		} else {
			wrong = append(wrong, p)
		}
	}
	for name, given := range map[string]bool{
		"event_name": in.EventName.Given(), "action_source": in.ActionSource.Given(), "event_time": in.EventTime.Given(), "event_id": in.EventID.Given(),
		"user_data": in.UserData.given,
	} {
		if !given && !slices.ContainsFunc(wrong, func(p fault.Field) bool { return p.Name == "" || p.Name == name || strings.HasPrefix(p.Name, name+".") }) {
			wrong.Add(name, "is required")
		}
	}
	slices.SortStableFunc(wrong, func(x, y fault.Field) int { return strings.Compare(x.Name, y.Name) })
	for _, p := range wrong {
		refused = joined(refused, problemText(p))
	}
	if refused != "" {
		return c, refused, ""
	}
	c = event.Conversion{
		EventID: in.EventID.Value, Name: in.EventName.Value, Source: in.ActionSource.Value, At: in.EventTime.Value,
		UserHashes: in.UserData.hashes, OptOut: in.OptOut.Value || strings.Contains(in.CustomData.in.OptOutType.Value, "LDP"),
		Value: in.CustomData.in.Value.micros, Currency: in.CustomData.in.Currency.Value,
	}
	if in.CustomData.in.NumItems.Given() {
		c.NumItems = &in.CustomData.in.NumItems.Value
	}
	click := in.UserData.in.ClickID.Value
	clickID, ours := event.ParseClickID(click)
	c.ClickID = clickID
	if click != "" && !ours {
		warnings = joined(warnings, "user_data.click_id is not one that an ad's click gave out")
	}
	switch {
	case c.OptOut:
		warnings = joined(warnings, "the user has opted out: the event is counted and credited to no ad")
	case !ours && len(c.UserHashes) == 0:
		warnings = joined(warnings, "user_data has neither a click_id nor an external_id: the event is counted and credited to no ad")
	}
	return c, c.Problem(now), warnings
}

func joined(text, more string) string {
	if text == "" {
		return more
	}
	return text + "; " + more
}

type conversionsRequest struct {
	Data conversionListIn `json:"data" doc:"1 to 1000 events."`
}

// conversionListIn is the list of events; each has problems of its own.
type conversionListIn struct {
	given    bool
	elements []json.RawMessage
}

func (f *conversionListIn) decode(raw json.RawMessage, name string, p *fault.Fields) {
	f.given = true
	if err := json.Unmarshal(raw, &f.elements); err != nil || isNull(raw) {
		p.Add(name, "must be an array of events")
	} else if n := len(f.elements); n < 1 || n > event.MaxConversions {
		p.Add(name, "must have 1 to "+strconv.Itoa(event.MaxConversions)+" elements, has "+strconv.Itoa(n))
	}
}

// Schema implements huma.SchemaProvider.
func (*conversionListIn) Schema(r huma.Registry) *huma.Schema {
	fewest, most := 1, event.MaxConversions
	return &huma.Schema{Type: huma.TypeArray, MinItems: &fewest, MaxItems: &most, Items: r.Schema(reflect.TypeFor[conversionRequest](), true, "")}
}

// conversionRequest is one event of v5's ConversionEvents.
type conversionRequest struct {
	EventName    textIn[string] `json:"event_name" doc:"add_payment_info, add_to_cart, add_to_wishlist, app_install, checkout, custom, initiate_checkout, lead, page_visit, search, signup, subscribe, view_category, view_content or watch_video."`
	ActionSource textIn[string] `json:"action_source" doc:"app_android, app_ios, web or offline."`
	EventTime    timeIn         `json:"event_time" doc:"When it happened: Unix time in seconds, at most 30 days ago."`
	EventID      textIn[string] `json:"event_id" doc:"Together with event_name it counts once."`
	UserData     userDataIn     `json:"user_data"`
	OptOut       boolIn         `json:"opt_out,omitempty" doc:"The user has opted out: the event is counted and credited to no ad."`
	CustomData   customDataIn   `json:"custom_data,omitempty"`

	AppID          ignoredIn `json:"app_id,omitempty"`
	AppInfo        ignoredIn `json:"app_info,omitempty"`
	AppName        ignoredIn `json:"app_name,omitempty"`
	AppVersion     ignoredIn `json:"app_version,omitempty"`
	DeviceBrand    ignoredIn `json:"device_brand,omitempty"`
	DeviceCarrier  ignoredIn `json:"device_carrier,omitempty"`
	DeviceInfo     ignoredIn `json:"device_info,omitempty"`
	DeviceModel    ignoredIn `json:"device_model,omitempty"`
	DeviceType     ignoredIn `json:"device_type,omitempty"`
	EventSourceURL ignoredIn `json:"event_source_url,omitempty"`
	Language       ignoredIn `json:"language,omitempty"`
	OSVersion      ignoredIn `json:"os_version,omitempty"`
	PartnerName    ignoredIn `json:"partner_name,omitempty"`
	WiFi           ignoredIn `json:"wifi,omitempty"`
}

// userData is v5's ConversionEventsUserData. Only click_id and external_id are read; what else it says of the user goes no further.
type userData struct {
	ClickID    textIn[string] `json:"click_id,omitempty" doc:"What the query parameter epik of the ad's destination said."`
	ExternalID textsIn        `json:"external_id,omitempty" doc:"SHA-256 of the id under which the feed knows the user, as 64 hexadecimal digits; at most 10."`

	IP        seenIn    `json:"client_ip_address,omitempty"`
	UserAgent seenIn    `json:"client_user_agent,omitempty"`
	Email     seenIn    `json:"em,omitempty"`
	MAIDs     seenIn    `json:"hashed_maids,omitempty"`
	Country   ignoredIn `json:"country,omitempty"`
	City      ignoredIn `json:"ct,omitempty"`
	Birthday  ignoredIn `json:"db,omitempty"`
	FirstName ignoredIn `json:"fn,omitempty"`
	Gender    ignoredIn `json:"ge,omitempty"`
	LastName  ignoredIn `json:"ln,omitempty"`
	PartnerID ignoredIn `json:"partner_id,omitempty"`
	Phone     ignoredIn `json:"ph,omitempty"`
	State     ignoredIn `json:"st,omitempty"`
	Zip       ignoredIn `json:"zp,omitempty"`
}

// userDataIn reads userData.
type userDataIn struct {
	given  bool
	in     userData
	hashes []int64
}

func (f *userDataIn) decode(raw json.RawMessage, name string, p *fault.Fields) {
	if f.given = !isNull(raw); !f.given {
		return
	}
	p.Nest(name, decodeObject(raw, &f.in))
	ids := f.in.ExternalID.Value
	if len(ids) > maxExternalIDs {
		p.Add(name+".external_id", "must have at most "+strconv.Itoa(maxExternalIDs)+" elements")
		return
	}
	for i, text := range ids {
		var sum [32]byte
		if n, err := hex.Decode(sum[:], []byte(text[:min(len(text), 64)])); err != nil || n != len(sum) || len(text) != 64 {
			p.Add(fault.Index(name+".external_id", i), "must be a SHA-256 as 64 hexadecimal digits")
			continue
		}
		f.hashes = append(f.hashes, campaign.HashPrefix(sum))
	}
	if !f.in.Email.given && !f.in.MAIDs.given && !(f.in.IP.given && f.in.UserAgent.given) && !f.in.ClickID.Given() && len(ids) == 0 {
		p.Add(name, "must have click_id or external_id, or else em, hashed_maids, or client_ip_address with client_user_agent")
	}
}

// Schema implements huma.SchemaProvider.
func (*userDataIn) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[userData](), true, "")
}

// seenIn is a field that makes user_data valid, as v5 has it, and is not read.
type seenIn struct{ given bool }

func (f *seenIn) decode(raw json.RawMessage, _ string, _ *fault.Fields) { f.given = !isNull(raw) }

// Schema implements huma.SchemaProvider.
func (*seenIn) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "Accepted, not looked at and not kept."}
}

// customData is the custom_data of v5's ConversionEvents.
type customData struct {
	Value      decimalIn      `json:"value,omitempty" doc:"What it was worth, as a decimal number in a string, for example 72.39."`
	Currency   textIn[string] `json:"currency,omitempty" doc:"ISO 4217; without it, that of the ad account."`
	NumItems   intIn[int64]   `json:"num_items,omitempty"`
	OptOutType textIn[string] `json:"opt_out_type,omitempty" doc:"LDP counts as opt_out."`

	Brand         ignoredIn `json:"content_brand,omitempty"`
	Category      ignoredIn `json:"content_category,omitempty"`
	IDs           ignoredIn `json:"content_ids,omitempty"`
	Name          ignoredIn `json:"content_name,omitempty"`
	Contents      ignoredIn `json:"contents,omitempty"`
	MeasurementID ignoredIn `json:"external_measurement_id,omitempty"`
	VendorID      ignoredIn `json:"external_measurement_vendor_id,omitempty"`
	Partner       ignoredIn `json:"np,omitempty"`
	OrderID       ignoredIn `json:"order_id,omitempty"`
	PredictedLTV  ignoredIn `json:"predicted_ltv,omitempty"`
	Search        ignoredIn `json:"search_string,omitempty"`
}

// customDataIn reads customData.
type customDataIn struct{ in customData }

func (f *customDataIn) decode(raw json.RawMessage, name string, p *fault.Fields) {
	if isNull(raw) {
		return
	}
	p.Nest(name, decodeObject(raw, &f.in))
	if c := f.in.Currency; c.Given() && (len(c.Value) != 3 || strings.ContainsFunc(c.Value, func(r rune) bool { return r < 'A' || r > 'Z' })) {
		p.Add(name+".currency", "must be an ISO 4217 code")
	}
	if f.in.NumItems.Given() && f.in.NumItems.Value < 0 {
		p.Add(name+".num_items", "must not be negative")
	}
}

// Schema implements huma.SchemaProvider.
func (*customDataIn) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[customData](), true, "")
}

// decimalIn is an amount of money as a decimal number in a string. What is below a micro is cut off.
type decimalIn struct{ micros *money.Micros }

func (f *decimalIn) decode(raw json.RawMessage, name string, p *fault.Fields) {
	if isNull(raw) {
		return
	}
	var text string
	if err := json.Unmarshal(raw, &text); err == nil {
		if m, ok := parseDecimal(text); ok {
			f.micros = &m
			return
		}
	}
	p.Add(name, "must be a decimal number in a string, not negative, for example \"72.39\"")
}

// parseDecimal reads digits, and after a point up to 18 more.
func parseDecimal(text string) (money.Micros, bool) {
	whole, part, _ := strings.Cut(text, ".")
	digit := func(r rune) bool { return r < '0' || r > '9' }
	if whole == "" || len(whole) > 12 || len(part) > 18 || strings.HasSuffix(text, ".") || strings.ContainsFunc(whole+part, digit) {
		return 0, false
	}
	n, err := strconv.ParseInt(whole+(part + "000000")[:6], 10, 64)
	return money.Micros(n), err == nil
}

// Schema implements huma.SchemaProvider.
func (*decimalIn) Schema(huma.Registry) *huma.Schema { return &huma.Schema{Type: huma.TypeString} }
