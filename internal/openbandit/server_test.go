package openbandit

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/internal/money"
)

// standIn is a small server with the API that the driver uses and a "database" of its own: the faults that the checks must
// find are made here. Every impression of a CPM ad costs a thousandth of its bid.
type standIn struct {
	t      *testing.T
	server *httptest.Server
	ready  string // path of the ready file

	mu       sync.Mutex
	ids      int64
	answers  map[string]int64 // by idempotency key
	creates  int
	accounts map[int64]bool
	groups   map[int64]standInGroup
	caps     map[line]money.Nanos
	ads      []standInAd
	pages    int
	tokens   map[string]standInToken
	events   map[string]EventCount // by token
	spent    map[period]money.Nanos

	// fault may answer a request by itself, by returning true.
	fault func(w http.ResponseWriter, r *http.Request) bool
	// record says how often an accepted event is written down; nil is once.
	record func(token string) int
	// page may change what a page shows.
	page func(ads []standInAd) []standInAd
	// tally may change what the database says.
	tally func(*Tally)
	audit Verdict
}

type standInGroup struct {
	campaign, account int64
	billable          string
	bid               money.Micros
	spec              map[string][]string
}

type standInAd struct {
	id, group int64
	standInGroup
}

type standInToken struct {
	ad   standInAd
	kind kind
}

func newStandIn(t *testing.T) *standIn {
	t.Helper()
	s := &standIn{
		t: t, answers: map[string]int64{}, accounts: map[int64]bool{}, groups: map[int64]standInGroup{}, caps: map[line]money.Nanos{},
		tokens: map[string]standInToken{}, events: map[string]EventCount{}, spent: map[period]money.Nanos{},
		ready: filepath.Join(t.TempDir(), "ready.json"), audit: Verdict{Clean: true, Violations: []string{}},
	}
	s.start()
	t.Cleanup(func() { s.server.Close() })
	return s
}

// start serves on a new port and says so in the ready file.
func (s *standIn) start() {
	s.server = httptest.NewServer(http.HandlerFunc(s.serve))
	text := fmt.Sprintf(`{"ads_url":%q,"feed_key":"f","operator_key":"o","database_url":"db"}`, s.server.URL)
	require.NoError(s.t, os.WriteFile(s.ready, []byte(text), 0o600))
}

func (s *standIn) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault != nil && s.fault(w, r) {
		return
	}
	parts := strings.Split(r.URL.Path, "/")
	switch {
	case r.URL.Path == "/v1/ads":
		s.serveAds(w, r)
	case r.URL.Path == "/v1/events":
		var batch struct{ Events []struct{ Token string } }
		require.NoError(s.t, json.NewDecoder(r.Body).Decode(&batch))
		s.accept(batch.Events[0].Token)
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprint(w, `{"items":[{"status":"accepted"}]}`)
	case parts[1] == "v1" && len(parts) == 4:
		s.accept(parts[3])
		w.WriteHeader(map[string]int{"e": http.StatusNoContent, "c": http.StatusFound}[parts[2]])
	case parts[1] == "v5":
		s.create(w, r, parts)
	default:
		s.t.Errorf("unexpected request %s %s", r.Method, r.URL.Path)
	}
}

// create is POST /v5/….
func (s *standIn) create(w http.ResponseWriter, r *http.Request, parts []string) {
	require.Equal(s.t, "Bearer o", r.Header.Get("Authorization"))
	what, key := parts[len(parts)-1], r.Header.Get("Idempotency-Key")
	require.NotEmpty(s.t, key)
	scoped := r.URL.Path + key
	id, known := s.answers[scoped]
	if !known {
		s.ids++
		s.creates++
		id = s.ids
		s.answers[scoped] = id
		s.make(id, what, parts, r)
	}
	if what == "ad_accounts" {
		fmt.Fprintf(w, `{"id":"%d"}`, id)
		return
	}
	fmt.Fprintf(w, `{"items":[{"data":{"id":"%d"}}]}`, id)
}

func (s *standIn) make(id int64, what string, parts []string, r *http.Request) {
	if what == "ad_accounts" {
		s.accounts[id] = true
		return
	}
	var in []struct {
		CampaignID string              `json:"campaign_id"`
		AdGroupID  string              `json:"ad_group_id"`
		Billable   string              `json:"billable_event"`
		Bid        money.Micros        `json:"bid_in_micro_currency"`
		Type       string              `json:"budget_type"`
		Budget     money.Micros        `json:"budget_in_micro_currency"`
		Daily      money.Micros        `json:"daily_spend_cap"`
		Lifetime   money.Micros        `json:"lifetime_spend_cap"`
		Spec       map[string][]string `json:"targeting_spec"`
	}
	require.NoError(s.t, json.NewDecoder(r.Body).Decode(&in))
	number := func(text string) int64 {
		n, err := strconv.ParseInt(text, 10, 64)
		require.NoError(s.t, err)
		return n
	}
	limit := func(l line, most money.Micros) {
		if most > 0 {
			s.caps[l] = money.Nanos(most) * 1000
		}
	}
	switch what {
	case "campaigns":
		limit(line{scopeCampaign, id, daily}, in[0].Daily)
		limit(line{scopeCampaign, id, lifetime}, in[0].Lifetime)
	case "ad_groups":
		limit(line{scopeAdGroup, id, in[0].Type}, in[0].Budget)
		s.groups[id] = standInGroup{number(in[0].CampaignID), number(parts[3]), in[0].Billable, in[0].Bid, in[0].Spec}
	case "ads":
		group := number(in[0].AdGroupID)
		s.ads = append(s.ads, standInAd{id, group, s.groups[group]})
	}
}

// serveAds shows eligible ads in turns.
func (s *standIn) serveAds(w http.ResponseWriter, r *http.Request) {
	require.Equal(s.t, "Bearer f", r.Header.Get("Authorization"))
	var req pageRequest
	require.NoError(s.t, json.NewDecoder(r.Body).Decode(&req))
	var eligible []standInAd
	for i := range s.ads {
		ad := s.ads[(s.pages+i)%len(s.ads)]
		if len(eligible) < len(req.Slots) && targets(ad.spec, &req) && s.affords(ad) {
			eligible = append(eligible, ad)
		}
	}
	s.pages++
	if s.page != nil && !req.Explain {
		eligible = s.page(eligible)
	}
	out := map[string]any{"request_id": req.RequestID}
	var ads, noFill, considered []map[string]string
	for i, ad := range eligible {
		shown := map[string]string{"slot_id": req.Slots[i].ID, "ad_id": digits(ad.id), "ad_account_id": digits(ad.account)}
		for name, k := range map[string]kind{"impression_url": impression, "viewable_url": viewable, "click_url": click} {
			token := fmt.Sprintf("t%d-%d-%d", s.pages, i, k)
			s.tokens[token] = standInToken{ad, k}
			path := "/v1/e/"
			if k == click {
				path = "/v1/c/"
			}
			shown[name] = s.server.URL + path + token
		}
		ads = append(ads, shown)
	}
	for _, slot := range req.Slots[len(eligible):] {
		noFill = append(noFill, map[string]string{"slot_id": slot.ID, "reason": "NO_ELIGIBLE_AD"})
	}
	out["ads"], out["no_fill"] = ads, noFill
	if req.Explain {
		for _, ad := range s.ads {
			considered = append(considered, map[string]string{"ad_id": digits(ad.id)})
		}
		out["explain"] = map[string]any{"considered": considered}
	}
	require.NoError(s.t, json.NewEncoder(w).Encode(out))
}

const standInDay = 20261123

// affords keeps enough for what other page loads may have promised.
func (s *standIn) affords(ad standInAd) bool {
	for _, p := range ad.periods() {
		if most, limited := s.caps[p.line]; limited && s.spent[p]+100*money.Nanos(ad.bid) > most {
			return false
		}
	}
	return true
}

func (ad standInAd) periods() []period {
	return []period{
		{line{scopeCampaign, ad.campaign, daily}, standInDay},
		{line{scopeCampaign, ad.campaign, lifetime}, 0},
		{line{scopeAdGroup, ad.group, daily}, standInDay},
		{line{scopeAdGroup, ad.group, lifetime}, 0},
	}
}

// accept writes an event down.
func (s *standIn) accept(token string) {
	at, known := s.tokens[token]
	require.True(s.t, known, "an event of an ad that was not served")
	if _, twice := s.events[token]; twice {
		return
	}
	times := 1
	if s.record != nil {
		times = s.record(token)
	}
	if times == 0 {
		return
	}
	s.events[token] = EventCount{Account: at.ad.account, AdID: at.ad.id, Kind: at.kind.String(), Outcome: "BILLED", Events: times}
	if at.kind == impression && at.ad.billable == billImpression {
		for _, p := range at.ad.periods() {
			s.spent[p] += money.Nanos(at.ad.bid)
		}
	}
}

// read is the driver's view of the database.
func (s *standIn) read(_ context.Context, url string, accounts []int64) (Tally, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Equal(s.t, "db", url)
	counts := map[EventCount]int{}
	for _, e := range s.events {
		n := e.Events
		e.Events = 0
		if len(accounts) == 0 || slices.Contains(accounts, e.Account) {
			counts[e] += n
		}
	}
	var t Tally
	for e, n := range counts {
		e.Events = n
		t.Events = append(t.Events, e)
	}
	for p, nanos := range s.spent {
		posting := Posting{Scope: p.scope, ID: p.id, Kind: p.kind, Period: p.period, Posted: nanos}
		if most, limited := s.caps[p.line]; limited {
			posting.Limit = &most
		}
		t.Postings = append(t.Postings, posting)
		if p.kind == daily {
			t.Charges = append(t.Charges, Charge{Scope: p.scope, ID: p.id, Day: p.period, Nanos: nanos})
		}
	}
	slices.SortFunc(t.Events, func(a, b EventCount) int { return cmp.Or(cmp.Compare(a.AdID, b.AdID), cmp.Compare(a.Kind, b.Kind)) })
	if s.tally != nil {
		s.tally(&t)
	}
	return t, nil
}

// options run a sample log against the stand-in as fast as it answers.
func (s *standIn) options(p *Plan) Options {
	return Options{
		Plan: p, ReadyFile: s.ready, Concurrency: 4, Progress: s.t.Output(), Tally: s.read, BilledWithin: time.Second,
		Audit: func(context.Context, string) (Verdict, error) { return s.audit, nil },
	}
}

// run runs a sample log.
func (s *standIn) run(change func(*Options)) *Report {
	s.t.Helper()
	o := s.options(samplePlan(s.t, 60, 12))
	if change != nil {
		change(&o)
	}
	r, err := Run(s.t.Context(), o)
	require.NoError(s.t, err)
	return r
}

// cut ends the connection without an answer.
func cut(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = conn.Close()
	}
}

const aWhile = 20 * time.Second

// newFloor serves a handler and returns its URL.
func newFloor(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}
