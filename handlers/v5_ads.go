package handlers

import (
	"context"
	"net/http"
	"reflect"

	"gavel/campaign"
)

const adsPath = accountsPath + "/{ad_account_id}/ads"

type listAdsInput struct {
	AccountPath
	PageQuery
	StatusQuery
	CampaignIDs []string `query:"campaign_ids,explode" maxItems:"250" pattern:"^\\d+$" maxLength:"18" doc:"Campaign ids."`
	AdGroupIDs  []string `query:"ad_group_ids,explode" maxItems:"250" pattern:"^\\d+$" maxLength:"18" doc:"Ad group ids."`
	AdIDs       []string `query:"ad_ids,explode" maxItems:"250" pattern:"^\\d+$" maxLength:"18" doc:"Ad ids."`
}

type oneAdInput struct {
	AccountPath
	AdID string `path:"ad_id" pattern:"^\\d+$" maxLength:"18" doc:"Ad id."`
}

type oneAdOutput struct{ Body adView }

func (v *v5) registerAds() {
	const tag = "ads"
	register(v, v.operation(http.MethodGet, adsPath, "ads/list", tag, "List ads", managers...), v.listAds)
	register(v, v.operation(http.MethodPost, adsPath, "ads/create", tag, "Create ads", managers...), v.createAds)
	register(v, v.operation(http.MethodPatch, adsPath, "ads/update", tag, "Update ads", managers...), v.updateAds)
	register(v, v.operation(http.MethodGet, adsPath+"/{ad_id}", "ads/get", tag, "Get an ad", managers...), v.getAd)
	answer, refused := reflect.TypeFor[batchAnswer[adBatchItem]](), reflect.TypeFor[batchError[adBatchItem]]()
	v.describeBody(http.MethodPost, adsPath, v.batchOf(reflect.TypeFor[adCreateRequest]()), "Ads.", answer, refused)
	v.describeBody(http.MethodPatch, adsPath, v.batchOf(reflect.TypeFor[adUpdateRequest]()), "Changes.", answer, refused)
}

func (v *v5) listAds(ctx context.Context, in *listAdsInput) (*listOutput[adView], error) {
	filter := campaign.Filter{
		Campaigns: idsIn[campaign.CampaignID](in.CampaignIDs), AdGroups: idsIn[campaign.AdGroupID](in.AdGroupIDs),
		Ads: idsIn[campaign.AdID](in.AdIDs), Statuses: in.statuses(),
	}
	read := func(p campaign.Page) ([]campaign.Ad, error) {
		return v.svc.Ads(ctx, in.account(), filter, p)
	}
	return listPage(in.PageQuery, "ads", read, viewAd, func(a campaign.Ad) int64 { return int64(a.ID) })
}

func (v *v5) createAds(ctx context.Context, in *createInput) (*jsonOutput, error) {
	items, err := decodeItems(in.RawBody, (*adCreateRequest).input)
	if err != nil {
		return nil, err
	}
	return v.once(ctx, in.account(), "ads/create", in.IdempotencyKey, in.RawBody, func(ctx context.Context, s *campaign.Service) (campaign.Answer, error) {
		results, err := s.CreateAds(ctx, in.account(), items)
		if err != nil {
			return campaign.Answer{}, err
		}
		return answerBatch(results, viewAd, adBatchItemOf), nil
	})
}

func (v *v5) updateAds(ctx context.Context, in *updateInput) (*jsonOutput, error) {
	items, err := decodeItems(in.RawBody, (*adUpdateRequest).input)
	if err != nil {
		return nil, err
	}
	results, err := v.svc.UpdateAds(ctx, in.account(), items)
	if err != nil {
		return nil, err
	}
	return outputOf(answerBatch(results, viewAd, adBatchItemOf)), nil
}

func (v *v5) getAd(ctx context.Context, in *oneAdInput) (*oneAdOutput, error) {
	id, _ := parseID[campaign.AdID](in.AdID) // 0 is not found
	a, err := v.svc.Ad(ctx, in.account(), id)
	if err != nil {
		return nil, err
	}
	return &oneAdOutput{Body: viewAd(a)}, nil
}
