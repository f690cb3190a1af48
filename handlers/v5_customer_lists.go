package handlers

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gofiber/fiber/v2"

	"gavel/campaign"
	"gavel/internal/fault"
)

const (
	listsPath   = accountsPath + "/{ad_account_id}/customer_lists"
	listPath    = listsPath + "/{customer_list_id}"
	uploadsPath = listPath + "/uploads"
	uploadPath  = uploadsPath + "/{customer_list_upload_id}"
	partsPath   = uploadPath + "/parts"
	partPath    = partsPath + "/{part_number}"
	// partRoute is partPath as Fiber writes it.
	partRoute = accountsPath + "/:ad_account_id/customer_lists/:customer_list_id/uploads/:customer_list_upload_id/parts/:part_number"
)

const (
	// maxPartsAtOnce bounds the parts that a node takes in at once, each of which may need 8 MiB.
	maxPartsAtOnce = 4
	// partWait is how long a part waits for its turn, partSilence how long it may bring no byte.
	partWait    = 10 * time.Second
	partSilence = 30 * time.Second
	// partTimeout bounds a part as a whole.
	partTimeout = 15 * time.Minute
)

type listAllInput struct {
	AccountPath
	PageQuery
}

// ListPath names a customer list: it is the audience of the same id.
type ListPath struct {
	CustomerListID string `path:"customer_list_id" pattern:"^\\d+$" maxLength:"18" doc:"Customer list id: that of its audience."`
}

func (p ListPath) audience() campaign.AudienceID {
	id, _ := parseID[campaign.AudienceID](p.CustomerListID) // 0 is not found
	return id
}

// UploadPath names an upload.
type UploadPath struct {
	UploadID string `path:"customer_list_upload_id" pattern:"^\\d+$" maxLength:"18" doc:"Upload id."`
}

func (p UploadPath) upload() campaign.UploadID {
	id, _ := parseID[campaign.UploadID](p.UploadID) // 0 is not found
	return id
}

type oneListInput struct {
	AccountPath
	ListPath
}

type changeListInput struct {
	AccountPath
	ListPath
	JSONBody
}

type createUploadInput struct {
	AccountPath
	ListPath
	CreateHeaders
	JSONBody
}

type oneUploadInput struct {
	AccountPath
	ListPath
	UploadPath
}

type (
	oneListOutput   struct{ Body customerListView }
	oneUploadOutput struct{ Body uploadView }
	partsOutput     struct {
		Body struct {
			Items []partView `json:"items" nullable:"false"`
		}
	}
)

func (v *v5) registerCustomerLists(app *fiber.App) {
	const tag = "customer_lists"
	register(v, v.operation(http.MethodGet, listsPath, "customer_lists/list", tag, "List customer lists", managers...), v.listCustomerLists)
	register(v, v.operation(http.MethodPost, listsPath, "customer_lists/create", tag, "Create a customer list", managers...), v.createCustomerList)
	register(v, v.operation(http.MethodGet, listPath, "customer_lists/get", tag, "Get a customer list", managers...), v.getCustomerList)
	register(v, v.operation(http.MethodPatch, listPath, "customer_lists/update", tag, "Add records to a customer list or remove them", managers...), v.updateCustomerList)
	v.describeBody(http.MethodPost, listsPath, v.schema(reflect.TypeFor[customerListRequest]()), "Customer list.",
		reflect.TypeFor[customerListView](), reflect.TypeFor[errorBody]())
	v.describeBody(http.MethodPatch, listPath, v.schema(reflect.TypeFor[customerListUpdateRequest]()), "Records.",
		reflect.TypeFor[customerListView](), reflect.TypeFor[errorBody]())

	const uploads = "customer_list_uploads"
	create := v.operation(http.MethodPost, uploadsPath, "customer_list_uploads/create", uploads, "Create an upload of records", managers...)
	create.Description = "Send the parts to the URLs of the answer, then run the upload. A part that did not get an answer may be sent again; " +
		"one that is there already may be left out (see the list of parts). Nothing changes before the upload is run. " +
		"REPLACE makes the users of the upload the only ones, in one step at its end."
	register(v, create, v.createUpload)
	register(v, v.operation(http.MethodGet, uploadPath, "customer_list_uploads/get", uploads, "Get an upload", managers...), v.getUpload)
	register(v, v.operation(http.MethodGet, partsPath, "customer_list_uploads/parts", uploads, "List the parts of an upload that are there (Gavel's own)", managers...), v.listParts)
	run := v.operation(http.MethodPost, uploadPath+"/run", "customer_list_uploads/run", uploads, "Run an upload", managers...)
	run.Description = "Begins the work; calling it again changes nothing. Uploads of one list are worked through one after the other."
	register(v, run, v.runUpload)
	v.describeBody(http.MethodPost, uploadsPath, v.schema(reflect.TypeFor[uploadCreateRequest]()), "Upload.",
		reflect.TypeFor[uploadCreated](), reflect.TypeFor[errorBody]())

	app.Put(partRoute, v.accountKey, v.putPart)
	v.describePart()
}

func (v *v5) describePart() {
	param := func(name, about string) *huma.Param {
		return &huma.Param{Name: name, In: "path", Required: true, Description: about, Schema: &huma.Schema{Type: huma.TypeString, Pattern: idPattern}}
	}
	answer := func(about string, t reflect.Type) *huma.Response {
		return &huma.Response{Description: about, Content: map[string]*huma.MediaType{fiber.MIMEApplicationJSON: {Schema: v.schema(t)}}}
	}
	v.api.OpenAPI().AddOperation(&huma.Operation{
		OperationID: "customer_list_uploads/part", Method: http.MethodPut, Path: partPath, Tags: []string{"customer_list_uploads"},
		Summary: "Send a part of an upload (Gavel's own)",
		Description: fmt.Sprintf("One record a line, or separated by commas. At most %d records and %d bytes; the body is read as it comes. "+
			"It may be compressed (Content-Encoding: gzip). Records that name no user are counted and left out. Sending a part again "+
			"replaces it; after the upload was run, only the same part is accepted.", campaign.MaxPartRecords, campaign.MaxPartBytes),
		Security: []map[string][]string{{securityScheme: {}}},
		Parameters: []*huma.Param{
			param("ad_account_id", "Ad account id."), param("customer_list_id", "Customer list id: that of its audience."),
			param("customer_list_upload_id", "Upload id."), param("part_number", "From 1."),
		},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}}},
		Responses: map[string]*huma.Response{
			"200": answer("The part is kept.", reflect.TypeFor[partView]()), "default": answer("Error", reflect.TypeFor[errorBody]()),
		},
	})
}

func (v *v5) listCustomerLists(ctx context.Context, in *listAllInput) (*listOutput[customerListView], error) {
	read := func(p campaign.Page) ([]campaign.Audience, error) { return v.svc.Audiences(ctx, in.account(), p) }
	return listPage(in.PageQuery, "customer_lists", read, viewCustomerList, func(a campaign.Audience) int64 { return int64(a.ID) })
}

func (v *v5) createCustomerList(ctx context.Context, in *createInput) (*jsonOutput, error) {
	item := decodeItem(in.RawBody, (*customerListRequest).input)
	return v.once(ctx, in.account(), "customer_lists/create", in.IdempotencyKey, in.RawBody, func(ctx context.Context, s *campaign.Service) (campaign.Answer, error) {
		created, err := s.CreateCustomerList(ctx, in.account(), item)
		if err != nil {
			return campaign.Answer{}, err
		}
		return campaign.Answer{Status: http.StatusOK, Body: encode(viewCustomerList(created))}, nil
	})
}

func (v *v5) getCustomerList(ctx context.Context, in *oneListInput) (*oneListOutput, error) {
	a, err := v.svc.Audience(ctx, in.account(), in.audience())
	if err != nil {
		return nil, err
	}
	return &oneListOutput{Body: viewCustomerList(a)}, nil
}

func (v *v5) updateCustomerList(ctx context.Context, in *changeListInput) (*jsonOutput, error) {
	item := decodeItem(in.RawBody, (*customerListUpdateRequest).input)
	changed, err := v.svc.ChangeCustomerList(ctx, in.account(), in.audience(), item)
	if err != nil {
		return nil, err
	}
	return outputOf(campaign.Answer{Status: http.StatusOK, Body: encode(viewCustomerList(changed))}), nil
}

func (v *v5) createUpload(ctx context.Context, in *createUploadInput) (*jsonOutput, error) {
	item := decodeItem(in.RawBody, (*uploadCreateRequest).input)
	operation := "customer_list_uploads/create/" + in.CustomerListID
	return v.once(ctx, in.account(), operation, in.IdempotencyKey, in.RawBody, func(ctx context.Context, s *campaign.Service) (campaign.Answer, error) {
		u, err := s.CreateUpload(ctx, in.account(), in.audience(), item)
		if err != nil {
			return campaign.Answer{}, err
		}
		created := uploadCreated{Upload: viewUpload(u, nil), Data: partURLs{Parts: []partURL{}}}
		for n := range u.TotalParts {
			created.Data.Parts = append(created.Data.Parts, partURL{Number: n + 1, URL: partsURL(u) + "/" + strconv.Itoa(n+1)})
		}
		return campaign.Answer{Status: http.StatusOK, Body: encode(created)}, nil
	})
}

func (v *v5) getUpload(ctx context.Context, in *oneUploadInput) (*oneUploadOutput, error) {
	u, parts, err := v.svc.Upload(ctx, in.account(), in.audience(), in.upload())
	if err != nil {
		return nil, err
	}
	return &oneUploadOutput{Body: viewUpload(u, parts)}, nil
}

func (v *v5) listParts(ctx context.Context, in *oneUploadInput) (*partsOutput, error) {
	_, parts, err := v.svc.Upload(ctx, in.account(), in.audience(), in.upload())
	if err != nil {
		return nil, err
	}
	out := &partsOutput{}
	out.Body.Items = []partView{}
	for _, p := range parts {
		out.Body.Items = append(out.Body.Items, viewPart(p))
	}
	return out, nil
}

func (v *v5) runUpload(ctx context.Context, in *oneUploadInput) (*oneUploadOutput, error) {
	if _, err := v.svc.RunUpload(ctx, in.account(), in.audience(), in.upload()); err != nil {
		return nil, err
	}
	return v.getUpload(ctx, in)
}

// accountKey is authenticate for a route that is served past huma.
func (v *v5) accountKey(c *fiber.Ctx) error {
	p, refused := identify(v.ring, c.Get(fiber.HeaderAuthorization), managers)
	if refused == nil && p.Role == campaign.RoleAdvertiser && c.Params(accountParam) != strconv.FormatInt(int64(p.AdAccountID), 10) {
		refused = errNotYours
	}
	if refused != nil {
		return refusePart(c, refused)
	}
	return c.Next()
}

// putPart is PUT …/parts/{part_number}.
func (v *v5) putPart(c *fiber.Ctx) error {
	account, _ := parseID[campaign.AdAccountID](c.Params(accountParam))
	audience, _ := parseID[campaign.AudienceID](c.Params("customer_list_id"))
	upload, _ := parseID[campaign.UploadID](c.Params("customer_list_upload_id"))
	number, _ := parseID[int64](c.Params("part_number")) // what is no number is 0, and not found or out of range
	waiting, cancel := context.WithTimeout(c.UserContext(), partWait)
	defer cancel()
	select {
	case v.partsAtOnce <- struct{}{}:
		defer func() { <-v.partsAtOnce }()
	case <-waiting.Done():
		return refusePart(c, fault.New(fault.Unavailable, "too many parts are being sent at once"))
	}
	body, err := partBody(c)
	if err != nil {
		return refusePart(c, err)
	}
	ctx, cancelPart := context.WithTimeout(c.UserContext(), partTimeout)
	defer cancelPart()
	part, err := v.svc.PutPart(ctx, account, audience, upload, int(min(number, campaign.MaxUploadParts+1)), body)
	if err != nil {
		if _, coded := errors.AsType[*fault.Error](err); body.err != nil && !coded {
			err = fault.Wrap(fault.Invalid, "the part ended early, or its compression is damaged: send it again", err)
		}
		return refusePart(c, err)
	}
	return c.JSON(viewPart(part))
}

// refusePart reads some of what is still coming: a client that is cut off while it sends does not see the answer.
func refusePart(c *fiber.Ctx, err error) error {
	const most = 32 << 20
	if stream := c.Context().RequestBodyStream(); stream != nil {
		_, _ = io.CopyN(io.Discard, &bodyReader{c: c, r: stream}, most)
	}
	c.Context().SetConnectionClose() // what is left of the body would be read as the next request
	return err
}

// bodyReader reads a part as it comes: whatever its size, the connection must bring some of it within partSilence.
type bodyReader struct {
	c   *fiber.Ctx
	r   io.Reader
	err error
	// stream says that r is the request's own stream, whose end has to be checked.
	stream bool
}

func (b *bodyReader) Read(p []byte) (int, error) {
	if conn := b.c.Context().Conn(); conn != nil {
		_ = conn.SetReadDeadline(time.Now().Add(partSilence)) // the next read tells what is wrong with it
	}
	n, err := b.r.Read(p)
	if errors.Is(err, io.EOF) && b.stream {
		if broken := whole(b.c, b.r); broken != nil {
			err = broken
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

func partBody(c *fiber.Ctx) (*bodyReader, error) {
	stream := c.Context().RequestBodyStream()
	if stream == nil {
		stream = bytes.NewReader(c.Request().Body())
	}
	body := &bodyReader{c: c, r: stream, stream: c.Context().RequestBodyStream() != nil}
	switch encoding := c.Get(fiber.HeaderContentEncoding); encoding {
	case "", "identity":
		return body, nil
	case "gzip":
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, fault.Wrap(fault.Invalid, "the part is not gzip", err)
		}
		return &bodyReader{c: c, r: z}, nil
	default:
		return nil, fault.New(fault.Invalid, "Content-Encoding must be gzip or absent")
	}
}

// customerListView is a CustomerList of v5.
type customerListView struct {
	ID          string         `json:"id" doc:"Customer list id: that of its audience."`
	AdAccountID string         `json:"ad_account_id"`
	Name        string         `json:"name"`
	CreatedTime int64          `json:"created_time" doc:"Unix seconds."`
	UpdatedTime int64          `json:"updated_time" doc:"Unix seconds."`
	Batches     int64          `json:"num_batches" doc:"How often records were added or removed."`
	Removed     int64          `json:"num_removed_user_records" doc:"Records that were to be removed, whether or not they were there."`
	Uploaded    int64          `json:"num_uploaded_user_records" doc:"Records that were added, whether or not they were there already."`
	Status      string         `json:"status" enum:"READY" doc:"Always READY: there is no minimum size. How far an upload is, the upload says."`
	Type        string         `json:"type" enum:"customerlist"`
	Exceptions  map[string]any `json:"exceptions" doc:"Always empty: what is wrong with the records of an upload, the upload says."`
	ListType    string         `json:"list_type" enum:"USER_ID,HASHED_PINNER_ID" doc:"Gavel's own. How its uploads name users."`
	Size        int64          `json:"size" doc:"Gavel's own. Users in it."`
}

func viewCustomerList(a campaign.Audience) customerListView {
	return customerListView{
		ID: idText(a.ID), AdAccountID: idText(a.AdAccountID), Name: a.Name, CreatedTime: a.CreatedAt.Unix(), UpdatedTime: a.UpdatedAt.Unix(),
		Batches: a.Batches, Removed: a.Removed, Uploaded: a.Added, Status: "READY", Type: "customerlist", Exceptions: map[string]any{},
		ListType: string(a.ListType), Size: a.Size,
	}
}

type recordCounts struct {
	Processed int64 `json:"processed" doc:"Records that are worked through."`
	Valid     int64 `json:"valid" doc:"Those of them that name a user."`
	Invalid   int64 `json:"invalid" doc:"Those of them that do not."`
}

type errorCount struct {
	Code    int    `json:"error_code"`
	Message string `json:"message"`
	Count   int64  `json:"count"`
}

// uploadView is a CustomerListUpload of v5.
type uploadView struct {
	ID             string        `json:"id"`
	AdAccountID    string        `json:"ad_account_id"`
	CustomerListID string        `json:"customer_list_id"`
	Operation      string        `json:"operation" enum:"ADD,REMOVE,REPLACE" doc:"REPLACE is Gavel's own."`
	State          string        `json:"state" enum:"NOT_STARTED,RUNNING,SUCCEEDED,FAILED"`
	RecordCounts   *recordCounts `json:"record_counts,omitempty" doc:"Absent before it is run."`
	ErrorCounts    []errorCount  `json:"error_counts" doc:"Invalid records of the parts that are there."`
	CreationTime   int64         `json:"creation_time" doc:"Unix seconds."`
	UpdatedTime    int64         `json:"updated_time" doc:"Unix seconds."`
	TotalParts     *int          `json:"total_parts" doc:"Gavel's own. null: as many as are sent."`
	PartsReceived  int           `json:"parts_received" doc:"Gavel's own."`
	Records        int64         `json:"records_received" doc:"Gavel's own. Records of the parts that are there."`
	PartsURL       string        `json:"parts_url" doc:"Gavel's own. PUT part n to this path, a slash and n."`
}

func partsURL(u campaign.Upload) string {
	return accountsPath + "/" + idText(u.AdAccountID) + "/customer_lists/" + idText(u.AudienceID) + "/uploads/" + idText(u.ID) + "/parts"
}

func viewUpload(u campaign.Upload, parts []campaign.UploadPart) uploadView {
	v := uploadView{
		ID: idText(u.ID), AdAccountID: idText(u.AdAccountID), CustomerListID: idText(u.AudienceID), Operation: u.Operation,
		State: string(u.State), CreationTime: u.CreatedAt.Unix(), UpdatedTime: u.UpdatedAt.Unix(), ErrorCounts: []errorCount{},
		PartsReceived: len(parts), PartsURL: partsURL(u),
	}
	if u.TotalParts > 0 {
		v.TotalParts = &u.TotalParts
	}
	invalid := map[campaign.RecordProblem]int64{}
	for _, p := range parts {
		v.Records += p.Records
		for problem, n := range p.Invalid {
			invalid[problem] += n
		}
	}
	for problem, n := range invalid {
		v.ErrorCounts = append(v.ErrorCounts, errorCount{Code: int(problem), Message: problem.Text(), Count: n})
	}
	slices.SortFunc(v.ErrorCounts, func(a, b errorCount) int { return cmp.Compare(a.Code, b.Code) })
	if u.State != campaign.UploadNotStarted {
		refused := u.Records - u.Valid
		v.RecordCounts = &recordCounts{Processed: u.Done + refused, Valid: u.Done, Invalid: refused}
	}
	return v
}

// uploadCreated is a CustomerListUploadCreateResponse of v5.
type uploadCreated struct {
	Upload uploadView `json:"customer_list_upload"`
	Data   partURLs   `json:"s3_multipart_upload_data" doc:"Named as in v5; there is no S3 here."`
}

type partURLs struct {
	Parts []partURL `json:"file_parts" nullable:"false" doc:"One for each of total_parts; none without."`
}

type partURL struct {
	Number int    `json:"part_number"`
	URL    string `json:"presigned_url" doc:"A path on this server. PUT the part there, with the key as for every call."`
}

type partView struct {
	Number  int    `json:"part_number"`
	Bytes   int64  `json:"bytes" doc:"Without compression."`
	SHA256  string `json:"sha256" doc:"Of the part without compression, in hexadecimal digits."`
	Records int64  `json:"records"`
	Valid   int64  `json:"valid"`
	Invalid int64  `json:"invalid"`
}

func viewPart(p campaign.UploadPart) partView {
	return partView{
		Number: p.Number, Bytes: p.Bytes, SHA256: hex.EncodeToString(p.SHA256[:]), Records: p.Records, Valid: p.Valid(), Invalid: p.Records - p.Valid(),
	}
}

type customerListRequest struct {
	Name     textIn[string] `json:"name" minLength:"1" maxLength:"256" doc:"Customer list name."`
	ListType textIn[string] `json:"list_type" enum:"USER_ID,HASHED_PINNER_ID" doc:"How records name users: USER_ID (Gavel's own) as ad requests do, HASHED_PINNER_ID by the SHA-256 of that in hexadecimal digits. No other type of v5 can be matched here, so it has no default."`
	Records  textIn[string] `json:"records,omitempty" doc:"Up to 10,000 records, separated by commas. More are uploaded."`
}

func (in *customerListRequest) input() campaign.CustomerListInput {
	return campaign.CustomerListInput{Name: in.Name.Opt, ListType: in.ListType.Opt, Records: in.Records.Opt}
}

type customerListUpdateRequest struct {
	Operation textIn[string] `json:"operation_type" enum:"ADD,REMOVE" doc:"What to do with the records."`
	Records   textIn[string] `json:"records" doc:"Up to 10,000 records, separated by commas. More are uploaded."`
}

func (in *customerListUpdateRequest) input() campaign.CustomerListUpdate {
	return campaign.CustomerListUpdate{Operation: in.Operation.Opt, Records: in.Records.Opt}
}

type uploadCreateRequest struct {
	Operation  textIn[string] `json:"operation" enum:"ADD,REMOVE,REPLACE" doc:"What to do with the users of the upload. REPLACE is Gavel's own: they become the only ones."`
	TotalParts intIn[int64]   `json:"total_parts,omitempty" minimum:"1" maximum:"10000" doc:"How many parts there will be. Without it: as many as were sent when it is run."`
}

func (in *uploadCreateRequest) input() campaign.UploadInput {
	return campaign.UploadInput{Operation: in.Operation.Opt, TotalParts: in.TotalParts.Opt}
}

// listRuleIn is the rule of an audience: {"customer_list_id": "…"}, or nothing.
type listRuleIn struct {
	campaign.Opt[campaign.AudienceID]
}

func (f *listRuleIn) decode(raw json.RawMessage, name string, p *fault.Fields) {
	var rule struct {
		List idIn[campaign.AudienceID] `json:"customer_list_id"`
	}
	if isNull(raw) {
		return
	}
	for _, problem := range decodeObject(raw, &rule) {
		if problem.Name == "customer_list_id" {
			p.Add(fault.Join(name, problem.Name), problem.Message)
			continue
		}
		p.Add(name, "is not supported but for customer_list_id")
		return
	}
	f.Opt = rule.List.Opt
}

// Schema implements huma.SchemaProvider.
func (*listRuleIn) Schema(r huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, Nullable: true, Properties: map[string]*huma.Schema{
		"customer_list_id": (*idIn[campaign.AudienceID])(nil).Schema(r),
	}}
}
