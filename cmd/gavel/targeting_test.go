package main

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
)

// fate is what the explanation of a page says of an ad: "" if it says nothing.
func (p *program) fate(t *testing.T, body, adID string) string {
	t.Helper()
	explained := p.ask(t, body).Explain
	require.NotNil(t, explained)
	for _, c := range explained.Considered {
		if c.AdID == adID {
			return c.ReasonName
		}
	}
	return ""
}

// untilFate asks until an ad has met its fate.
func (p *program) untilFate(t *testing.T, body, adID, want string) {
	t.Helper()
	var got string
	require.Eventually(t, func() bool {
		got = p.fate(t, body, adID)
		return got == want
	}, 15*time.Second, 20*time.Millisecond, "want %s", want)
}

// manage sends a request as the operator and returns what has been created or changed.
func (p *program) manage(t *testing.T, method, path string, body any) string {
	t.Helper()
	text, err := json.Marshal(body)
	require.NoError(t, err)
	a := do(t, method, p.AdsURL+path, p.OperatorKey, string(text))
	require.Equal(t, http.StatusOK, a.status, string(a.body))
	var answer struct {
		ID string `json:"id"`
		created
	}
	require.NoError(t, json.Unmarshal(a.body, &answer))
	if len(answer.Items) == 1 {
		require.NotEmpty(t, answer.Items[0].Data.ID, string(a.body))
		return answer.Items[0].Data.ID
	}
	return answer.ID
}

// advert creates an account in a zone with one ad that outbids the demo, and returns the paths of its ad groups and the ids.
func (p *program) advert(t *testing.T, zone string, adGroup map[string]any) (adGroups, groupID, adID string) {
	t.Helper()
	account := p.manage(t, http.MethodPost, "/v5/ad_accounts", map[string]any{"name": "a", "country": "US", "currency": "USD", "time_zone": zone})
	base := "/v5/ad_accounts/" + account
	campaignID := p.manage(t, http.MethodPost, base+"/campaigns", []any{map[string]any{"name": "c", "objective_type": "AWARENESS"}})
	for name, v := range map[string]any{
		"campaign_id": campaignID, "name": "g", "billable_event": "IMPRESSION", "bid_in_micro_currency": 90_000_000, "budget_in_micro_currency": 50_000_000,
	} {
		adGroup[name] = v
	}
	groupID = p.manage(t, http.MethodPost, base+"/ad_groups", []any{adGroup})
	adID = p.manage(t, http.MethodPost, base+"/ads", []any{map[string]any{"ad_group_id": groupID, "creative_type": "REGULAR", "destination_url": "https://x.example/"}})
	return base + "/ad_groups", groupID, adID
}

// unhurriedZone is a zone in which the hour has at least 15 minutes left, and its hour of the week now: 0 is Monday 0:00.
func unhurriedZone(t *testing.T) (name string, hour int) {
	t.Helper()
	for _, name := range []string{"Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu"} { // 30 and 45 minutes apart
		zone, err := time.LoadLocation(name)
		require.NoError(t, err)
		if now := time.Now().In(zone); now.Minute() < 45 {
			return name, campaign.HourOfWeek(now, zone)
		}
	}
	t.Fatal("no zone")
	return "", 0
}

// hoursOfTheWeek is an ad_schedule of one hour, or of all others.
func hoursOfTheWeek(hour int, others bool) []any {
	days := []string{"MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"}
	entry := func(day, first, end int) any {
		return map[string]any{"day_of_week": days[day], "start_hour": first, "end_hour": end}
	}
	if !others {
		return []any{entry(hour/24, hour%24, hour%24+1)}
	}
	var list []any
	for day := range days {
		first := 0
		if day == hour/24 {
			if first = hour%24 + 1; hour%24 > 0 {
				list = append(list, entry(day, 0, hour%24))
			}
		}
		if first < 24 {
			list = append(list, entry(day, first, 24))
		}
	}
	return list
}

// TestAnAdGroupServesInItsHoursOfTheWeek: through the API, in the zone of the account, without waiting for an hour to pass.
func TestAnAdGroupServesInItsHoursOfTheWeek(t *testing.T) {
	t.Parallel()
	p := startDev(t)
	zone, hour := unhurriedZone(t)
	const request = `{"placement":"BROWSE","slots":[{"id":"s","position":1}],"user":{"country":"US"},"explain":true}`
	adGroups, groupID, adID := p.advert(t, zone, map[string]any{"ad_schedule": hoursOfTheWeek(hour, false)})
	p.untilFate(t, request, adID, "WON")
	change := func(schedule any) {
		p.manage(t, http.MethodPatch, adGroups, []any{map[string]any{"id": groupID, "ad_schedule": schedule}})
	}
	change(hoursOfTheWeek(hour, true))
	p.untilFate(t, request, adID, "SCHEDULE")
	change(nil)
	p.untilFate(t, request, adID, "WON")
	change(hoursOfTheWeek((hour+1)%campaign.HoursInWeek, false))
	p.untilFate(t, request, adID, "SCHEDULE")

	_, _, elsewhere := p.advert(t, "Pacific/Auckland", map[string]any{"ad_schedule": hoursOfTheWeek(hour, false)})
	p.untilFate(t, request, elsewhere, "SCHEDULE")
}
