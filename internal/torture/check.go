package torture

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"time"

	"gavel/internal/torture/postgres"
)

// Findings are what the checker found out about a row. Amounts are nanos of any currency.
type Findings struct {
	// Overspend is the most that any budget line has posted above what its advertiser allowed.
	Overspend int64 `json:"overspend_nanos"`
	// DoubleBilled counts events that were charged twice, or at more than their token's price.
	DoubleBilled int `json:"double_billed"`
	// Lost counts events that were acknowledged and have no durable outcome.
	Lost int `json:"accepted_but_lost"`
	// Imbalance is how far the ledger and the budgets are from the diary, and the ledger's sides from each other, in sum.
	Imbalance int64 `json:"ledger_imbalance_nanos"`
	// FromNowhere counts outcomes of events that no client has reported, or that every node refused.
	FromNowhere int `json:"from_nowhere"`
	// OverserveCPM and OverserveCPC are what was shown or clicked, accepted in time, and not billable.
	OverserveCPM int64 `json:"overserve_cpm_nanos"`
	OverserveCPC int64 `json:"overserve_cpc_nanos"`
	// LostWithDisk is the part of OverserveCPM that was in a journal whose disk was destroyed.
	LostWithDisk int64 `json:"lost_with_disk_nanos"`

	Sure         int   `json:"events_accepted"`        // tokens that were certainly accepted
	Unsure       int   `json:"events_of_unknown_fate"` // tokens of which only the database knows
	Billed       int   `json:"events_with_an_outcome"`
	ChargedNanos int64 `json:"charged_nanos"`

	// Problems are the first of them in words; all of them are counted.
	Problems []string `json:"problems"`
	Found    int      `json:"problems_found"`
}

// evidence is what the checker works on: the diary's side and the database's side.
type evidence struct {
	keys      tokenKeys
	served    []*Served
	limits    map[Line]int64 // nanos
	campaigns []Campaign
	lost      map[int]time.Time
	books     postgres.Books
	// clockUnsure: nothing follows from the client's times.
	clockUnsure bool
	// escrowed: nobody has waited until nothing was in escrow.
	escrowed bool
}

type eventKey struct{ impression, kind string }

type wallet struct{ account, currency string }

type period struct {
	Line
	period int
}

// checker recomputes the ledger.
type checker struct {
	evidence
	Findings
	ads       map[int64]*Campaign // by ad
	accounts  map[int64]*Campaign // one of each account: its currency and time zone
	outcomes  map[eventKey]postgres.Event
	explained map[eventKey]bool
	owed      map[wallet]*big.Int
	posted    map[period]*big.Int
	imbalance *big.Int
	overspend *big.Int
	cpm, cpc  *big.Int
	disk      *big.Int
	charged   *big.Int
}

const (
	// clockSlack is how far a client's clock and a node's may differ without a word: they are one machine's.
	clockSlack    = time.Second
	nanosPerMicro = 1000
)

// check compares the diary with the database.
func check(e evidence) Findings {
	c := &checker{
		evidence: e, ads: map[int64]*Campaign{}, accounts: map[int64]*Campaign{}, outcomes: map[eventKey]postgres.Event{},
		explained: map[eventKey]bool{}, owed: map[wallet]*big.Int{}, posted: map[period]*big.Int{},
		imbalance: new(big.Int), overspend: new(big.Int), cpm: new(big.Int), cpc: new(big.Int), disk: new(big.Int), charged: new(big.Int),
	}
	for i := range e.campaigns {
		k := &e.campaigns[i]
		c.ads[k.Ad], c.accounts[k.Account] = k, k
	}
	c.readOutcomes()
	for _, s := range e.served {
		for _, t := range s.Tokens {
			if d := t.Deliveries(); len(d) > 0 {
				c.token(t, d)
			}
		}
	}
	c.unexplained()
	c.ledger()
	c.periods()
	if e.books.Escrow != 0 && !e.escrowed {
		c.problem("ESCROW: open leases hold %d nanos at rest", e.books.Escrow)
	}
	c.Overspend, c.Imbalance = fit(c.overspend), fit(c.imbalance)
	c.OverserveCPM, c.OverserveCPC, c.LostWithDisk, c.ChargedNanos = fit(c.cpm), fit(c.cpc), fit(c.disk), fit(c.charged)
	return c.Findings
}

func (c *checker) problem(format string, args ...any) {
	c.Found++
	if len(c.Problems) < maxTexts {
		c.Problems = append(c.Problems, fmt.Sprintf(format, args...))
	}
}

// readOutcomes indexes what the database has; one event has one outcome.
func (c *checker) readOutcomes() {
	for _, r := range c.books.Events {
		k := eventKey{r.Impression, r.Kind}
		if first, twice := c.outcomes[k]; twice {
			c.DoubleBilled++
			c.problem("DOUBLE: impression %s, %s: recorded on %d (charged %d) and on %d (charged %d)", r.Impression, r.Kind, first.Day, first.Charge, r.Day, r.Charge)
			continue
		}
		c.outcomes[k] = r
	}
	c.Billed = len(c.books.Events)
}

// verdict is what the client's answers say about an event.
type verdict int

const (
	refused verdict = iota
	unsure
	accepted
)

// judge weighs all tries of one token.
func (c *checker) judge(o *Opened, tries []Delivery) verdict {
	v := refused
	for _, d := range tries {
		v = max(v, c.judgeOne(o, d))
	}
	return v
}

func (c *checker) judgeOne(o *Opened, d Delivery) verdict {
	switch {
	case d.Status == NotSent:
		return refused
	case d.Redirect:
		if !c.clockUnsure && d.Done.Add(clockSlack).Before(o.Exp) {
			return accepted
		}
		if !c.clockUnsure && d.Sent.After(o.Exp.Add(clockSlack)) {
			return refused // the user is sent on, and the event is not taken
		}
		return unsure
	case d.Status >= 200 && d.Status < 300:
		return accepted
	case d.Status == NoAnswer, d.Status >= 500:
		return unsure
	default:
		return refused
	}
}

// token compares what is known of one event with its outcome, and adds its price to what must be owed.
func (c *checker) token(t *Token, tries []Delivery) {
	o, err := c.keys.open(t.Text)
	if err != nil {
		c.problem("TOKEN: ad %d, %s: %v", t.Of.Ad, t.Kind, err)
		return
	}
	c.checkToken(t, &o, tries)
	k := eventKey{o.Impression, o.Kind}
	if c.explained[k] {
		c.problem("TOKEN: impression %s, %s was given out twice", k.impression, k.kind)
		return
	}
	r, there := c.outcomes[k]
	v := c.judge(&o, tries)
	switch v {
	case accepted:
		c.Sure++
	case unsure:
		c.Unsure++
	case refused:
	}
	switch {
	case !there && v == accepted && c.wentWithDisk(&o, tries):
		c.explained[k] = true
		c.disk.Add(c.disk, big.NewInt(o.Nanos))
		c.cpm.Add(c.cpm, big.NewInt(o.Nanos))
	case !there && v == accepted:
		c.explained[k] = true
		c.Lost++
		c.problem("LOST: impression %s, %s of ad %d: %s, and the database has no outcome", o.Impression, o.Kind, o.Ad, story(tries))
	case there && v != refused:
		c.explained[k] = true
		c.outcome(t, &o, &r)
	}
	// An outcome of what every node refused stays unexplained.
}

// wentWithDisk reports whether everybody who certainly accepted the event lost its disk after that.
func (c *checker) wentWithDisk(o *Opened, tries []Delivery) bool {
	for _, d := range tries {
		if c.judgeOne(o, d) != accepted {
			continue
		}
		if at, ok := c.lost[d.Node]; !ok || d.Sent.After(at) {
			return false
		}
	}
	return true
}

// checkToken holds a token to what the page said and to when it was answered.
func (c *checker) checkToken(t *Token, o *Opened, tries []Delivery) {
	s := t.Of
	if o.Kind != t.Kind || o.Ad != s.Ad || o.AdGroup != s.AdGroup {
		c.problem("TOKEN: the page says %s of ad %d in ad group %d, its token says %s of %d in %d", t.Kind, s.Ad, s.AdGroup, o.Kind, o.Ad, o.AdGroup)
	}
	if k := c.ads[s.Ad]; k != nil {
		if most := k.priceMax(o.Kind); o.Nanos > most {
			c.problem("PRICE: %s of ad %d costs %d nanos, its bid allows %d", o.Kind, o.Ad, o.Nanos, most)
		}
		if !c.clockUnsure && !k.isDay(o.Day, s.Asked, s.At) {
			c.problem("DAY: ad %d was served at %s and is charged to %d (%s)", o.Ad, s.At.UTC().Format(time.RFC3339), o.Day, k.TimeZone)
		}
	}
	if c.clockUnsure {
		return
	}
	for _, d := range tries {
		switch {
		case d.Status >= 200 && d.Status < 300 && !d.Redirect && d.Sent.After(o.Exp.Add(clockSlack)):
			c.problem("LATE: impression %s, %s was accepted %v after its time", o.Impression, o.Kind, d.Sent.Sub(o.Exp).Round(time.Millisecond))
		case d.Status == 410 && d.Done.Add(clockSlack).Before(o.Exp):
			c.problem("EARLY: impression %s, %s was refused as too late %v before its time was over", o.Impression, o.Kind, o.Exp.Sub(d.Done).Round(time.Millisecond))
		case d.Status >= 400 && d.Status < 500 && d.Status != 410 && d.Status != 429:
			c.problem("REFUSED: impression %s, %s was answered %d", o.Impression, o.Kind, d.Status)
		}
	}
}

// outcome holds the row of an event to its token, and adds what it costs.
func (c *checker) outcome(t *Token, o *Opened, r *postgres.Event) {
	s, price := t.Of, big.NewInt(o.Nanos)
	if r.Account != s.Account || r.Campaign != s.Campaign || r.AdGroup != s.AdGroup || r.Ad != s.Ad || r.Day != o.Day || r.Lease != o.Lease || r.Price != o.Nanos {
		c.problem("ROW: impression %s, %s: recorded for account %d, campaign %d, ad group %d, ad %d, day %d, lease %d at %d nanos; the client knows %d, %d, %d, %d, %d, %d, %d",
			o.Impression, o.Kind, r.Account, r.Campaign, r.AdGroup, r.Ad, r.Day, r.Lease, r.Price, s.Account, s.Campaign, s.AdGroup, s.Ad, o.Day, o.Lease, o.Nanos)
	}
	if r.AcceptedAt.After(o.Exp.Add(time.Millisecond)) {
		c.problem("LATE: impression %s, %s was accepted at %s, its time was over at %s", o.Impression, o.Kind, r.AcceptedAt.UTC().Format(time.RFC3339Nano), o.Exp.UTC().Format(time.RFC3339Nano))
	}
	if r.Charge > o.Nanos {
		c.DoubleBilled++
		c.problem("DOUBLE: impression %s, %s was charged %d nanos, its price is %d", o.Impression, o.Kind, r.Charge, o.Nanos)
	}
	switch r.Outcome {
	case "BILLED":
		if r.Charge < o.Nanos {
			c.problem("SHORT: impression %s, %s was charged %d nanos, its price is %d", o.Impression, o.Kind, r.Charge, o.Nanos)
		}
		c.owe(s, o, price)
	case "OVER_BUDGET":
		if o.Kind == click {
			c.cpc.Add(c.cpc, price)
		} else {
			c.cpm.Add(c.cpm, price)
		}
	default:
		c.problem("OUTCOME: impression %s, %s is %s", o.Impression, o.Kind, r.Outcome)
	}
}

// owe adds a price to the account and to all six budget lines above the ad.
func (c *checker) owe(s *Served, o *Opened, price *big.Int) {
	currency := ""
	if k := c.accounts[s.Account]; k != nil {
		currency = k.Currency
	}
	c.charged.Add(c.charged, price)
	add(c.owed, wallet{"advertiser:" + strconv.FormatInt(s.Account, 10), currency}, price)
	add(c.owed, wallet{"revenue", currency}, price)
	for scope, id := range map[string]int64{scopeAccount: s.Account, scopeCampaign: s.Campaign, scopeAdGroup: s.AdGroup} {
		add(c.posted, period{Line{scope, id, daily}, o.Day}, price)
		add(c.posted, period{Line{scope, id, lifetime}, 0}, price)
	}
}

func add[K comparable](to map[K]*big.Int, key K, n *big.Int) {
	if to[key] == nil {
		to[key] = new(big.Int)
	}
	to[key].Add(to[key], n)
}

// unexplained finds the rows that no client can have caused.
func (c *checker) unexplained() {
	for _, r := range c.books.Events {
		if !c.explained[eventKey{r.Impression, r.Kind}] {
			c.FromNowhere++
			c.problem("NOWHERE: impression %s, %s of ad %d is %s, charged %d nanos; nobody has reported it and been told that it counts",
				r.Impression, r.Kind, r.Ad, r.Outcome, r.Charge)
		}
	}
}

// ledger compares every account of the ledger with what the diary comes to.
func (c *checker) ledger() {
	sides := map[string]*big.Int{} // debits − credits per currency
	for _, e := range c.books.Entries {
		debit, ok1 := new(big.Int).SetString(e.Debit, 10)
		credit, ok2 := new(big.Int).SetString(e.Credit, 10)
		if !ok1 || !ok2 {
			c.problem("LEDGER: %s, %s: debit %q, credit %q", e.Account, e.Currency, e.Debit, e.Credit)
			continue
		}
		net := new(big.Int).Sub(debit, credit)
		add(sides, e.Currency, net)
		if e.Account == "revenue" {
			net.Neg(net)
		}
		key := wallet{e.Account, e.Currency}
		want := c.owed[key]
		delete(c.owed, key)
		c.compare(net, want, "LEDGER: %s in %s", e.Account, e.Currency)
	}
	for _, key := range slices.SortedFunc(maps.Keys(c.owed), func(a, b wallet) int { return compareText(a.account+a.currency, b.account+b.currency) }) {
		c.compare(nil, c.owed[key], "LEDGER: %s in %s", key.account, key.currency)
	}
	for _, currency := range slices.Sorted(maps.Keys(sides)) {
		c.compare(sides[currency], nil, "LEDGER: debits less credits in %s", currency)
	}
	for _, id := range c.books.Unbalanced {
		c.problem("LEDGER: transaction %d does not balance", id)
	}
}

// compare adds a difference to the imbalance; nil is nothing.
func (c *checker) compare(have, want *big.Int, format string, args ...any) {
	if have == nil {
		have = new(big.Int)
	}
	if want == nil {
		want = new(big.Int)
	}
	if have.Cmp(want) != 0 {
		c.imbalance.Add(c.imbalance, new(big.Int).Abs(new(big.Int).Sub(have, want)))
		c.problem("%s: the database has %s nanos, the diary comes to %s", fmt.Sprintf(format, args...), have, want)
	}
}

// periods compares every budget line with what the diary comes to, and both with what the advertiser allowed.
func (c *checker) periods() {
	for _, row := range c.books.Periods {
		p := period{Line{row.Scope, row.ID, row.Kind}, row.Period}
		want := c.posted[p]
		delete(c.posted, p)
		have := big.NewInt(row.Posted)
		c.compare(have, want, "BUDGET: %s", p)
		c.overspent(p, have)
		if want != nil {
			c.overspent(p, want)
		}
		if row.Escrow != 0 && !c.escrowed {
			c.problem("ESCROW: %s: %d nanos are in escrow at rest", p, row.Escrow)
		}
	}
	for _, p := range slices.SortedFunc(maps.Keys(c.posted), func(a, b period) int { return compareText(a.String(), b.String()) }) {
		c.compare(nil, c.posted[p], "BUDGET: %s", p)
		c.overspent(p, c.posted[p])
	}
}

func (c *checker) overspent(p period, posted *big.Int) {
	limit, limited := c.limits[p.Line]
	if !limited {
		return
	}
	if over := new(big.Int).Sub(posted, big.NewInt(limit)); over.Sign() > 0 {
		c.problem("OVERSPENT: %s: %s nanos of %d", p, posted, limit)
		if over.Cmp(c.overspend) > 0 {
			c.overspend = over
		}
	}
}

// String names the period for people.
func (p period) String() string {
	return fmt.Sprintf("%s %d, %s, period %d", p.Scope, p.ID, p.Kind, p.period)
}

func compareText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	default:
		return 0
	}
}

// fit is n as an int64, or the largest one: either is a failure that the problems tell in full.
func fit(n *big.Int) int64 {
	if n.IsInt64() {
		return n.Int64()
	}
	return 1<<63 - 1
}

// story is a token's tries in short.
func story(tries []Delivery) string {
	text := ""
	for i, d := range tries {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("node %d answered %d at %s", d.Node, d.Status, d.Done.UTC().Format("15:04:05.000"))
		if i == 4 && len(tries) > 6 {
			return text + fmt.Sprintf(" and %d more", len(tries)-5)
		}
	}
	return text
}
