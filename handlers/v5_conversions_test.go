package handlers

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/event"
	"gavel/internal/money"
)

const conversionsRoute = "/v5/ad_accounts/{account}/events"

// aHash is the SHA-256 of a user's id.
const aHash = "6a7a73766627eb611720883d5a11cc62b5bfee237b00a6658d78c50032ec4aee"

// conversionJSON is a valid event with fields that replace its own; "" takes one away.
func conversionJSON(changes ...string) string {
	fields := map[string]string{
		"event_name": `"checkout"`, "action_source": `"web"`, "event_id": `"e1"`, "event_time": fmt.Sprint(time.Now().Unix()), "user_data": `{"external_id":["` + aHash + `"]}`,
	}
	for i := 0; i < len(changes); i += 2 {
		if fields[changes[i]] = changes[i+1]; changes[i+1] == "" {
			delete(fields, changes[i])
		}
	}
	parts := make([]string, 0, len(fields))
	for name, value := range fields {
		parts = append(parts, `"`+name+`":`+value)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func report(events ...string) string { return `{"data":[` + strings.Join(events, ",") + `]}` }

// TestConversionsAreAnsweredOneByOne: in their order, the bad ones with every reason, the good ones recorded all the same.
func TestConversionsAreAnsweredOneByOne(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	body := report(
		conversionJSON("custom_data", `{"value":"72.39","num_items":2,"currency":"USD","contents":[{"id":"x"}]}`),
		conversionJSON("event_id", `"e2"`, "event_name", `"buy"`),
		conversionJSON("event_id", `"e3"`, "user_data", "", "event_time", `"noon"`),
		conversionJSON("event_id", `"e4"`, "user_data", `{"em":["`+aHash+`"]}`, "colour", `"red"`),
		conversionJSON("event_id", `"e5"`, "user_data", `{"external_id":["anna@example.com"]}`),
		`7`,
		conversionJSON(),
	)
	r := b.call("POST", conversionsRoute, body)
	require.Equal(t, http.StatusUnprocessableEntity, r.status, r.raw)
	b.matches("POST", conversionsRoute, r)
	var answer partialFailure
	require.NoError(t, json.Unmarshal([]byte(r.raw), &answer))
	require.Equal(t, 7, answer.Details.Received)
	require.Equal(t, 3, answer.Details.Processed)
	events := answer.Details.Events
	require.Equal(t, conversionResult{Status: "processed"}, events[0])
	require.Contains(t, events[1].Error, "event_name must be one of")
	require.Contains(t, events[2].Error, "event_time must be an integer")
	require.Contains(t, events[2].Error, "user_data is required")
	require.Equal(t, "processed", events[3].Status)
	require.Contains(t, events[3].Warning, "colour is not a known field")
	require.Contains(t, events[3].Warning, "credited to no ad")
	require.Contains(t, events[4].Error, "external_id[0] must be a SHA-256")
	require.NotContains(t, r.raw, "anna", "nothing of the user comes back")
	require.Contains(t, events[5].Error, "must be an object")
	require.Contains(t, events[6].Warning, "counts once")

	body2 := b.ok("POST", conversionsRoute, report(conversionJSON()))
	require.EqualValues(t, 1, body2["num_events_processed"])
	var rows, value int64
	require.NoError(t, b.db.QueryRowx(`SELECT count(*), sum(value_micros) FROM conversions`).Scan(&rows, &value))
	require.Equal(t, int64(2), rows)
	require.Equal(t, int64(72_390_000), value)
}

func TestATestOfConversionsRecordsNothing(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	b.ok("POST", conversionsRoute+"?test=true", report(conversionJSON()))
	r := b.call("POST", conversionsRoute+"?test=true", report(conversionJSON("event_name", `"buy"`)))
	require.Equal(t, http.StatusUnprocessableEntity, r.status, "it answers as it would")
	var rows int
	require.NoError(t, b.db.Get(&rows, `SELECT count(*) FROM conversions`))
	require.Zero(t, rows)
}

func TestAReportOfConversionsIsRefusedAsAWhole(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	for body, want := range map[string]string{
		`{"data":[]}`: "data", `{}`: "data", `{"data":null}`: "data", `{"data":{}}`: "data", `{"events":[]}`: "events",
		report(slices.Repeat([]string{"{}"}, event.MaxConversions+1)...): "data", `[`: "",
	} {
		r := b.call("POST", conversionsRoute, body)
		require.Equal(t, http.StatusBadRequest, r.status, body)
		require.Contains(t, r.fields(), want)
	}
	require.Equal(t, http.StatusForbidden, b.call("POST", "/v5/ad_accounts/"+b.other+"/events", report(conversionJSON())).status)
	require.Equal(t, http.StatusNotFound, b.call("POST", "/v5/ad_accounts/999999/events", report(conversionJSON()), "Authorization", "Bearer "+b.operator).status)
	many := make([]string, event.MaxConversions)
	for i := range many {
		many[i] = conversionJSON("event_id", fmt.Sprintf(`"m%d"`, i))
	}
	require.EqualValues(t, event.MaxConversions, b.ok("POST", conversionsRoute, report(many...))["num_events_processed"])
}

// TestAConversionIsCreditedThroughTheAPI: by the click id of the redirect, and not when the user has opted out.
func TestAConversionIsCreditedThroughTheAPI(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	id := event.NewImpressionID(time.Now())
	_, err := b.db.Exec(`INSERT INTO events (day, impression_id, kind, outcome, price_nanos, charge_nanos, free_nanos, lease_id, ad_account_id, campaign_id, ad_group_id, ad_id,
		accepted_at, node_id) VALUES (current_date, $1, 'CLICK', 'BILLED', 0, 0, 0, 1, $2, 8, 7, 6, now(), $3)`, id, b.account, uuid.New())
	require.NoError(t, err)
	user := `{"click_id":"` + event.ClickID(id) + `"}`
	b.ok("POST", conversionsRoute, report(
		conversionJSON("user_data", user), conversionJSON("event_id", `"e2"`, "user_data", user, "opt_out", "true"),
		conversionJSON("event_id", `"e3"`, "user_data", user, "custom_data", `{"opt_out_type":"LDP"}`),
	))
	var credited []string
	require.NoError(t, b.db.Select(&credited, `SELECT event_id || coalesce(' ' || ad_id, '') FROM conversions ORDER BY event_id`))
	require.Equal(t, []string{"e1 6", "e2", "e3"}, credited)
}

func TestParseDecimal(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]money.Micros{
		"0": 0, "72.39": 72_390_000, "0.000001": 1, "1.0000019": 1_000_001, "999999999999.999999": 999_999_999_999_999_999, "007": 7_000_000, "1.5": 1_500_000,
	} {
		got, ok := parseDecimal(text)
		require.True(t, ok, text)
		require.Equal(t, want, got, text)
	}
	for _, bad := range []string{"", ".5", "5.", "-1", "+1", "1e3", "1,5", "1.2.3", "NaN", "0x1", " 1", "1234567890123", "1.0000000000000000000"} {
		_, ok := parseDecimal(bad)
		require.False(t, ok, bad)
	}
}

// FuzzConversion: whatever a text says, it is refused with a reason or is an event within the limits.
func FuzzConversion(f *testing.F) {
	f.Add([]byte(conversionJSON("custom_data", `{"value":"1.5","currency":"EUR"}`, "user_data", `{"click_id":"AZMbbgAAcACAAAAAAAAAAQ"}`)))
	f.Add([]byte(`{"user_data":{"external_id":[1]},"custom_data":[]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		now := time.Now()
		c, refused, _ := readConversion(raw, now)
		if refused == "" && (c.Problem(now) != "" || len(c.UserHashes) > maxExternalIDs || c.Value != nil && *c.Value < 0) {
			t.Fatalf("%q became %+v", raw, c)
		}
	})
}

// TestAnyMixOfConversionsAddsUp: what is answered is what is in the table.
func TestAnyMixOfConversionsAddsUp(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	recorded := map[string]bool{}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "events")
		events, good := make([]string, n), 0
		bad := make([]bool, n)
		for i := range events {
			id, name := rapid.StringMatching(`[a-c]{1,2}`).Draw(t, "id"), rapid.SampledFrom([]string{"checkout", "signup", "buy"}).Draw(t, "name")
			events[i] = conversionJSON("event_id", `"`+id+`"`, "event_name", `"`+name+`"`)
			if bad[i] = name == "buy"; !bad[i] {
				good++
				recorded[id+" "+name] = true
			}
		}
		r := b.call("POST", conversionsRoute, report(events...))
		var all struct {
			conversionsAnswer
			Details conversionsAnswer `json:"details"`
		}
		if err := json.Unmarshal([]byte(r.raw), &all); err != nil {
			t.Fatal(err)
		}
		answer := all.conversionsAnswer
		if good < n {
			answer = all.Details
		}
		if answer.Processed != good || answer.Received != n || len(answer.Events) != n || (r.status == http.StatusOK) != (good == n) {
			t.Fatalf("%d of %d: %s", good, n, r.raw)
		}
		for i, e := range answer.Events {
			if (e.Status == "failed") != bad[i] || (e.Error != "") != bad[i] {
				t.Fatalf("event %d: %s", i, r.raw)
			}
		}
		var rows int
		if err := b.db.Get(&rows, `SELECT count(*) FROM conversions`); err != nil || rows != len(recorded) {
			t.Fatalf("%d rows, want %d: %v", rows, len(recorded), err)
		}
	})
}
