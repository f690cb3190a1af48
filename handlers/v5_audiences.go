package handlers

import (
	"context"
	"net/http"
	"reflect"

	"gavel/campaign"
)

const (
	audiencesPath = accountsPath + "/{ad_account_id}/audiences"
	usersPath     = audiencesPath + "/{audience_id}/users"
)

type listAudiencesInput struct {
	AccountPath
	PageQuery
	Ownership string `query:"ownership_type" enum:"OWNED" doc:"Only OWNED is supported yet."`
}

// AudiencePath names an audience.
type AudiencePath struct {
	AudienceID string `path:"audience_id" pattern:"^\\d+$" maxLength:"18" doc:"Audience id."`
}

func (p AudiencePath) audience() campaign.AudienceID {
	id, _ := parseID[campaign.AudienceID](p.AudienceID) // 0 is not found
	return id
}

type oneAudienceInput struct {
	AccountPath
	AudiencePath
}

type audienceUsersInput struct {
	AccountPath
	AudiencePath
	CreateHeaders
	JSONBody
}

type oneAudienceOutput struct{ Body audienceView }

func (v *v5) registerAudiences() {
	const tag = "audiences"
	register(v, v.operation(http.MethodGet, audiencesPath, "audiences/list", tag, "List audiences", managers...), v.listAudiences)
	register(v, v.operation(http.MethodPost, audiencesPath, "audiences/create", tag, "Create an audience", managers...), v.createAudience)
	register(v, v.operation(http.MethodGet, audiencesPath+"/{audience_id}", "audiences/get", tag, "Get an audience", managers...), v.getAudience)
	users := v.operation(http.MethodPost, usersPath, "audiences/users", tag, "Add users to an audience or remove them (Gavel's own)", managers...)
	users.MaxBodyBytes = maxUsersBody + 1
	register(v, users, v.changeAudienceUsers)
	v.describeBody(http.MethodPost, audiencesPath, v.schema(reflect.TypeFor[audienceCreateRequest]()), "Audience.",
		reflect.TypeFor[audienceView](), reflect.TypeFor[errorBody]())
	v.describeBody(http.MethodPost, usersPath, v.schema(reflect.TypeFor[audienceUsersRequest]()), "Users.",
		reflect.TypeFor[audienceUsersView](), reflect.TypeFor[errorBody]())
}

func (v *v5) listAudiences(ctx context.Context, in *listAudiencesInput) (*listOutput[audienceView], error) {
	read := func(p campaign.Page) ([]campaign.Audience, error) { return v.svc.Audiences(ctx, in.account(), p) }
	return listPage(in.PageQuery, "audiences", read, viewAudience, func(a campaign.Audience) int64 { return int64(a.ID) })
}

func (v *v5) createAudience(ctx context.Context, in *createInput) (*jsonOutput, error) {
	item := decodeItem(in.RawBody, (*audienceCreateRequest).input)
	return v.once(ctx, in.account(), "audiences/create", in.IdempotencyKey, in.RawBody, func(ctx context.Context, s *campaign.Service) (campaign.Answer, error) {
		created, err := s.CreateAudience(ctx, in.account(), item)
		if err != nil {
			return campaign.Answer{}, err
		}
		return campaign.Answer{Status: http.StatusOK, Body: encode(viewAudience(created))}, nil
	})
}

func (v *v5) getAudience(ctx context.Context, in *oneAudienceInput) (*oneAudienceOutput, error) {
	a, err := v.svc.Audience(ctx, in.account(), in.audience())
	if err != nil {
		return nil, err
	}
	return &oneAudienceOutput{Body: viewAudience(a)}, nil
}

func (v *v5) changeAudienceUsers(ctx context.Context, in *audienceUsersInput) (*jsonOutput, error) {
	item := decodeItem(in.RawBody, (*audienceUsersRequest).input)
	operation := "audiences/users/" + in.AudienceID
	return v.once(ctx, in.account(), operation, in.IdempotencyKey, in.RawBody, func(ctx context.Context, s *campaign.Service) (campaign.Answer, error) {
		changed, err := s.ChangeAudienceUsers(ctx, in.account(), in.audience(), item)
		if err != nil {
			return campaign.Answer{}, err
		}
		return campaign.Answer{Status: http.StatusOK, Body: encode(audienceUsersView{
			AudienceID: idText(in.audience()), Operation: item.Input.Operation.Value, Received: len(item.Input.UserIDs.Value), Changed: changed,
		})}, nil
	})
}
