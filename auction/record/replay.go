package record

import (
	"fmt"
	"math"

	"gavel/auction"
	"gavel/campaign"
	"gavel/internal/money"
)

// maxDifferences is how many differences of one record are told.
const maxDifferences = 20

// Replay decides the scene of r again and tells what is not, bit for bit, as it was recorded: nil when nothing is. The budget's part is
// played by the recorded answers. d may be used for one scene after another.
func Replay(r *Record, d *auction.Decider) []string {
	t := tape{r: r}
	o := d.Decide(&r.Scene, &t)
	d.Propensities(&r.Scene)
	if t.next < len(r.Answers) {
		t.tell("budget", "it was asked %d times, and is now asked %d times", len(r.Answers), t.next)
	}
	t.compareFates(o)
	t.comparePage(o)
	return t.differences
}

// tape is a payer that says again what the budget said.
type tape struct {
	r           *Record
	next        int
	differences []string
}

// tell notes a difference.
func (t *tape) tell(about, format string, args ...any) {
	switch n := len(t.differences); {
	case n < maxDifferences:
		t.differences = append(t.differences, about+": "+fmt.Sprintf(format, args...))
	case n == maxDifferences:
		t.differences = append(t.differences, "and more")
	}
}

// Pay implements auction.Payer. When another question is asked than the one recorded, the price is promised: the decision comes to an
// end, and the difference is noted.
func (t *tape) Pay(c int, _, price money.Nanos) (auction.Reason, string) {
	ad := t.r.Candidates[c].AdID
	if t.next >= len(t.r.Answers) {
		t.tell(adText(ad), "the budget is asked for %s, which it was not", amountText(price))
		t.next++
		return auction.Won, ""
	}
	a := t.r.Answers[t.next]
	t.next++
	switch {
	case a.AdID != ad:
		t.tell("budget", "question %d was about %s, and is now about %s", t.next, adText(a.AdID), adText(ad))
		return auction.Won, ""
	case a.Price != price:
		t.tell(adText(ad), "the budget was asked for %s, and is now asked for %s", amountText(a.Price), amountText(price))
	case a.Reason == auction.Won && a.BlockedBy != "":
		t.tell(adText(ad), "the price was promised, and yet %q had nothing left", a.BlockedBy)
	}
	return a.Reason, a.BlockedBy
}

// CancelAll implements auction.Payer.
func (t *tape) CancelAll() {}

func (t *tape) compareFates(o *auction.Outcome) {
	if len(o.Fates) != len(t.r.Fates) {
		t.tell("fates", "there were %d, and are now %d", len(t.r.Fates), len(o.Fates))
		return
	}
	for i := range o.Fates {
		if then, now := &t.r.Fates[i], &o.Fates[i]; !sameFate(then, now) {
			t.tellFate(adText(t.r.Candidates[i].AdID), then, now)
		}
	}
}

// sameFate compares bits: NaN is itself, and 0 is not -0.
func sameFate(a, b *auction.Fate) bool {
	return a.Reason == b.Reason && a.Bid == b.Bid && a.Floor == b.Floor && a.BlockedBy == b.BlockedBy &&
		bits(a.Rate) == bits(b.Rate) && bits(a.Relevance) == bits(b.Relevance) && bits(a.Propensity) == bits(b.Propensity)
}

func (t *tape) tellFate(ad string, then, now *auction.Fate) {
	if then.Reason != now.Reason {
		t.tell(ad, "it was %s, and is now %s", then.Reason, now.Reason)
	}
	if then.BlockedBy != now.BlockedBy {
		t.tell(ad, "it was blocked by %q, and is now by %q", then.BlockedBy, now.BlockedBy)
	}
	for _, n := range []struct {
		what      string
		then, now money.Nanos
	}{{"bid", then.Bid, now.Bid}, {"floor", then.Floor, now.Floor}} {
		if n.then != n.now {
			t.tell(ad, "its %s was %s, and is now %s", n.what, amountText(n.then), amountText(n.now))
		}
	}
	for _, n := range []struct {
		what      string
		then, now float64
	}{{"rate", then.Rate, now.Rate}, {"relevance", then.Relevance, now.Relevance}, {"propensity", then.Propensity, now.Propensity}} {
		if bits(n.then) != bits(n.now) {
			t.tell(ad, "its %s was %v (bits %016x), and is now %v (bits %016x)", n.what, n.then, math.Float64bits(n.then), n.now, math.Float64bits(n.now))
		}
	}
}

func (t *tape) comparePage(o *auction.Outcome) {
	then, now := t.r.Placed, o.Placed
	if len(then) != len(now) {
		t.tell("page", "it had %d ads, and now has %d", len(then), len(now))
	}
	for i := range min(len(then), len(now)) {
		a, b := then[i], now[i]
		where := fmt.Sprintf("winner %d", i+1)
		if a.Bidder != b.Bidder || a.Slot != b.Slot {
			t.tell(where, "it was %s in slot %d, and is now %s in slot %d", t.ad(a.Bidder), a.Slot+1, t.ad(b.Bidder), b.Slot+1)
		}
		if a.Price != b.Price {
			t.tell(where, "its price was %s, and is now %s", amountText(a.Price), amountText(b.Price))
		}
		if a.PricedBy != b.PricedBy {
			t.tell(where, "its price was set by %s, and is now by %s", t.ad(a.PricedBy), t.ad(b.PricedBy))
		}
	}
}

// ad names candidate i, or what else sets a price.
func (t *tape) ad(i int) string {
	switch {
	case i == auction.ByFloor:
		return "the floor"
	case i == auction.ByOrganic:
		return "the organic value"
	case i < 0 || i >= len(t.r.Candidates):
		return fmt.Sprintf("candidate %d", i)
	}
	return adText(t.r.Candidates[i].AdID)
}

func adText(id campaign.AdID) string { return fmt.Sprintf("ad %d", int64(id)) }

func amountText(n money.Nanos) string { return fmt.Sprintf("%d nanos", int64(n)) }
