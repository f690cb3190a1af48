package campaign

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/internal/fault"
	"gavel/internal/money"
)

const testAccount AdAccountID = 7

// anyTargeting accepts every object, as it is, but one that says "bad".
func anyTargeting(raw json.RawMessage) (json.RawMessage, []fault.Field) {
	if strings.Contains(string(raw), "bad") {
		return nil, []fault.Field{{Name: "GENDER[0]", Message: "is not a gender"}}
	}
	return raw, nil
}

func at(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }

// names are the fields that problems name, in order.
func names(problems []fault.Field) []string {
	out := []string{}
	for _, p := range problems {
		out = append(out, p.Name)
	}
	return out
}

func TestCampaignRulesNameTheField(t *testing.T) {
	t.Parallel()
	valid := func() CampaignInput {
		return CampaignInput{Name: Some("Autumn"), Objective: Some(Awareness)}
	}
	for name, c := range map[string]struct {
		change func(*CampaignInput)
		want   []string
	}{
		"valid":                {func(*CampaignInput) {}, []string{}},
		"empty":                {func(in *CampaignInput) { *in = CampaignInput{} }, []string{"name", "objective_type"}},
		"null name":            {func(in *CampaignInput) { in.Name = Null[string]() }, []string{"name"}},
		"blank name":           {func(in *CampaignInput) { in.Name = Some(" \t") }, []string{"name"}},
		"longest name":         {func(in *CampaignInput) { in.Name = Some(strings.Repeat("é", 255)) }, []string{}},
		"long name":            {func(in *CampaignInput) { in.Name = Some(strings.Repeat("é", 256)) }, []string{"name"}},
		"NUL in name":          {func(in *CampaignInput) { in.Name = Some("a\x00b") }, []string{"name"}},
		"draft":                {func(in *CampaignInput) { in.Status = Some[Status]("DRAFT") }, []string{"status"}},
		"deprecated objective": {func(in *CampaignInput) { in.Objective = Some[Objective]("VIDEO_VIEW") }, []string{"objective_type"}},
		"other account":        {func(in *CampaignInput) { in.AdAccountID = Some(testAccount + 1) }, []string{"ad_account_id"}},
		"own account":          {func(in *CampaignInput) { in.AdAccountID = Some(testAccount) }, []string{}},
		"both caps": {func(in *CampaignInput) {
			in.DailySpendCap, in.LifetimeSpendCap = Some[money.Micros](1), Some[money.Micros](1)
		}, []string{"lifetime_spend_cap"}},
		"zero cap":                 {func(in *CampaignInput) { in.DailySpendCap = Some[money.Micros](0) }, []string{"daily_spend_cap"}},
		"negative cap":             {func(in *CampaignInput) { in.LifetimeSpendCap = Some[money.Micros](-5) }, []string{"lifetime_spend_cap"}},
		"largest cap":              {func(in *CampaignInput) { in.DailySpendCap = Some(MaxAmountMicros) }, []string{}},
		"cap too large":            {func(in *CampaignInput) { in.DailySpendCap = Some(MaxAmountMicros + 1) }, []string{"daily_spend_cap"}},
		"optimization without cap": {func(in *CampaignInput) { in.BudgetOptimization = Some(true) }, []string{"daily_spend_cap"}},
		"optimization with cap":    {func(in *CampaignInput) { in.BudgetOptimization, in.DailySpendCap = Some(true), Some[money.Micros](1) }, []string{}},
		"end at start":             {func(in *CampaignInput) { in.StartTime, in.EndTime = Some(at(100)), Some(at(100)) }, []string{"end_time"}},
		"time before 1970":         {func(in *CampaignInput) { in.StartTime = Some(at(0)) }, []string{"start_time"}},
		"milliseconds instead":     {func(in *CampaignInput) { in.EndTime = Some(at(1_700_000_000_000)) }, []string{"end_time"}},
		"several at once, all are told": {func(in *CampaignInput) {
			in.Name, in.Status, in.DailySpendCap = Some(""), Some[Status]("x"), Some[money.Micros](0)
		}, []string{"name", "status", "daily_spend_cap"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := valid()
			c.change(&in)
			got, problems := newCampaign(testAccount, in)
			require.Equal(t, c.want, names(problems))
			require.Equal(t, testAccount, got.AdAccountID)
		})
	}
}

func TestCampaignChanges(t *testing.T) {
	t.Parallel()
	stored := Campaign{ID: 1, AdAccountID: testAccount, Name: "a", Status: Active, Objective: Awareness, DailySpendCap: 5, StartTime: at(10), EndTime: at(20)}

	same, problems := changedCampaign(stored, CampaignInput{})
	require.Empty(t, problems)
	require.Equal(t, stored, same, "what is not given stays")

	switched, problems := changedCampaign(stored, CampaignInput{DailySpendCap: Null[money.Micros](), LifetimeSpendCap: Some[money.Micros](9), EndTime: Null[time.Time]()})
	require.Empty(t, problems)
	require.Zero(t, switched.DailySpendCap)
	require.Equal(t, money.Micros(9), switched.LifetimeSpendCap)
	require.True(t, switched.EndTime.IsZero())

	_, problems = changedCampaign(stored, CampaignInput{Objective: Some(Consideration), BudgetOptimization: Some(true), StartTime: Some(at(30))})
	require.Equal(t, []string{"objective_type", "is_campaign_budget_optimization", "end_time"}, names(problems))

	_, problems = changedCampaign(stored, CampaignInput{Objective: Some(Awareness), BudgetOptimization: Null[bool]()})
	require.Empty(t, problems, "repeating what is fixed is no change")
}

func TestAdGroupRulesNameTheField(t *testing.T) {
	t.Parallel()
	plain := &Campaign{ID: 3, AdAccountID: testAccount, StartTime: at(1_000), EndTime: at(9_000)}
	cbo := &Campaign{ID: 4, AdAccountID: testAccount, BudgetOptimization: true, DailySpendCap: 10}
	valid := func() AdGroupInput {
		return AdGroupInput{
			CampaignID: Some[CampaignID](3), Name: Some("g"), BillableEvent: Some(BillImpression),
			Bid: Some[money.Micros](2_000_000), Budget: Some[money.Micros](5_000_000),
		}
	}
	noBudget := func(in *AdGroupInput) { in.Budget = Opt[money.Micros]{} }
	for name, c := range map[string]struct {
		parent *Campaign
		change func(*AdGroupInput)
		want   []string
	}{
		"valid":                {plain, func(*AdGroupInput) {}, []string{}},
		"empty":                {nil, func(in *AdGroupInput) { *in = AdGroupInput{} }, []string{"campaign_id", "name", "billable_event", "bid_in_micro_currency", "budget_in_micro_currency"}},
		"no such campaign":     {nil, func(*AdGroupInput) {}, []string{"campaign_id"}},
		"zero bid":             {plain, func(in *AdGroupInput) { in.Bid = Some[money.Micros](0) }, []string{"bid_in_micro_currency"}},
		"null bid":             {plain, func(in *AdGroupInput) { in.Bid = Null[money.Micros]() }, []string{"bid_in_micro_currency"}},
		"bid too large":        {plain, func(in *AdGroupInput) { in.Bid = Some(MaxBidMicros + 1) }, []string{"bid_in_micro_currency"}},
		"video":                {plain, func(in *AdGroupInput) { in.BillableEvent = Some(billVideo) }, []string{"billable_event"}},
		"no budget":            {plain, noBudget, []string{"budget_in_micro_currency"}},
		"zero budget":          {plain, func(in *AdGroupInput) { in.Budget = Some[money.Micros](0) }, []string{"budget_in_micro_currency"}},
		"lifetime without end": {plain, func(in *AdGroupInput) { in.BudgetType = Some(LifetimeBudget) }, []string{"end_time"}},
		"lifetime with end":    {plain, func(in *AdGroupInput) { in.BudgetType, in.EndTime = Some(LifetimeBudget), Some(at(8_000)) }, []string{}},
		"budget type unknown":  {plain, func(in *AdGroupInput) { in.BudgetType = Some[BudgetType]("WEEKLY") }, []string{"budget_type"}},
		"cbo without cbo":      {plain, func(in *AdGroupInput) { noBudget(in); in.BudgetType = Some(CBOBudget) }, []string{"budget_type"}},
		"cbo by default":       {cbo, noBudget, []string{}},
		"cbo with budget":      {cbo, func(*AdGroupInput) {}, []string{"budget_in_micro_currency"}},
		"cbo, but daily":       {cbo, func(in *AdGroupInput) { in.BudgetType = Some(DailyBudget) }, []string{"budget_type"}},
		"cbo accelerated":      {cbo, func(in *AdGroupInput) { noBudget(in); in.Pacing = Some(Accelerated) }, []string{"pacing_delivery_type"}},
		"pacing":               {plain, func(in *AdGroupInput) { in.Pacing = Some[PacingDeliveryType]("FAST") }, []string{"pacing_delivery_type"}},
		"placement":            {plain, func(in *AdGroupInput) { in.PlacementGroup = Some[PlacementGroup]("FEED") }, []string{"placement_group"}},
		"starts early":         {plain, func(in *AdGroupInput) { in.StartTime = Some(at(999)) }, []string{"start_time"}},
		"ends late":            {plain, func(in *AdGroupInput) { in.EndTime = Some(at(9_001)) }, []string{"end_time"}},
		"cap without end":      {plain, func(in *AdGroupInput) { in.FrequencyCap = Some[int64](3) }, []string{"end_time"}},
		"cap with end":         {plain, func(in *AdGroupInput) { in.FrequencyCap, in.EndTime = Some[int64](3), Some(at(8_000)) }, []string{}},
		"cap of clicks": {plain, func(in *AdGroupInput) {
			in.FrequencyCap, in.EndTime, in.BillableEvent = Some[int64](3), Some(at(8_000)), Some(BillClickthrough)
		}, []string{"lifetime_frequency_cap"}},
		"cap of zero":           {plain, func(in *AdGroupInput) { in.FrequencyCap = Some[int64](0) }, []string{"lifetime_frequency_cap"}},
		"cap beyond an integer": {plain, func(in *AdGroupInput) { in.FrequencyCap = Some[int64](1 << 40) }, []string{"lifetime_frequency_cap"}},
		"targeting":             {plain, func(in *AdGroupInput) { in.TargetingSpec = Some(json.RawMessage(`{"GENDER":["bad"]}`)) }, []string{"targeting_spec.GENDER[0]"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := valid()
			c.change(&in)
			_, problems := newAdGroup(testAccount, c.parent, in, anyTargeting)
			require.Equal(t, c.want, names(problems))
		})
	}
}

func TestAdGroupChanges(t *testing.T) {
	t.Parallel()
	parent := &Campaign{ID: 3, AdAccountID: testAccount, EndTime: at(50)}
	stored := AdGroup{
		BidStrategy: MaxBid,
		ID:          9, AdAccountID: testAccount, CampaignID: 3, Name: "g", Status: Active, BillableEvent: BillImpression, Bid: 1, BudgetType: LifetimeBudget,
		Budget: 5, Pacing: Standard, PlacementGroup: PlacementAll, TargetingSpec: json.RawMessage(`{"GENDER":["male"]}`), FrequencyCap: 2, EndTime: at(100),
	}
	same, problems := changedAdGroup(stored, parent, AdGroupInput{}, anyTargeting)
	require.Empty(t, problems, "a campaign that was narrowed later does not forbid to touch the ad group")
	require.Equal(t, stored, same)

	cleared, problems := changedAdGroup(stored, parent, AdGroupInput{FrequencyCap: Null[int64](), TargetingSpec: Null[json.RawMessage]()}, anyTargeting)
	require.Empty(t, problems)
	require.Zero(t, cleared.FrequencyCap)
	require.JSONEq(t, `{}`, string(cleared.TargetingSpec))

	_, problems = changedAdGroup(stored, parent, AdGroupInput{
		EndTime: Null[time.Time](), Budget: Null[money.Micros](), BudgetType: Some(DailyBudget), BillableEvent: Some(BillClickthrough), CampaignID: Some[CampaignID](8),
	}, anyTargeting)
	require.ElementsMatch(t, []string{"campaign_id", "billable_event", "budget_type", "budget_in_micro_currency", "end_time", "end_time"}, names(problems))
}

func TestAdRulesNameTheField(t *testing.T) {
	t.Parallel()
	parent := &AdGroup{ID: 5, CampaignID: 3, AdAccountID: testAccount}
	valid := func() AdInput {
		return AdInput{AdGroupID: Some[AdGroupID](5), CreativeType: Some(CreativeRegular), DestinationURL: Some("https://shop.example/a?b=c")}
	}
	for name, c := range map[string]struct {
		parent *AdGroup
		change func(*AdInput)
		want   []string
	}{
		"valid":             {parent, func(*AdInput) {}, []string{}},
		"empty":             {nil, func(in *AdInput) { *in = AdInput{} }, []string{"ad_group_id", "creative_type", "destination_url"}},
		"no such ad group":  {nil, func(*AdInput) {}, []string{"ad_group_id"}},
		"null name":         {parent, func(in *AdInput) { in.Name = Null[string]() }, []string{}},
		"empty name":        {parent, func(in *AdInput) { in.Name = Some("") }, []string{"name"}},
		"quiz":              {parent, func(in *AdInput) { in.CreativeType = Some("QUIZ") }, []string{"creative_type"}},
		"long title":        {parent, func(in *AdInput) { in.Title = Some(strings.Repeat("x", 101)) }, []string{"title"}},
		"long description":  {parent, func(in *AdInput) { in.Description = Some(strings.Repeat("x", 801)) }, []string{"description"}},
		"null image":        {parent, func(in *AdInput) { in.ImageURL = Null[string]() }, []string{}},
		"relative image":    {parent, func(in *AdInput) { in.ImageURL = Some("/a.png") }, []string{"image_url"}},
		"null destination":  {parent, func(in *AdInput) { in.DestinationURL = Null[string]() }, []string{"destination_url"}},
		"empty destination": {parent, func(in *AdInput) { in.DestinationURL = Some("") }, []string{"destination_url"}},
		"script":            {parent, func(in *AdInput) { in.DestinationURL = Some("javascript:alert(1)") }, []string{"destination_url"}},
		"data":              {parent, func(in *AdInput) { in.DestinationURL = Some("data:text/html,x") }, []string{"destination_url"}},
		"no scheme":         {parent, func(in *AdInput) { in.DestinationURL = Some("//shop.example/") }, []string{"destination_url"}},
		"no host":           {parent, func(in *AdInput) { in.DestinationURL = Some("https:///a") }, []string{"destination_url"}},
		"port alone":        {parent, func(in *AdInput) { in.DestinationURL = Some("https://:80/a") }, []string{"destination_url"}},
		"user":              {parent, func(in *AdInput) { in.DestinationURL = Some("https://shop.example@evil.example/") }, []string{"destination_url"}},
		"header injection":  {parent, func(in *AdInput) { in.DestinationURL = Some("https://shop.example/\r\nSet-Cookie: a=b") }, []string{"destination_url"}},
		"space":             {parent, func(in *AdInput) { in.DestinationURL = Some("https://shop.example/a b") }, []string{"destination_url"}},
		"not ASCII":         {parent, func(in *AdInput) { in.DestinationURL = Some("https://shop.example/é") }, []string{"destination_url"}},
		"opaque":            {parent, func(in *AdInput) { in.DestinationURL = Some("https:shop.example") }, []string{"destination_url"}},
		"long":              {parent, func(in *AdInput) { in.DestinationURL = Some("https://shop.example/" + strings.Repeat("a", 2048)) }, []string{"destination_url"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := valid()
			c.change(&in)
			_, problems := newAd(testAccount, c.parent, in)
			require.Equal(t, c.want, names(problems))
		})
	}
}

func TestAdAccountKeywordAudienceRules(t *testing.T) {
	t.Parallel()
	_, problems := newAdAccount(AdAccountInput{})
	require.Equal(t, []string{"name", "country", "currency"}, names(problems))
	_, problems = newAdAccount(AdAccountInput{Name: Some("a"), Country: Some("ZZ"), Currency: Some("UNK"), TimeZone: Some("Local")})
	require.Equal(t, []string{"country", "currency", "time_zone"}, names(problems))
	_, problems = newAdAccount(AdAccountInput{Name: Some("a"), Country: Some("DE FR"), Currency: Some("EUR USD"), TimeZone: Some("../etc/passwd")})
	require.Equal(t, []string{"country", "currency", "time_zone"}, names(problems))
	a, problems := newAdAccount(AdAccountInput{Name: Some("a"), Country: Some("DE"), Currency: Some("EUR"), TimeZone: Some("Europe/Berlin")})
	require.Empty(t, problems)
	require.Equal(t, "Europe/Berlin", a.TimeZone)

	k, problems := newKeyword(testAccount, 5, KeywordInput{MatchType: Some(MatchBroad), Value: Some("  red shoes ")}, anyKeyword)
	require.Empty(t, problems)
	require.Equal(t, "red shoes", k.Value)
	_, problems = newKeyword(testAccount, 5, KeywordInput{MatchType: Some[MatchType]("FUZZY"), Value: Some(strings.Repeat("x", 121))}, anyKeyword)
	require.Equal(t, []string{"match_type", "value"}, names(problems))

	_, problems = newAudience(testAccount, AudienceInput{Name: Some("a"), Type: Some("ACTALIKE")})
	require.Equal(t, []string{"audience_type"}, names(problems))

	hashes, problems := AudienceUsersInput{Operation: Some(AddUsers), UserIDs: Some([]string{"u2", "u1", "u2"})}.hashes()
	require.Empty(t, problems)
	require.ElementsMatch(t, []int64{UserHash("u1"), UserHash("u2")}, hashes)
	_, problems = AudienceUsersInput{Operation: Some("SET"), UserIDs: Some([]string{"", strings.Repeat("x", 129)})}.hashes()
	require.Equal(t, []string{"operation_type", "user_ids[0]", "user_ids[1]"}, names(problems))
	_, problems = AudienceUsersInput{Operation: Some(AddUsers), UserIDs: Some(make([]string, MaxAudienceUsers+1))}.hashes()
	require.Equal(t, []string{"user_ids"}, names(problems))
}

func TestAdAccountSpendLimit(t *testing.T) {
	t.Parallel()
	stored := AdAccount{ID: testAccount, Name: "a", Country: "DE", Currency: "EUR", TimeZone: "UTC", DailySpendCap: 5}
	for name, c := range map[string]struct {
		in              AdAccountUpdate
		want            []string
		daily, lifetime money.Micros
	}{
		"nothing":          {AdAccountUpdate{}, []string{}, 5, 0},
		"both":             {AdAccountUpdate{DailySpendCap: Some[money.Micros](7), LifetimeSpendCap: Some[money.Micros](3)}, []string{}, 7, 3},
		"the other stays":  {AdAccountUpdate{LifetimeSpendCap: Some(MaxAmountMicros)}, []string{}, 5, MaxAmountMicros},
		"null removes":     {AdAccountUpdate{DailySpendCap: Null[money.Micros](), LifetimeSpendCap: Null[money.Micros]()}, []string{}, 0, 0},
		"zero is no limit": {AdAccountUpdate{DailySpendCap: Some[money.Micros](0)}, []string{"daily_spend_cap"}, 0, 0},
		"every problem": {
			AdAccountUpdate{DailySpendCap: Some[money.Micros](-1), LifetimeSpendCap: Some(MaxAmountMicros + 1)},
			[]string{"daily_spend_cap", "lifetime_spend_cap"},
			-1, MaxAmountMicros + 1,
		},
	} {
		got, problems := changedAdAccount(stored, c.in)
		require.Equal(t, c.want, names(problems), name)
		want := stored
		want.DailySpendCap, want.LifetimeSpendCap = c.daily, c.lifetime
		require.Equal(t, want, got, name)
	}
}

func TestTheStateOfABudgetLine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		line BudgetLine
		want BudgetState
		free money.Nanos
	}{
		"untouched":              {BudgetLine{Limited: true, Limit: 10}, BudgetOpen, 10},
		"one nano left":          {BudgetLine{Limited: true, Limit: 10, Posted: 5, Escrow: 4}, BudgetOpen, 1},
		"spent":                  {BudgetLine{Limited: true, Limit: 10, Posted: 10}, BudgetExhausted, 0},
		"promised":               {BudgetLine{Limited: true, Limit: 10, Escrow: 10}, BudgetExhausted, 0},
		"one nano past a cut":    {BudgetLine{Limited: true, Limit: 10, Posted: 6, Escrow: 5}, BudgetOverLimit, 0},
		"no limit":               {BudgetLine{Posted: 10}, BudgetOpen, 0},
		"largest limit, all out": {BudgetLine{Limited: true, Limit: 1000 * money.Nanos(MaxAmountMicros), Posted: 1000 * money.Nanos(MaxAmountMicros)}, BudgetExhausted, 0},
	} {
		require.Equal(t, c.want, c.line.State(), name)
		require.Equal(t, c.free, c.line.Free(), name)
	}
}

func TestBudgetLinesFollowTheBudgetType(t *testing.T) {
	t.Parallel()
	g := AdGroup{ID: 1, AdAccountID: testAccount, BudgetType: DailyBudget, Budget: 5}
	limits := func(lines []Budget) [2]money.Micros {
		return [2]money.Micros{lines[0].LimitMicros, lines[1].LimitMicros}
	}
	require.Equal(t, [2]money.Micros{5, 0}, limits(g.budgets()))
	g.BudgetType = LifetimeBudget
	require.Equal(t, [2]money.Micros{0, 5}, limits(g.budgets()))
	g.BudgetType, g.Budget = CBOBudget, 0
	require.Equal(t, [2]money.Micros{0, 0}, limits(g.budgets()))

	before := Campaign{DailySpendCap: 5}
	require.Empty(t, changedBudgets(before.budgets(), before.budgets()))
	changed := changedBudgets(before.budgets(), Campaign{LifetimeSpendCap: 5}.budgets())
	require.Equal(t, [2]money.Micros{0, 5}, limits(changed))
	require.Equal(t, [2]money.Micros{5, 7}, limits(AdAccount{DailySpendCap: 5, LifetimeSpendCap: 7}.budgets()))
}

func TestTheDecodersProblemHidesTheRulesOfTheSameField(t *testing.T) {
	t.Parallel()
	decoded := []fault.Field{{Name: "bid", Message: "must be an integer"}, {Name: "spec.GENDER[0]", Message: "x"}}
	rules := []fault.Field{{Name: "bid", Message: "is required"}, {Name: "bidder", Message: "is required"}, {Name: "spec", Message: "y"}}
	require.Equal(t, []string{"bid", "spec.GENDER[0]", "bidder"}, names(invalid(decoded, rules).Fields))
	require.Nil(t, invalid(nil, nil))
}

func anyKeyword(Keyword) error { return nil }

func TestAKeywordThatCannotMatchIsRefused(t *testing.T) {
	t.Parallel()
	_, problems := newKeyword(testAccount, 5, KeywordInput{MatchType: Some(MatchBroad), Value: Some("?!")},
		func(Keyword) error { return errors.New("has no letter and no number") })
	require.Equal(t, []string{"value"}, names(problems))
}
