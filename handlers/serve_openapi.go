package handlers

import (
	"net/http"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"gavel/auction/record"
)

// What the handlers of /v1 answer, for the document only: they write it by hand.
type (
	adAnswer struct {
		RequestID string          `json:"request_id" doc:"The request's own, or a new one."`
		AuctionID string          `json:"auction_id" format:"uuid"`
		Ads       []adAnswerAd    `json:"ads"`
		NoFill    []adAnswerEmpty `json:"no_fill" doc:"The slots that stay empty."`
		Explain   *adAnswerWhy    `json:"explain,omitempty" doc:"Only if it was asked for."`
	}
	adAnswerAd struct {
		SlotID        string `json:"slot_id"`
		AdID          string `json:"ad_id" pattern:"^\\d+$"`
		AdGroupID     string `json:"ad_group_id" pattern:"^\\d+$"`
		CampaignID    string `json:"campaign_id" pattern:"^\\d+$"`
		AdAccountID   string `json:"ad_account_id" pattern:"^\\d+$"`
		Creative      any    `json:"creative" doc:"type, title, description, image_url, destination_url"`
		ImpressionURL string `json:"impression_url" doc:"GET or POST it when the ad is on the screen."`
		ViewableURL   string `json:"viewable_url" doc:"GET or POST it when the ad was viewable as the MRC defines it."`
		ClickURL      string `json:"click_url" doc:"Lead the user here on a click: it redirects to the destination."`
	}
	adAnswerEmpty struct {
		SlotID string `json:"slot_id"`
		Reason string `json:"reason" enum:"NO_ELIGIBLE_AD,AD_LOAD,INDEX_NOT_READY"`
	}
	adAnswerWhy struct {
		Model      string         `json:"model" doc:"Version of the model that predicted."`
		Rules      string         `json:"rules" doc:"Version of the auction rules."`
		UserKnown  bool           `json:"user_known"`
		NotListed  int            `json:"not_listed" doc:"How many ads more were considered than are listed."`
		Considered []adAnswerFate `json:"considered" doc:"Candidates in order of value, then the ads that did not match."`
	}
	adAnswerFate struct {
		AdID           string  `json:"ad_id"`
		AdGroupID      string  `json:"ad_group_id"`
		CampaignID     string  `json:"campaign_id"`
		BillableEvent  string  `json:"billable_event" enum:"IMPRESSION,CLICKTHROUGH"`
		BidMicros      int64   `json:"bid_micros" doc:"Per 1,000 impressions, or per click."`
		BidStrategy    string  `json:"bid_strategy,omitempty" enum:"MAX_BID,AUTOMATIC_BID,TARGET_AVG" doc:"This and what follows, up to value_nanos, of candidates only: ads that match."`
		PacePPM        int64   `json:"pace_ppm,omitempty" doc:"What the controller of the bid strategy multiplies the bid by, in millionths."`
		EffectiveBid   int64   `json:"effective_bid_nanos,omitempty" doc:"Per billable event, after all multipliers. No price is above it."`
		FloorNanos     int64   `json:"floor_nanos,omitempty" doc:"The least price per billable event."`
		PCTR           float64 `json:"pctr,omitempty" doc:"Probability of a click at the first slot."`
		PCVR           float64 `json:"pcvr,omitempty" doc:"Probability of a conversion after a click, of ads with a CPA goal."`
		RelevanceNanos float64 `json:"relevance_nanos,omitempty" doc:"What a view is worth to the feed beside the bid."`
		ValueNanos     float64 `json:"value_nanos,omitempty" doc:"What a view is worth: effective bid × probability of the billable event + relevance. Ads are ranked by it."`
		PriceNanos     *int64  `json:"price_nanos,omitempty" doc:"Of winners: the price of their billable event."`
		Price          string  `json:"price,omitempty" doc:"The same in currency units."`
		PricedBy       string  `json:"priced_by_ad_id,omitempty" doc:"Of winners: the ad without which the price would be lower. Absent when a floor set it."`
		Reason         int     `json:"reason" doc:"See docs/no-bid-reasons.md; 0 is WON."`
		ReasonName     string  `json:"reason_name"`
		Meaning        string  `json:"meaning"`
		BudgetLine     string  `json:"budget_line,omitempty" doc:"Of BUDGET_EXHAUSTED: the line with nothing left, for example CAMPAIGN DAILY."`
	}
	eventBatchAnswer struct {
		Items []eventResult `json:"items" doc:"One per event, in their order; status is accepted, expired, invalid or unavailable."`
	}
)

// DescribeV1 adds the operations of /v1 to the OpenAPI document. They are served past huma, which is for management calls.
func DescribeV1(api huma.API) {
	doc, schemas := api.OpenAPI(), api.OpenAPI().Components.Schemas
	schema := func(v any) *huma.Schema { return schemas.Schema(reflect.TypeOf(v), true, "") }
	jsonBody := func(v any) map[string]*huma.MediaType {
		return map[string]*huma.MediaType{"application/json": {Schema: schema(v)}}
	}
	refusal := func(about string) *huma.Response {
		return &huma.Response{Description: about, Content: jsonBody(errorBody{})}
	}
	token := &huma.Param{Name: "token", In: "path", Required: true, Schema: &huma.Schema{Type: "string"}}
	refused := map[string]*huma.Response{
		"400": refusal("The token does not verify."), "410": refusal("The token has expired."),
		"503": refusal("Not accepted; send it again after Retry-After seconds."),
	}
	with := func(more map[string]*huma.Response, status int, about string) map[string]*huma.Response {
		all := map[string]*huma.Response{strconv.Itoa(status): {Description: about}}
		for k, v := range more {
			all[k] = v
		}
		return all
	}
	doc.AddOperation(&huma.Operation{
		OperationID: "ads-serve", Method: http.MethodPost, Path: "/v1/ads", Tags: []string{"serving"}, Summary: "Ask for the ads of a page",
		Description: "Everything but placement and slots is optional. What is down behind the server never makes this a 5xx: at worst the answer has no ads.",
		Security:    []map[string][]string{{securityScheme: {}}},
		RequestBody: &huma.RequestBody{Required: true, Content: jsonBody(adRequest{})},
		Responses: map[string]*huma.Response{
			"200": {Description: "The page.", Content: jsonBody(adAnswer{})}, "400": refusal("Names every field that is wrong."),
			"401": refusal("No such key."), "403": refusal("The key may not do this."), "413": refusal("More than 64 KiB."),
		},
	})
	doc.AddOperation(&huma.Operation{
		OperationID: "auctions-get", Method: http.MethodGet, Path: "/v1/auctions/{" + auctionParam + "}", Tags: []string{"serving"}, Summary: "Explain an auction",
		Description: "What the auction depended on, what was decided, and what set each price. Auctions whose request asked to explain are recorded, and a share of all " +
			"others; a record is there about a second after its auction, for a day. Ids are strings of digits, amounts nanos (1/1,000,000,000 of a currency unit).",
		Security:   []map[string][]string{{securityScheme: {}}},
		Parameters: []*huma.Param{{Name: auctionParam, In: "path", Required: true, Schema: &huma.Schema{Type: "string", Format: "uuid"}}},
		Responses: map[string]*huma.Response{
			"200": {Description: "The auction.", Content: jsonBody(record.Explanation{})}, "400": refusal("Not a UUID."), "401": refusal("No such key."),
			"403": refusal("The key may not ask for explanations."), "404": refusal("The auction was not recorded, or not within the last day."),
			"503": refusal("The records cannot be read now."),
		},
	})
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		doc.AddOperation(&huma.Operation{
			OperationID: "event-" + method, Method: method, Path: "/v1/e/{token}", Tags: []string{"events"},
			Summary: "Report an impression or a viewable impression", Parameters: []*huma.Param{token},
			Responses: with(refused, http.StatusNoContent, "Accepted. A GET that asks for an image gets a 1×1 GIF with status 200."),
		})
	}
	doc.AddOperation(&huma.Operation{
		OperationID: "click", Method: http.MethodGet, Path: "/v1/c/{token}", Tags: []string{"events"},
		Summary: "Report a click and follow it", Parameters: []*huma.Param{token},
		Responses: with(refused, http.StatusFound, "To the ad's destination. An expired click leads there too and is not billed."),
	})
	doc.AddOperation(&huma.Operation{
		OperationID: "events-batch", Method: http.MethodPost, Path: "/v1/events", Tags: []string{"events"}, Summary: "Report up to 500 events",
		RequestBody: &huma.RequestBody{Required: true, Content: jsonBody(eventBatch{})},
		Responses: map[string]*huma.Response{
			"202": {Description: "One status per event.", Content: jsonBody(eventBatchAnswer{})},
			"400": refusal("Names every field that is wrong."), "413": refusal("More than 256 KiB."), "503": refusal("None was accepted."),
		},
	})
}
