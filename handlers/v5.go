package handlers

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gofiber/fiber/v2"

	"gavel/campaign"
	"gavel/event"
)

// Limits of the v5 API.
const (
	// v5Timeout bounds one call: Fiber does not end a context when the client goes away.
	v5Timeout = 5 * time.Second
	// maxV5Body is the largest body of most calls, maxUsersBody that of a change to an audience's users. The Fiber app's own
	// limit must not be below MaxBodyBytes.
	maxV5Body    = 1 << 20
	maxUsersBody = 2 << 20
	// MaxBodyBytes is the largest body that any operation takes.
	MaxBodyBytes = maxUsersBody
)

// v5 serves the management API in the shape of the Pinterest Ads API v5.
type v5 struct {
	svc  *campaign.Service
	ring *campaign.KeyRing
	api  huma.API
	// conversions keeps what advertisers report.
	conversions event.ConversionStore
	// partsAtOnce has an element for each part of an upload that is being read.
	partsAtOnce chan struct{}
	floor       BidFloor
}

// managers are the roles that the v5 API is for.
var managers = []campaign.Role{campaign.RoleAdvertiser, campaign.RoleOperator}

// RegisterV5 adds the v5 API and the OpenAPI document to app. Other operations may be added to the API that it returns, until
// the server starts.
func RegisterV5(app *fiber.App, svc *campaign.Service, ring *campaign.KeyRing, conversions event.ConversionStore, floor BidFloor) huma.API {
	useOurErrors()
	v := &v5{svc: svc, ring: ring, api: newAPI(app), conversions: conversions, partsAtOnce: make(chan struct{}, maxPartsAtOnce), floor: floor}
	v.registerAdAccounts()
	v.registerCampaigns()
	v.registerAdGroups()
	v.registerBidFloor()
	v.registerAds()
	v.registerKeywords()
	v.registerAudiences()
	v.registerCustomerLists(app)
	v.registerBudgets()
	v.registerResources()
	v.registerConversions()
	serveDocument(app, v.api)
	return v.api
}

// refuse answers a call that may not go on.
func (v *v5) refuse(ctx huma.Context, err error) {
	body := bodyOf(err)
	for name, value := range headersOf(body.status) {
		ctx.SetHeader(name, value)
	}
	ctx.SetHeader(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	ctx.SetStatus(body.status)
	_, _ = ctx.BodyWriter().Write(encode(body)) // a client that has gone away
}

// operation describes one call.
func (v *v5) operation(method, path, id, tag, summary string, roles ...campaign.Role) huma.Operation {
	return huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary, Tags: []string{tag},
		Security:     []map[string][]string{{securityScheme: {}}},
		Middlewares:  huma.Middlewares{v.authenticate(roles...)},
		MaxBodyBytes: maxV5Body + 1, BodyReadTimeout: -1, // else the deadline of the body would end the connection 5 s later
		SkipValidateBody: true, // decodeObject reads bodies: it tells all problems, by item
	}
}

// register adds a call, with its deadline and with errors translated.
func register[I, O any](v *v5, op huma.Operation, handle func(ctx context.Context, in *I) (*O, error)) {
	huma.Register(v.api, op, func(ctx context.Context, in *I) (*O, error) {
		ctx, cancel := context.WithTimeout(ctx, v5Timeout)
		defer cancel()
		out, err := handle(ctx, in)
		if err != nil {
			body := bodyOf(err)
			logServerFault(body.status, op.Method, op.Path, err)
			return nil, body
		}
		return out, nil
	})
}

// AccountPath is the path parameter that every call but the first has. It is exported because reflection passes over embedded
// types that are not; so are the other parameters below.
type AccountPath struct {
	AdAccountID string `path:"ad_account_id" pattern:"^\\d+$" maxLength:"18" doc:"Ad account id."`
}

func (p AccountPath) account() campaign.AdAccountID {
	id, _ := parseID[campaign.AdAccountID](p.AdAccountID) // 0 is no account, so it is not found
	return id
}

// JSONBody is a body that the call decodes by itself.
type JSONBody struct {
	RawBody []byte `contentType:"application/json"`
}

// CreateHeaders are the headers of a create.
type CreateHeaders struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"128" doc:"A retry with the same key and the same body gets the first answer again, for a day."`
}

type createInput struct {
	AccountPath
	CreateHeaders
	JSONBody
}

type updateInput struct {
	AccountPath
	JSONBody
}

// jsonOutput is an answer that is encoded already.
type jsonOutput struct {
	Status      int
	ContentType string `header:"Content-Type" hidden:"true"`
	Body        []byte
}

func outputOf(a campaign.Answer) *jsonOutput {
	return &jsonOutput{Status: a.Status, ContentType: fiber.MIMEApplicationJSON, Body: a.Body}
}

// encode is JSON without the escapes that only HTML needs. What it is given always has a JSON.
func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return []byte(`{"code":12,"message":"internal error"}`)
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// once runs a create under its idempotency key.
func (v *v5) once(ctx context.Context, account campaign.AdAccountID, operation, key string, body []byte, create func(ctx context.Context, s *campaign.Service) (campaign.Answer, error)) (*jsonOutput, error) {
	input := sha256.Sum256(append([]byte(operation+"\n"), body...))
	answer, err := v.svc.Once(ctx, account, key, input, create)
	if err != nil {
		return nil, err
	}
	return outputOf(answer), nil
}

// describeBody puts the schemas of a call that decodes and encodes by itself into the document.
func (v *v5) describeBody(method, path string, request *huma.Schema, requestDoc string, answer, refused reflect.Type) {
	schema := func(t reflect.Type) map[string]*huma.MediaType {
		return map[string]*huma.MediaType{fiber.MIMEApplicationJSON: {Schema: v.schema(t)}}
	}
	item := v.api.OpenAPI().Paths[path]
	op := item.Post
	if method == http.MethodPatch {
		op = item.Patch
	}
	op.RequestBody = &huma.RequestBody{
		Required: true, Description: requestDoc, Content: map[string]*huma.MediaType{fiber.MIMEApplicationJSON: {Schema: request}},
	}
	op.Responses["200"].Content = schema(answer)
	op.Responses["400"] = &huma.Response{Description: "Nothing was written.", Content: schema(refused)}
	op.Responses["default"] = &huma.Response{Description: "Error", Content: schema(reflect.TypeFor[errorBody]())}
}

func (v *v5) schema(t reflect.Type) *huma.Schema {
	return v.api.OpenAPI().Components.Schemas.Schema(t, true, "")
}

// batchOf is the schema of 1 to 30 items.
func (v *v5) batchOf(t reflect.Type) *huma.Schema {
	fewest, most := 1, campaign.MaxBatch
	return &huma.Schema{Type: huma.TypeArray, MinItems: &fewest, MaxItems: &most, Items: v.schema(t)}
}
