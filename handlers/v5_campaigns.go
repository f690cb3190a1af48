package handlers

import (
	"context"
	"net/http"
	"reflect"

	"gavel/campaign"
)

const campaignsPath = accountsPath + "/{ad_account_id}/campaigns"

type listCampaignsInput struct {
	AccountPath
	PageQuery
	StatusQuery
	CampaignIDs []string `query:"campaign_ids,explode" maxItems:"250" pattern:"^\\d+$" maxLength:"18" doc:"Campaign ids."`
}

type oneCampaignInput struct {
	AccountPath
	CampaignID string `path:"campaign_id" pattern:"^\\d+$" maxLength:"18" doc:"Campaign id."`
}

type oneCampaignOutput struct{ Body campaignView }

func (v *v5) registerCampaigns() {
	const tag = "campaigns"
	register(v, v.operation(http.MethodGet, campaignsPath, "campaigns/list", tag, "List campaigns", managers...), v.listCampaigns)
	register(v, v.operation(http.MethodPost, campaignsPath, "campaigns/create", tag, "Create campaigns", managers...), v.createCampaigns)
	register(v, v.operation(http.MethodPatch, campaignsPath, "campaigns/update", tag, "Update campaigns", managers...), v.updateCampaigns)
	register(v, v.operation(http.MethodGet, campaignsPath+"/{campaign_id}", "campaigns/get", tag, "Get a campaign", managers...), v.getCampaign)
	answer, refused := reflect.TypeFor[batchAnswer[batchItem[campaignView]]](), reflect.TypeFor[batchError[batchItem[campaignView]]]()
	v.describeBody(http.MethodPost, campaignsPath, v.batchOf(reflect.TypeFor[campaignCreateRequest]()), "Campaigns.", answer, refused)
	v.describeBody(http.MethodPatch, campaignsPath, v.batchOf(reflect.TypeFor[campaignUpdateRequest]()), "Changes.", answer, refused)
}

func (v *v5) listCampaigns(ctx context.Context, in *listCampaignsInput) (*listOutput[campaignView], error) {
	filter := campaign.Filter{Campaigns: idsIn[campaign.CampaignID](in.CampaignIDs), Statuses: in.statuses()}
	read := func(p campaign.Page) ([]campaign.Campaign, error) {
		return v.svc.Campaigns(ctx, in.account(), filter, p)
	}
	return listPage(in.PageQuery, "campaigns", read, viewCampaign, func(c campaign.Campaign) int64 { return int64(c.ID) })
}

func (v *v5) createCampaigns(ctx context.Context, in *createInput) (*jsonOutput, error) {
	items, err := decodeItems(in.RawBody, (*campaignCreateRequest).input)
	if err != nil {
		return nil, err
	}
	return v.once(ctx, in.account(), "campaigns/create", in.IdempotencyKey, in.RawBody, func(ctx context.Context, s *campaign.Service) (campaign.Answer, error) {
		results, err := s.CreateCampaigns(ctx, in.account(), items)
		if err != nil {
			return campaign.Answer{}, err
		}
		return answerBatch(results, viewCampaign, batchItemOf[campaignView]), nil
	})
}

func (v *v5) updateCampaigns(ctx context.Context, in *updateInput) (*jsonOutput, error) {
	items, err := decodeItems(in.RawBody, (*campaignUpdateRequest).input)
	if err != nil {
		return nil, err
	}
	results, err := v.svc.UpdateCampaigns(ctx, in.account(), items)
	if err != nil {
		return nil, err
	}
	return outputOf(answerBatch(results, viewCampaign, batchItemOf[campaignView])), nil
}

func (v *v5) getCampaign(ctx context.Context, in *oneCampaignInput) (*oneCampaignOutput, error) {
	id, _ := parseID[campaign.CampaignID](in.CampaignID) // 0 is not found
	c, err := v.svc.Campaign(ctx, in.account(), id)
	if err != nil {
		return nil, err
	}
	return &oneCampaignOutput{Body: viewCampaign(c)}, nil
}
