package handlers

import (
	"context"
	"net/http"
	"reflect"

	"gavel/campaign"
)

const accountsPath = "/v5/ad_accounts"

type listAccountsInput struct {
	PageQuery
	Shared bool `query:"include_shared_accounts" doc:"Accepted for v5; no account is shared."`
}

type oneAccountOutput struct{ Body adAccountView }

func (v *v5) registerAdAccounts() {
	const tag = "ad_accounts"
	register(v, v.operation(http.MethodGet, accountsPath, "ad_accounts/list", tag, "List ad accounts", managers...), v.listAdAccounts)
	register(v, v.operation(http.MethodPost, accountsPath, "ad_accounts/create", tag, "Create an ad account", campaign.RoleOperator), v.createAdAccount)
	register(v, v.operation(http.MethodGet, accountsPath+"/{ad_account_id}", "ad_accounts/get", tag, "Get an ad account", managers...), v.getAdAccount)
	update := v.operation(http.MethodPatch, accountsPath+"/{ad_account_id}", "ad_accounts/update", tag, "Change the spend limit of an ad account (Gavel's own)", managers...)
	update.Description = "It holds at once for everything below the ad account, and what was spent before counts. A limit may be below what is spent " +
		"already: then nothing more is. A field that is absent stays."
	register(v, update, v.updateAdAccount)
	v.describeBody(http.MethodPatch, accountsPath+"/{ad_account_id}", v.schema(reflect.TypeFor[adAccountUpdate]()), "Spend limit.",
		reflect.TypeFor[adAccountView](), reflect.TypeFor[errorBody]())
	v.describeBody(http.MethodPost, accountsPath, v.schema(reflect.TypeFor[adAccountCreate]()), "Ad account.",
		reflect.TypeFor[adAccountView](), reflect.TypeFor[errorBody]())
}

// listAdAccounts shows an operator all accounts and an advertiser its own.
func (v *v5) listAdAccounts(ctx context.Context, in *listAccountsInput) (*listOutput[adAccountView], error) {
	read := func(p campaign.Page) ([]campaign.AdAccount, error) { return v.svc.AdAccounts(ctx, p) }
	if who, _ := ctx.Value(principalKey{}).(campaign.Principal); who.Role != campaign.RoleOperator {
		read = func(p campaign.Page) ([]campaign.AdAccount, error) {
			own, err := v.svc.AdAccount(ctx, who.AdAccountID)
			if err != nil || p.After != 0 {
				return nil, err
			}
			return []campaign.AdAccount{own}, nil
		}
	}
	return listPage(in.PageQuery, "ad_accounts", read, viewAdAccount, func(a campaign.AdAccount) int64 { return int64(a.ID) })
}

type createAccountInput struct {
	CreateHeaders
	JSONBody
}

func (v *v5) createAdAccount(ctx context.Context, in *createAccountInput) (*jsonOutput, error) {
	item := decodeItem(in.RawBody, (*adAccountCreate).input)
	return v.once(ctx, 0, "ad_accounts/create", in.IdempotencyKey, in.RawBody, func(ctx context.Context, s *campaign.Service) (campaign.Answer, error) {
		created, err := s.CreateAdAccount(ctx, item)
		if err != nil {
			return campaign.Answer{}, err
		}
		return campaign.Answer{Status: http.StatusOK, Body: encode(viewAdAccount(created))}, nil
	})
}

func (v *v5) getAdAccount(ctx context.Context, in *AccountPath) (*oneAccountOutput, error) {
	a, err := v.svc.AdAccount(ctx, in.account())
	if err != nil {
		return nil, err
	}
	return &oneAccountOutput{Body: viewAdAccount(a)}, nil
}

func (v *v5) updateAdAccount(ctx context.Context, in *createInput) (*jsonOutput, error) {
	item := decodeItem(in.RawBody, (*adAccountUpdate).input)
	return v.once(ctx, in.account(), "ad_accounts/update", in.IdempotencyKey, in.RawBody, func(ctx context.Context, s *campaign.Service) (campaign.Answer, error) {
		updated, err := s.UpdateAdAccount(ctx, in.account(), item)
		if err != nil {
			return campaign.Answer{}, err
		}
		return campaign.Answer{Status: http.StatusOK, Body: encode(viewAdAccount(updated))}, nil
	})
}
