package torture

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/chacha20poly1305"

	"gavel/internal/torture/postgres"
)

const testKeys = "7:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

// small is a row in miniature: one campaign that pays per impression, one that pays per click, and what a right server makes of
// what the clients did.
type small struct {
	evidence
	t   *testing.T
	now time.Time
}

const (
	account, campaignID, groupID, adID = 11, 21, 31, 41
	clickAccount, clickAd              = 12, 42
	price                              = int64(7_654_321)
	clickPrice                         = int64(900_000_007)
	today                              = 20261123
	limitNanos                         = 50_000_000
)

func newSmall(t *testing.T) *small {
	t.Helper()
	keys, err := parseTokenKeys(testKeys)
	require.NoError(t, err)
	return &small{t: t, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), evidence: evidence{
		keys: keys, limits: map[Line]int64{{scopeAdGroup, groupID, daily}: limitNanos}, lost: map[int]time.Time{},
		campaigns: []Campaign{
			{Account: account, Campaign: campaignID, AdGroup: groupID, Ad: adID, Currency: "USD", TimeZone: "UTC", BidMicros: 8_000_000},
			{Account: clickAccount, Campaign: 22, AdGroup: 32, Ad: clickAd, Currency: "EUR", TimeZone: "UTC", BidMicros: 1_000_000, Clicks: true},
		},
	}}
}

// seal makes a token by the format's description, in the test's own way.
func (s *small) seal(kind byte, id uuid.UUID, ad, group, nanos int64, exp time.Time) string {
	s.t.Helper()
	head := append([]byte{1, 7, kind}, id[:]...)
	nonce := make([]byte, chacha20poly1305.NonceSizeX)
	copy(nonce, head[2:])
	var body []byte
	for _, v := range []int64{501, ad, nanos, 77, group, exp.UnixMilli()} {
		body = binary.BigEndian.AppendUint64(body, uint64(v))
	}
	body = binary.BigEndian.AppendUint32(body, today)
	if kind == 1 { // an impression carries what the model saw, in a token of version 2
		head[0] = 2
		body = append(body, make([]byte, 64)...)
	}
	box, err := chacha20poly1305.NewX(s.keys[7])
	require.NoError(s.t, err)
	return base64.RawURLEncoding.EncodeToString(box.Seal(head, nonce, body, head))
}

// serve gives an ad out; cpm says which of the two.
func (s *small) serve(cpm bool) *Served {
	s.t.Helper()
	k := &s.campaigns[1]
	if cpm {
		k = &s.campaigns[0]
	}
	ad := &Served{Account: k.Account, Campaign: k.Campaign, AdGroup: k.AdGroup, Ad: k.Ad, Asked: s.now, At: s.now}
	id := uuid.New()
	for i, kind := range []string{impression, viewable, click} {
		nanos := int64(0)
		switch {
		case cpm && kind == impression:
			nanos = price
		case !cpm && kind == click:
			nanos = clickPrice
		}
		ad.Tokens[i] = &Token{Kind: kind, Of: ad, Text: s.seal(byte(i+1), id, k.Ad, k.AdGroup, nanos, s.now.Add(10*time.Second))}
	}
	s.served = append(s.served, ad)
	return ad
}

// answer notes a delivery that was answered at once, a second after the ad was served.
func (s *small) answer(t *Token, status int) {
	at := s.now.Add(time.Second)
	t.note(Delivery{Status: status, Redirect: status == 302, Sent: at, Done: at})
}

// bill writes the row that a right server writes.
func (s *small) bill(t *Token) *postgres.Event {
	o, err := s.keys.open(t.Text)
	require.NoError(s.t, err)
	s.books.Events = append(s.books.Events, postgres.Event{
		Impression: o.Impression, Kind: o.Kind, Day: o.Day, Outcome: "BILLED", Price: o.Nanos, Charge: o.Nanos, Lease: o.Lease,
		Account: t.Of.Account, Campaign: t.Of.Campaign, AdGroup: t.Of.AdGroup, Ad: t.Of.Ad, AcceptedAt: s.now.Add(time.Second),
	})
	return &s.books.Events[len(s.books.Events)-1]
}

// close makes ledger and budgets out of the events, as a right server has them.
func (s *small) close() {
	owed, posted := map[wallet]int64{}, map[period]int64{}
	for _, e := range s.books.Events {
		if e.Charge == 0 {
			continue
		}
		currency := map[int64]string{account: "USD", clickAccount: "EUR"}[e.Account]
		owed[wallet{"advertiser:" + strconv.FormatInt(e.Account, 10), currency}] += e.Charge
		owed[wallet{"revenue", currency}] -= e.Charge
		for scope, id := range map[string]int64{scopeAccount: e.Account, scopeCampaign: e.Campaign, scopeAdGroup: e.AdGroup} {
			posted[period{Line{scope, id, daily}, e.Day}] += e.Charge
			posted[period{Line{scope, id, lifetime}, 0}] += e.Charge
		}
	}
	for k, n := range owed {
		s.books.Entries = append(s.books.Entries, postgres.Entry{
			Account: k.account, Currency: k.currency, Debit: strconv.FormatInt(max(0, n), 10), Credit: strconv.FormatInt(max(0, -n), 10),
		})
	}
	for p, n := range posted {
		s.books.Periods = append(s.books.Periods, postgres.Period{Scope: p.Scope, ID: p.ID, Kind: p.Kind, Period: p.period, Posted: n})
	}
}

// right is a row in which all is well, with every kind of answer in it.
func right(t *testing.T) *small {
	t.Helper()
	s := newSmall(t)
	for range 3 {
		ad := s.serve(true)
		s.answer(ad.Tokens[0], 204)
		s.answer(ad.Tokens[0], 204) // a duplicate
		s.bill(ad.Tokens[0])
		s.answer(ad.Tokens[1], 202)
		s.bill(ad.Tokens[1])
	}
	clicked := s.serve(false)
	s.answer(clicked.Tokens[2], 302)
	s.bill(clicked.Tokens[2])
	free := s.serve(false)
	s.answer(free.Tokens[2], 302)
	row := s.bill(free.Tokens[2])
	row.Outcome, row.Charge = "OVER_BUDGET", 0
	heard, unheard := s.serve(true), s.serve(true)
	s.answer(heard.Tokens[0], NoAnswer) // the node has heard it
	s.bill(heard.Tokens[0])
	s.answer(unheard.Tokens[0], NoAnswer) // the node has not
	busy := s.serve(true)
	s.answer(busy.Tokens[1], 503) // it may have been written before the node gave up waiting
	s.bill(busy.Tokens[1])
	s.answer(s.serve(true).Tokens[0], 400)
	s.serve(true) // never told of
	s.served[len(s.served)-2].Tokens[0].deliveries[0].Status = NotSent
	return s
}

func TestARightRowIsClean(t *testing.T) {
	t.Parallel()
	s := right(t)
	s.close()
	f := check(s.evidence)
	require.Empty(t, f.Problems)
	require.Equal(t, Findings{OverserveCPC: clickPrice, Sure: 8, Unsure: 3, Billed: 10, ChargedNanos: 4*price + clickPrice}, f)
}

// TestEachDefectIsNamed makes one mistake at a time. A checker that has never failed proves nothing.
func TestEachDefectIsNamed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		// before changes the events before ledger and budgets follow from them, after what was made of them.
		before, after func(s *small)
		problem       string
		found         func(f *Findings) bool
	}{
		"lost": {
			before:  func(s *small) { s.books.Events = s.books.Events[1:] },
			problem: "LOST: ", found: func(f *Findings) bool { return f.Lost == 1 },
		},
		"a lost viewable is lost, too": {
			before:  func(s *small) { s.books.Events = append(s.books.Events[:1], s.books.Events[2:]...) },
			problem: "LOST: ", found: func(f *Findings) bool { return f.Lost == 1 && f.Imbalance == 0 },
		},
		"lost although a later try had no answer": {
			before: func(s *small) {
				s.answer(s.served[0].Tokens[0], NoAnswer)
				s.books.Events = s.books.Events[1:]
			},
			problem: "LOST: ", found: func(f *Findings) bool { return f.Lost == 1 },
		},
		"overspent, and the budget says less": {
			before:  func(s *small) { s.limits[Line{scopeAdGroup, groupID, daily}] = 4*price - 3 },
			after:   func(s *small) { s.budget(scopeAdGroup, groupID, daily).Posted = 4*price - 3 },
			problem: "OVERSPENT: AD_GROUP 31", found: func(f *Findings) bool { return f.Overspend == 3 && f.Imbalance == 3 },
		},
		"billed twice, on two days": {
			before: func(s *small) {
				again := s.books.Events[0]
				again.Day++
				s.books.Events = append(s.books.Events, again)
			},
			problem: "DOUBLE: ", found: func(f *Findings) bool { return f.DoubleBilled == 1 && f.Imbalance > 0 },
		},
		"charged more than its price": {
			before:  func(s *small) { s.books.Events[0].Charge++ },
			problem: "DOUBLE: ", found: func(f *Findings) bool { return f.DoubleBilled == 1 && f.Imbalance > 0 },
		},
		"charged a nano less than its price": {
			before:  func(s *small) { s.books.Events[0].Charge-- },
			problem: "SHORT: ", found: func(f *Findings) bool { return f.Imbalance > 0 },
		},
		"the ledger is a nano short": {
			after:   func(s *small) { s.entry("advertiser:11").Debit = strconv.FormatInt(4*price-1, 10) },
			problem: "LEDGER: advertiser:11 in USD", found: func(f *Findings) bool { return f.Imbalance == 2 }, // and debits are not credits
		},
		"the ledger is a nano short on both sides": {
			after: func(s *small) {
				s.entry("advertiser:11").Debit = strconv.FormatInt(4*price-1, 10)
				s.entryIn("revenue", "USD").Credit = strconv.FormatInt(4*price-1, 10)
			},
			problem: "LEDGER: revenue in USD", found: func(f *Findings) bool { return f.Imbalance == 2 },
		},
		"an account is missing in the ledger": {
			after: func(s *small) {
				s.books.Entries = deleteEntry(s.books.Entries, "advertiser:12")
			},
			problem: "LEDGER: advertiser:12 in EUR", found: func(f *Findings) bool { return f.Imbalance == 2*clickPrice },
		},
		"an account is in the ledger and nobody knows why": {
			after: func(s *small) {
				s.books.Entries = append(s.books.Entries, postgres.Entry{Account: "advertiser:99", Currency: "USD", Debit: "1", Credit: "1"}, postgres.Entry{Account: "advertiser:98", Currency: "USD", Debit: "5", Credit: "0"})
			},
			problem: "LEDGER: advertiser:98 in USD", found: func(f *Findings) bool { return f.Imbalance == 10 },
		},
		"charged in another currency": {
			after:   func(s *small) { s.entry("advertiser:11").Currency = "GBP" },
			problem: "LEDGER: advertiser:11 in GBP", found: func(f *Findings) bool { return f.Imbalance > 0 },
		},
		"a transaction does not balance": {
			after:   func(s *small) { s.books.Unbalanced = []int64{5} },
			problem: "LEDGER: transaction 5", found: func(*Findings) bool { return true },
		},
		"a budget is a nano short": {
			after:   func(s *small) { s.budget(scopeCampaign, campaignID, lifetime).Posted-- },
			problem: "BUDGET: CAMPAIGN 21, LIFETIME, period 0", found: func(f *Findings) bool { return f.Imbalance == 1 },
		},
		"a budget line is missing": {
			after: func(s *small) {
				s.budget(scopeAdGroup, groupID, daily).ID = 999
			},
			problem: "BUDGET: AD_GROUP 31, DAILY, period 20261123", found: func(f *Findings) bool { return f.Imbalance == 2*4*price },
		},
		"overspent by a nano": {
			before:  func(s *small) { s.limits[Line{scopeAdGroup, groupID, daily}] = 4*price - 1 },
			problem: "OVERSPENT: AD_GROUP 31", found: func(f *Findings) bool { return f.Overspend == 1 },
		},
		"a budget says more than its limit": {
			after:   func(s *small) { s.budget(scopeAdGroup, groupID, daily).Posted = limitNanos + 9 },
			problem: "OVERSPENT: AD_GROUP 31", found: func(f *Findings) bool { return f.Overspend == 9 },
		},
		"a charge from nowhere": {
			before: func(s *small) {
				e := s.books.Events[0]
				e.Impression = uuid.NewString()
				s.books.Events = append(s.books.Events, e)
			},
			problem: "NOWHERE: ", found: func(f *Findings) bool { return f.FromNowhere == 1 && f.Imbalance > 0 },
		},
		"what every node refused is recorded": {
			before: func(s *small) {
				ad := s.serve(true)
				s.answer(ad.Tokens[0], 410)
				ad.Tokens[0].deliveries[0].Sent, ad.Tokens[0].deliveries[0].Done = s.now.Add(time.Minute), s.now.Add(time.Minute)
				s.bill(ad.Tokens[0])
			},
			problem: "NOWHERE: ", found: func(f *Findings) bool { return f.FromNowhere == 1 },
		},
		"what was never reported is recorded": {
			before:  func(s *small) { s.bill(s.served[len(s.served)-1].Tokens[0]) },
			problem: "NOWHERE: ", found: func(f *Findings) bool { return f.FromNowhere == 1 },
		},
		"CPM over budget within its time": {
			before:  func(s *small) { s.books.Events[0].Outcome, s.books.Events[0].Charge = "OVER_BUDGET", 0 },
			problem: "", found: func(f *Findings) bool { return f.OverserveCPM == price && f.Imbalance == 0 },
		},
		"invalid": {
			before:  func(s *small) { s.books.Events[0].Outcome, s.books.Events[0].Charge = "INVALID", 0 },
			problem: "OUTCOME: ", found: func(*Findings) bool { return true },
		},
		"recorded for another lease": {
			before:  func(s *small) { s.books.Events[0].Lease++ },
			problem: "ROW: ", found: func(*Findings) bool { return true },
		},
		"recorded on another day": {
			before:  func(s *small) { s.books.Events[0].Day++ },
			problem: "ROW: ", found: func(f *Findings) bool { return f.Imbalance > 0 },
		},
		"recorded for another account": {
			before:  func(s *small) { s.books.Events[0].Account = clickAccount },
			problem: "ROW: ", found: func(f *Findings) bool { return f.Imbalance > 0 },
		},
		"accepted after its time, says the server": {
			before:  func(s *small) { s.books.Events[0].AcceptedAt = s.now.Add(10*time.Second + 2*time.Millisecond) },
			problem: "LATE: ", found: func(*Findings) bool { return true },
		},
		"accepted after its time, says the client": {
			before: func(s *small) {
				d := &s.served[0].Tokens[0].deliveries[1]
				d.Sent, d.Done = s.now.Add(12*time.Second), s.now.Add(12*time.Second)
			},
			problem: "LATE: ", found: func(*Findings) bool { return true },
		},
		"refused as too late within its time": {
			before:  func(s *small) { s.served[0].Tokens[0].deliveries[1].Status = 410 },
			problem: "EARLY: ", found: func(*Findings) bool { return true },
		},
		"refused as forged": {
			before:  func(s *small) { s.served[0].Tokens[0].deliveries[1].Status = 400 },
			problem: "REFUSED: ", found: func(*Findings) bool { return true },
		},
		"a price above the bid": {
			before:  func(s *small) { s.campaigns[0].BidMicros = price - 1 },
			problem: "PRICE: ", found: func(*Findings) bool { return true },
		},
		"charged to a day on which it was not served": {
			before:  func(s *small) { s.campaigns[0].TimeZone = "Pacific/Kiritimati" }, // it is tomorrow there
			problem: "DAY: ", found: func(*Findings) bool { return true },
		},
		"a token for another ad than the page's": {
			before:  func(s *small) { s.served[0].Ad++ },
			problem: "TOKEN: ", found: func(*Findings) bool { return true },
		},
		"two ads with the same token": {
			before:  func(s *small) { s.served = append(s.served, s.served[0]) },
			problem: "TOKEN: ", found: func(*Findings) bool { return true },
		},
		"a budget is in escrow at rest": {
			after:   func(s *small) { s.budget(scopeAdGroup, groupID, daily).Escrow = 1 },
			problem: "ESCROW: AD_GROUP 31", found: func(*Findings) bool { return true },
		},
		"a lease holds escrow at rest": {
			after:   func(s *small) { s.books.Escrow = 1 },
			problem: "ESCROW: open leases", found: func(*Findings) bool { return true },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := right(t)
			if test.before != nil {
				test.before(s)
			}
			s.close()
			if test.after != nil {
				test.after(s)
			}
			f := check(s.evidence)
			require.True(t, test.found(&f), "%+v", f)
			if test.problem == "" {
				require.Empty(t, f.Problems)
				return
			}
			require.NotZero(t, f.Found)
			require.Contains(t, strings.Join(f.Problems, "\n"), test.problem)
		})
	}
}

// TestALostDiskExcusesWhatOnlyItHad tells what was in the destroyed journal from what others had accepted, too.
func TestALostDiskExcusesWhatOnlyItHad(t *testing.T) {
	t.Parallel()
	s := right(t)
	s.books.Events = s.books.Events[1:]
	s.lost[0] = s.now.Add(2 * time.Second)
	s.close()
	f := check(s.evidence)
	require.Empty(t, f.Problems)
	require.Equal(t, price, f.OverserveCPM)
	require.Equal(t, price, f.LostWithDisk)

	s.served[0].Tokens[0].note(Delivery{Node: 1, Status: 204, Sent: s.now, Done: s.now})
	require.Equal(t, 1, check(s.evidence).Lost, "the other node has accepted it, too")

	s.served[0].Tokens[0].deliveries = s.served[0].Tokens[0].deliveries[:1]
	s.lost[0] = s.now
	require.Equal(t, 1, check(s.evidence).Lost, "it was accepted after the disk was replaced")
}

// TestARedirectTellsNothingNearTheEnd: the user of a late click is sent on although the click does not count.
func TestARedirectTellsNothingNearTheEnd(t *testing.T) {
	t.Parallel()
	for after, want := range map[time.Duration]verdict{
		time.Second: accepted, 8 * time.Second: accepted, 9500 * time.Millisecond: unsure, 10500 * time.Millisecond: unsure, 12 * time.Second: refused,
	} {
		s := newSmall(t)
		c := checker{evidence: s.evidence}
		o := Opened{Exp: s.now.Add(10 * time.Second)}
		d := Delivery{Status: 302, Redirect: true, Sent: s.now.Add(after), Done: s.now.Add(after)}
		require.Equal(t, want, c.judgeOne(&o, d), after)
		c.clockUnsure = true
		require.Equal(t, unsure, c.judgeOne(&o, d), after)
	}
}

func TestSumsPastInt64AreNoSecret(t *testing.T) {
	t.Parallel()
	s := right(t)
	s.close()
	s.entry("advertiser:11").Debit = "92233720368547758070" // ten times the largest int64
	f := check(s.evidence)
	require.Equal(t, int64(1<<63-1), f.Imbalance)
	require.Contains(t, fmt.Sprint(f.Problems), "92233720368547758070")
}

func (s *small) entry(account string) *postgres.Entry {
	for i := range s.books.Entries {
		if s.books.Entries[i].Account == account {
			return &s.books.Entries[i]
		}
	}
	s.t.Fatalf("no entry of %s", account)
	return nil
}

func (s *small) entryIn(account, currency string) *postgres.Entry {
	for i := range s.books.Entries {
		if e := &s.books.Entries[i]; e.Account == account && e.Currency == currency {
			return e
		}
	}
	s.t.Fatalf("no entry of %s in %s", account, currency)
	return nil
}

func deleteEntry(list []postgres.Entry, account string) (rest []postgres.Entry) {
	for _, e := range list {
		if e.Account != account {
			rest = append(rest, e)
		}
	}
	return rest
}

func (s *small) budget(scope string, id int64, kind string) *postgres.Period {
	for i := range s.books.Periods {
		if p := &s.books.Periods[i]; p.Scope == scope && p.ID == id && p.Kind == kind {
			return p
		}
	}
	s.t.Fatalf("no line %s %d %s", scope, id, kind)
	return nil
}
