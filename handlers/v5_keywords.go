package handlers

import (
	"context"
	"net/http"
	"reflect"
	"slices"

	"gavel/campaign"
	"gavel/internal/fault"
)

const keywordsPath = accountsPath + "/{ad_account_id}/keywords"

type listKeywordsInput struct {
	AccountPath
	PageQuery
	AdGroupID  string   `query:"ad_group_id" pattern:"^\\d+$" maxLength:"18" doc:"Ad group id."`
	AdGroupIDs []string `query:"ad_group_ids,explode" maxItems:"250" pattern:"^\\d+$" maxLength:"18" doc:"Ad group ids."`
	MatchTypes []string `query:"match_types,explode" maxItems:"5" enum:"BROAD,PHRASE,EXACT,EXACT_NEGATIVE,PHRASE_NEGATIVE" doc:"Match types."`
}

// keywordsAnswer is what became of the keywords of a request.
type keywordsAnswer struct {
	Keywords []keywordView  `json:"keywords" nullable:"false" doc:"Those that the ad group has now."`
	Errors   []keywordError `json:"errors" nullable:"false"`
}

type keywordError struct {
	Data     refusedKeyword `json:"data"`
	Messages []string       `json:"error_messages" nullable:"false"`
	Details  []fieldDetail  `json:"details" nullable:"false" doc:"Gavel's own. Every problem by field."`
}

// refusedKeyword is what was given, as far as it was understood.
type refusedKeyword struct {
	MatchType *string `json:"match_type" doc:"Null for what is no match type."`
	Value     string  `json:"value"`
	Type      string  `json:"type" enum:"keyword"`
}

func viewRefused(in campaign.KeywordInput) refusedKeyword {
	k := refusedKeyword{Value: in.Value.Value, Type: "keyword"}
	if m := in.MatchType.Value; m.Valid() {
		text := string(m)
		k.MatchType = &text
	}
	return k
}

func (v *v5) registerKeywords() {
	const tag = "keywords"
	register(v, v.operation(http.MethodGet, keywordsPath, "keywords/get", tag, "List keywords", managers...), v.listKeywords)
	register(v, v.operation(http.MethodPost, keywordsPath, "keywords/create", tag, "Create keywords", managers...), v.createKeywords)
	v.describeBody(http.MethodPost, keywordsPath, v.schema(reflect.TypeFor[keywordsRequest]()), "Keywords of one ad group.",
		reflect.TypeFor[keywordsAnswer](), reflect.TypeFor[errorBody]())
}

func (v *v5) listKeywords(ctx context.Context, in *listKeywordsInput) (*listOutput[keywordView], error) {
	groups := in.AdGroupIDs
	if in.AdGroupID != "" {
		groups = append(slices.Clone(groups), in.AdGroupID)
	}
	filter := campaign.KeywordFilter{AdGroups: idsIn[campaign.AdGroupID](groups)}
	for _, m := range in.MatchTypes {
		filter.MatchTypes = append(filter.MatchTypes, campaign.MatchType(m))
	}
	read := func(p campaign.Page) ([]campaign.AdGroupKeyword, error) {
		return v.svc.Keywords(ctx, in.account(), filter, p)
	}
	return listPage(in.PageQuery, "keywords", read, viewKeyword, func(k campaign.AdGroupKeyword) int64 { return int64(k.ID) })
}

func (v *v5) createKeywords(ctx context.Context, in *createInput) (*jsonOutput, error) {
	parent, items, found := decodeKeywords(in.RawBody)
	return v.once(ctx, in.account(), "keywords/create", in.IdempotencyKey, in.RawBody, func(ctx context.Context, s *campaign.Service) (campaign.Answer, error) {
		results, err := s.CreateKeywords(ctx, in.account(), parent, found, items)
		if err != nil {
			return campaign.Answer{}, err
		}
		return answerKeywords(items, results)
	})
}

// answerKeywords is 200 when any keyword was written, and an error with every problem when none was.
func answerKeywords(items []campaign.Item[campaign.KeywordInput], results []campaign.Result[campaign.AdGroupKeyword]) (campaign.Answer, error) {
	answer := keywordsAnswer{Keywords: []keywordView{}, Errors: []keywordError{}}
	var all fault.Fields
	for i, r := range results {
		if r.Err == nil {
			answer.Keywords = append(answer.Keywords, viewKeyword(r.Value))
			continue
		}
		e := keywordError{Data: viewRefused(items[i].Input), Messages: []string{}, Details: []fieldDetail{}}
		for _, f := range r.Err.Fields {
			name := fault.Join(fault.Index("keywords", i), f.Name)
			e.Messages = append(e.Messages, problemText(f))
			e.Details = append(e.Details, fieldDetail{Field: name, Message: f.Message})
			all.Add(name, f.Message)
		}
		answer.Errors = append(answer.Errors, e)
	}
	if len(answer.Keywords) == 0 {
		return campaign.Answer{}, all.Err("nothing was written: every keyword has problems")
	}
	return campaign.Answer{Status: http.StatusOK, Body: encode(answer)}, nil
}
