package handlers

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"gavel/campaign"
	"gavel/internal/money"
)

const budgetsPath = accountsPath + "/{ad_account_id}/budgets"

type listBudgetsInput struct {
	AccountPath
	PageQuery
	CampaignID string `query:"campaign_id" pattern:"^\\d+$" maxLength:"18" doc:"Only the lines that a charge of this campaign counts against: its own and those of the ad account."`
	AdGroupID  string `query:"ad_group_id" pattern:"^\\d+$" maxLength:"18" doc:"Only the lines that a charge of this ad group counts against: its own, those of its campaign and those of the ad account. Excludes campaign_id."`
}

func (in *listBudgetsInput) filter() campaign.BudgetFilter {
	return campaign.BudgetFilter{Campaign: idFilter[campaign.CampaignID](in.CampaignID), AdGroup: idFilter[campaign.AdGroupID](in.AdGroupID)}
}

// idFilter reads an id from the query; an absent one is 0. huma has held it to digits.
func idFilter[T ~int64](text string) T {
	if text == "" {
		return 0
	}
	return idsIn[T]([]string{text})[0]
}

func (v *v5) registerBudgets() {
	op := v.operation(http.MethodGet, budgetsPath, "budgets/list", "budgets", "List budget lines and what is spent of them (Gavel's own)", managers...)
	op.Description = "An ad account, a campaign and an ad group have two budget lines each: per day of the ad account, and for their lifetime. " +
		"An impression or click is charged to all six lines above it, or not at all. A line without a limit only counts. " +
		"Days are those of the ad account's time zone; today's is shown.\n\n" +
		"A limit may be cut below what is posted and in escrow. From then on nothing more is promised (OVER_LIMIT_AFTER_CUT); what was " +
		"promised before may still be billed, the rest of it comes back as the promises end.\n\n" +
		"Amounts in micro currency are rounded down; those in nanos (1/1,000 of a micro) are exact, as strings of digits."
	register(v, op, v.listBudgets)
}

func (v *v5) listBudgets(ctx context.Context, in *listBudgetsInput) (*listOutput[budgetView], error) {
	read := func(p campaign.Page) ([]campaign.BudgetLine, error) {
		return v.svc.Budgets(ctx, in.account(), in.filter(), p)
	}
	return listPage(in.PageQuery, "budgets", read, viewBudget, func(l campaign.BudgetLine) int64 { return l.ID })
}

type budgetView struct {
	ID          string  `json:"id" doc:"Budget line id."`
	AdAccountID string  `json:"ad_account_id"`
	Scope       string  `json:"scope" enum:"AD_ACCOUNT,CAMPAIGN,AD_GROUP" doc:"What the line is of."`
	ScopeID     string  `json:"scope_id" doc:"Id of that ad account, campaign or ad group."`
	Kind        string  `json:"kind" enum:"DAILY,LIFETIME"`
	Day         *string `json:"day" format:"date" doc:"The ad account's local day that is shown; null for LIFETIME." example:"2026-11-23"`
	State       string  `json:"state" enum:"OPEN,EXHAUSTED,OVER_LIMIT_AFTER_CUT" doc:"OPEN: something is free, or there is no limit. EXHAUSTED: nothing is free; what is in escrow may come back. OVER_LIMIT_AFTER_CUT: posted and escrow are above a limit that was cut."`
	Limit       *int64  `json:"limit_in_micro_currency" doc:"Null for a line without a limit."`
	LimitNanos  *string `json:"limit_nanos" pattern:"^\\d+$" doc:"The same, exact."`
	Posted      int64   `json:"posted_in_micro_currency" doc:"Spent: billed impressions and clicks."`
	PostedNanos string  `json:"posted_nanos" pattern:"^\\d+$" doc:"The same, exact."`
	Escrow      int64   `json:"escrow_in_micro_currency" doc:"Promised: set aside for ads that are shown or about to be, and not billed yet."`
	EscrowNanos string  `json:"escrow_nanos" pattern:"^\\d+$" doc:"The same, exact."`
	Free        *int64  `json:"free_in_micro_currency" doc:"What may still be promised; null for a line without a limit."`
	FreeNanos   *string `json:"free_nanos" pattern:"^\\d+$" doc:"The same, exact."`
	Type        string  `json:"type" enum:"budget"`
}

func viewBudget(l campaign.BudgetLine) budgetView {
	view := budgetView{
		ID: strconv.FormatInt(l.ID, 10), AdAccountID: idText(l.AdAccountID), Scope: l.Scope, ScopeID: strconv.FormatInt(l.ScopeID, 10),
		Kind: string(l.Kind), State: string(l.State()), Type: "budget",
	}
	if l.Kind == campaign.BudgetDaily {
		day := fmt.Sprintf("%04d-%02d-%02d", l.Day/10000, l.Day/100%100, l.Day%100)
		view.Day = &day
	}
	view.Posted, view.PostedNanos = shown(l.Posted)
	view.Escrow, view.EscrowNanos = shown(l.Escrow)
	if l.Limited {
		limit, limitNanos := shown(l.Limit)
		free, freeNanos := shown(l.Free())
		view.Limit, view.LimitNanos, view.Free, view.FreeNanos = &limit, &limitNanos, &free, &freeNanos
	}
	return view
}

// shown is an amount in micros, rounded down, and in nanos.
func shown(n money.Nanos) (micros int64, nanos string) {
	return int64(n.MicrosFloor()), strconv.FormatInt(int64(n), 10)
}
