package handlers

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"gavel/campaign"
)

const targetingPath = "/v5/resources/targeting"

type targetingOptionsInput struct {
	Type      string `path:"targeting_type" enum:"APPTYPE,GENDER,LOCALE,AGE_BUCKET,LOCATION,GEO,INTEREST,KEYWORD,AUDIENCE_INCLUDE,AUDIENCE_EXCLUDE" doc:"Key of a targeting_spec, or KEYWORD."`
	ClientID  string `query:"client_id" doc:"Accepted for v5 and ignored."`
	Signature string `query:"oauth_signature" doc:"Accepted for v5 and ignored."`
	Timestamp string `query:"timestamp" doc:"Accepted for v5 and ignored."`
	AdAccount string `query:"ad_account_id" pattern:"^\\d+$" maxLength:"18" doc:"Accepted for v5: the answer is the same for every ad account."`
}

// targetingOptionsOutput is, as in v5, a list with one object from values to names.
type targetingOptionsOutput struct {
	Body []map[string]string `nullable:"false"`
}

type interestInput struct {
	ID string `path:"interest_id" maxLength:"192" doc:"Interest id: 1 to 64 visible ASCII characters, percent-encoded."`
}

type interestOutput struct{ Body interestView }

type interestView struct {
	ID       string   `json:"id" doc:"Interest id."`
	Name     string   `json:"name"`
	Level    int      `json:"level" doc:"1 at the top."`
	Children []string `json:"child_interests" nullable:"false" doc:"Ids of the interests right below."`
}

func (v *v5) registerResources() {
	const tag = "resources"
	options := v.operation(http.MethodGet, targetingPath+"/{targeting_type}", "targeting_options/get", tag, "List the values that a key of a targeting_spec can have", managers...)
	options.Description = "LOCATION lists countries; US market areas (three digits) are accepted and not listed, nor are languages of three letters. " +
		"GEO, KEYWORD and audiences are no lists: 404. INTEREST is the taxonomy that the operator has loaded, empty before: then any id is accepted."
	register(v, options, v.targetingOptions)
	register(v, v.operation(http.MethodGet, targetingPath+"/interests/{interest_id}", "interest_targeting_options/get", tag, "Get an interest", managers...), v.interest)
}

func (v *v5) targetingOptions(ctx context.Context, in *targetingOptionsInput) (*targetingOptionsOutput, error) {
	options, err := v.svc.TargetingOptions(ctx, in.Type)
	if err != nil {
		return nil, err
	}
	names := make(map[string]string, len(options))
	for _, o := range options {
		names[o.Value] = o.Name
	}
	return &targetingOptionsOutput{Body: []map[string]string{names}}, nil
}

func (v *v5) interest(ctx context.Context, in *interestInput) (*interestOutput, error) {
	id, err := url.PathUnescape(in.ID)
	if err != nil || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) { // Postgres takes no NUL, for one
		return nil, campaign.ErrInterestNotFound
	}
	n, err := v.svc.Interest(ctx, id)
	if err != nil {
		return nil, err
	}
	return &interestOutput{Body: interestView{ID: n.ID, Name: n.Name, Level: n.Level, Children: append([]string{}, n.Children...)}}, nil
}
