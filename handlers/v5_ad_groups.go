package handlers

import (
	"context"
	"net/http"
	"reflect"

	"gavel/campaign"
	"gavel/internal/money"
)

const adGroupsPath = accountsPath + "/{ad_account_id}/ad_groups"

type listAdGroupsInput struct {
	AccountPath
	PageQuery
	StatusQuery
	CampaignIDs []string `query:"campaign_ids,explode" maxItems:"250" pattern:"^\\d+$" maxLength:"18" doc:"Campaign ids."`
	AdGroupIDs  []string `query:"ad_group_ids,explode" maxItems:"250" pattern:"^\\d+$" maxLength:"18" doc:"Ad group ids."`
	Names       bool     `query:"translate_interests_to_names" enum:"false" doc:"Not supported yet: only false is accepted."`
}

type oneAdGroupInput struct {
	AccountPath
	AdGroupID string `path:"ad_group_id" pattern:"^\\d+$" maxLength:"18" doc:"Ad group id."`
}

type oneAdGroupOutput struct{ Body adGroupView }

func (v *v5) registerAdGroups() {
	const tag = "ad_groups"
	register(v, v.operation(http.MethodGet, adGroupsPath, "ad_groups/list", tag, "List ad groups", managers...), v.listAdGroups)
	register(v, v.operation(http.MethodPost, adGroupsPath, "ad_groups/create", tag, "Create ad groups", managers...), v.createAdGroups)
	register(v, v.operation(http.MethodPatch, adGroupsPath, "ad_groups/update", tag, "Update ad groups", managers...), v.updateAdGroups)
	register(v, v.operation(http.MethodGet, adGroupsPath+"/{ad_group_id}", "ad_groups/get", tag, "Get an ad group", managers...), v.getAdGroup)
	answer, refused := reflect.TypeFor[batchAnswer[batchItem[adGroupView]]](), reflect.TypeFor[batchError[batchItem[adGroupView]]]()
	v.describeBody(http.MethodPost, adGroupsPath, v.batchOf(reflect.TypeFor[adGroupCreateRequest]()), "Ad groups.", answer, refused)
	v.describeBody(http.MethodPatch, adGroupsPath, v.batchOf(reflect.TypeFor[adGroupUpdateRequest]()), "Changes.", answer, refused)
}

func (v *v5) listAdGroups(ctx context.Context, in *listAdGroupsInput) (*listOutput[adGroupView], error) {
	filter := campaign.Filter{
		Campaigns: idsIn[campaign.CampaignID](in.CampaignIDs), AdGroups: idsIn[campaign.AdGroupID](in.AdGroupIDs), Statuses: in.statuses(),
	}
	read := func(p campaign.Page) ([]campaign.AdGroup, error) {
		return v.svc.AdGroups(ctx, in.account(), filter, p)
	}
	return listPage(in.PageQuery, "ad_groups", read, viewAdGroup, func(g campaign.AdGroup) int64 { return int64(g.ID) })
}

func (v *v5) createAdGroups(ctx context.Context, in *createInput) (*jsonOutput, error) {
	items, err := decodeItems(in.RawBody, (*adGroupCreateRequest).input)
	if err != nil {
		return nil, err
	}
	floorsAreOperators(ctx, items, func(g campaign.AdGroupInput) campaign.Opt[money.Micros] { return g.BidFloor })
	return v.once(ctx, in.account(), "ad_groups/create", in.IdempotencyKey, in.RawBody, func(ctx context.Context, s *campaign.Service) (campaign.Answer, error) {
		results, err := s.CreateAdGroups(ctx, in.account(), items)
		if err != nil {
			return campaign.Answer{}, err
		}
		return answerBatch(results, viewAdGroup, batchItemOf[adGroupView]), nil
	})
}

func (v *v5) updateAdGroups(ctx context.Context, in *updateInput) (*jsonOutput, error) {
	items, err := decodeItems(in.RawBody, (*adGroupUpdateRequest).input)
	if err != nil {
		return nil, err
	}
	floorsAreOperators(ctx, items, func(g campaign.AdGroupUpdate) campaign.Opt[money.Micros] { return g.BidFloor })
	results, err := v.svc.UpdateAdGroups(ctx, in.account(), items)
	if err != nil {
		return nil, err
	}
	return outputOf(answerBatch(results, viewAdGroup, batchItemOf[adGroupView])), nil
}

func (v *v5) getAdGroup(ctx context.Context, in *oneAdGroupInput) (*oneAdGroupOutput, error) {
	id, _ := parseID[campaign.AdGroupID](in.AdGroupID) // 0 is not found
	g, err := v.svc.AdGroup(ctx, in.account(), id)
	if err != nil {
		return nil, err
	}
	return &oneAdGroupOutput{Body: viewAdGroup(g)}, nil
}
