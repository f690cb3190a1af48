package campaign

import (
	"time"

	"gavel/internal/fault"
)

// The creative types that Gavel carries for the feed to render: those that are one pin. The others of v5 need fields that do
// not exist here yet.
const (
	CreativeRegular  = "REGULAR"
	CreativeVideo    = "VIDEO"
	CreativeMaxVideo = "MAX_VIDEO"
	CreativeShopping = "SHOPPING"
	CreativeIdea     = "IDEA"
)

// Ad is a creative in an ad group.
type Ad struct {
	ID          AdID
	AdAccountID AdAccountID
	CampaignID  CampaignID
	AdGroupID   AdGroupID
	// Name may be empty.
	Name   string
	Status Status
	// PinID is 0 for an ad whose creative stands in this row alone.
	PinID                int64
	Creative             Creative
	CreatedAt, UpdatedAt time.Time
}

// AdInput creates or changes an ad: an absent field takes its default, or stays.
type AdInput struct {
	AdAccountID                                  Opt[AdAccountID]
	AdGroupID                                    Opt[AdGroupID]
	Name                                         Opt[string]
	Status                                       Opt[Status]
	CreativeType                                 Opt[string]
	PinID                                        Opt[int64]
	Title, Description, ImageURL, DestinationURL Opt[string]
}

// AdUpdate changes one ad. ID is 0 when the decoder could not read it.
type AdUpdate struct {
	ID AdID
	AdInput
}

// newAd builds an ad below parent, which is nil when the input names no ad group of the account.
func newAd(account AdAccountID, parent *AdGroup, in AdInput) (Ad, []fault.Field) {
	var p fault.Fields
	a := Ad{AdAccountID: account, Status: Active}
	if parent != nil {
		a.AdGroupID, a.CampaignID = parent.ID, parent.CampaignID
	} else if in.AdGroupID.Given() {
		p.Add("ad_group_id", ErrAdGroupNotFound.Message)
	}
	required(&p, "ad_group_id", in.AdGroupID)
	required(&p, "creative_type", in.CreativeType)
	required(&p, "destination_url", in.DestinationURL)
	in.apply(&p, &a, true)
	return a, p
}

func changedAd(a Ad, in AdInput) (Ad, []fault.Field) {
	var p fault.Fields
	applyFixed(&p, "ad_group_id", in.AdGroupID, &a.AdGroupID, false)
	in.apply(&p, &a, false)
	return a, p
}

func (in AdInput) apply(p *fault.Fields, a *Ad, creating bool) {
	checkOwnAccount(p, in.AdAccountID, a.AdAccountID)
	applyNullable(in.Name, &a.Name)
	apply(p, "status", in.Status, &a.Status)
	applyFixed(p, "creative_type", in.CreativeType, &a.Creative.Type, creating)
	pin := in.PinID
	if pin.Null { // the same as not given
		pin = Opt[int64]{}
	}
	applyFixed(p, "pin_id", pin, &a.PinID, creating)
	applyNullable(in.Title, &a.Creative.Title)
	applyNullable(in.Description, &a.Creative.Description)
	applyNullable(in.ImageURL, &a.Creative.ImageURL)
	apply(p, "destination_url", in.DestinationURL, &a.Creative.DestinationURL)

	if in.Name.Given() {
		checkText(p, "name", a.Name, 1, 255)
	}
	checkOneOf(p, "status", a.Status, Active, Paused, Archived)
	if in.CreativeType.Given() {
		checkOneOf(p, "creative_type", in.CreativeType.Value, CreativeRegular, CreativeVideo, CreativeMaxVideo, CreativeShopping, CreativeIdea)
	}
	checkText(p, "title", a.Creative.Title, 0, 100)
	checkText(p, "description", a.Creative.Description, 0, 800)
	if in.ImageURL.Given() && in.ImageURL.Value != "" {
		checkURL(p, "image_url", a.Creative.ImageURL)
	}
	if in.DestinationURL.Given() {
		checkURL(p, "destination_url", a.Creative.DestinationURL)
	}
}
