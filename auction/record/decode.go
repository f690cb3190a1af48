package record

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"time"

	"gavel/auction"
	"gavel/campaign"
	"gavel/internal/money"
)

// Decode reads one record into r, whose slices it uses again; strings are new. It returns ErrDamaged or ErrVersion, and then r holds
// nothing that means anything. Indexes of what it accepts are within their slices.
func Decode(b []byte, r *Record) error {
	if len(b) < 1+checksumBytes || len(b) > MaxBytes {
		return fmt.Errorf("%d bytes: %w", len(b), ErrDamaged)
	}
	body, sum := b[:len(b)-checksumBytes], binary.LittleEndian.Uint32(b[len(b)-checksumBytes:])
	if crc32.Checksum(body, castagnoli) != sum {
		return fmt.Errorf("its checksum does not fit: %w", ErrDamaged)
	}
	if body[0] != version {
		return fmt.Errorf("form %d, known is %d: %w", body[0], version, ErrVersion)
	}
	d := decoder{b: body[1:], texts: make([]string, 0, 64)}
	d.scene(r)
	n := d.count(minCandidateBytes)
	r.Candidates, r.Fates = slices.Grow(r.Candidates[:0], n)[:n], slices.Grow(r.Fates[:0], n)[:n]
	var last auction.Candidate
	for i := range r.Candidates {
		if d.failed {
			break
		}
		d.candidate(&r.Candidates[i], &last)
		d.fate(&r.Fates[i], &r.Candidates[i])
		last = r.Candidates[i]
	}
	d.page(r)
	if d.failed || len(d.b) != 0 {
		return fmt.Errorf("its checksum fits and its content does not: %w", ErrDamaged)
	}
	return nil
}

// The least bytes of what a record has many of: a count that promises more than there are bytes is refused before memory is asked for.
const (
	minSlotBytes      = 10
	minCandidateBytes = 22
	minPlacedBytes    = 4
	minAnswerBytes    = 4
	minMissedBytes    = 2
)

// decoder reads b. After a failure it gives zeros.
type decoder struct {
	b      []byte
	texts  []string
	failed bool
}

func (d *decoder) fail() {
	d.failed, d.b = true, nil
}

func (d *decoder) uint() uint64 {
	x, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return x
}

func (d *decoder) int() int64 {
	x, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return x
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.fail()
		return nil
	}
	taken := d.b[:n]
	d.b = d.b[n:]
	return taken
}

func (d *decoder) fixed64() uint64 {
	if b := d.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) fixed32() uint32 {
	if b := d.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) float() float64      { return math.Float64frombits(d.fixed64()) }
func (d *decoder) amount() money.Nanos { return money.Nanos(d.int()) }

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) reason() auction.Reason {
	x := d.uint()
	if x > math.MaxUint16 {
		d.fail()
	}
	return auction.Reason(x)
}

// count reads how many of something follow that has at least least bytes.
func (d *decoder) count(least int) int {
	n := d.uint()
	if n > uint64(len(d.b)/least) {
		d.fail()
		return 0
	}
	return int(n)
}

// index reads an index from lo to below n.
func (d *decoder) index(lo, n int) int {
	x := d.int()
	if x < int64(lo) || x >= int64(n) {
		d.fail()
		return 0
	}
	return int(x)
}

func (d *decoder) text() string {
	at := d.uint()
	if at > uint64(len(d.texts)) {
		d.fail()
		return ""
	}
	if at > 0 {
		return d.texts[at-1]
	}
	text := string(d.take(d.count(1)))
	d.texts = append(d.texts, text)
	return text
}

func (d *decoder) scene(r *Record) {
	s := &r.Scene
	copy(s.AuctionID[:], d.take(len(s.AuctionID)))
	seconds, nanos := d.int(), d.uint()
	if nanos >= uint64(time.Second) {
		d.fail()
	}
	s.At = time.Unix(seconds, int64(nanos)).UTC()
	s.Seed = d.fixed64()
	flags := d.byte()
	s.UserKnown, s.Page.SeparateCategories, r.Truncated = flags&userKnown != 0, flags&separateCategories != 0, flags&truncated != 0
	for _, t := range []*string{
		(*string)(&s.Placement), &s.Country, &s.RulesVersion, &s.ModelVersion, (*string)(&s.Page.Pricing), (*string)(&s.Exploration.Mode), &r.Program, &r.RequestID, &r.UserError,
	} {
		*t = d.text()
	}
	n := d.count(minSlotBytes)
	if n > auction.MaxPageSlots {
		d.fail()
		n = 0
	}
	s.SlotIDs, s.Page.Slots = s.SlotIDs[:0], s.Page.Slots[:0]
	for range n {
		s.SlotIDs = append(s.SlotIDs, d.text())
		s.Page.Slots = append(s.Page.Slots, auction.PageSlot{Position: int(d.int()), Factor: d.float()})
	}
	for _, n := range []*int{&s.Page.MaxAds, &s.Page.MinGap, &s.Page.MaxPerAccount, &s.Page.MaxPerCampaign} {
		*n = int(d.int())
	}
	s.Page.Organic = d.float()
	s.Floor = d.amount()
	s.RelevanceWeight = d.amount()
	s.Exploration.Scale = d.float()
	for i := range s.Features {
		s.Features[i] = d.fixed32()
	}
}

func (d *decoder) candidate(c, last *auction.Candidate) {
	*c = auction.Candidate{PacePPM: noPace}
	c.AdID = last.AdID + campaign.AdID(d.int())
	c.AdGroupID = last.AdGroupID + campaign.AdGroupID(d.int())
	c.CampaignID = last.CampaignID + campaign.CampaignID(d.int())
	c.AdAccountID = last.AdAccountID + campaign.AdAccountID(d.int())
	c.Objective = campaign.Objective(d.text())
	c.Category = d.text()
	c.BillableEvent = campaign.BillableEvent(d.text())
	c.Strategy = campaign.BidStrategy(d.text())
	flags := d.byte()
	c.Bid = d.amount()
	c.PCTR = d.float()
	if flags&hasGoal != 0 {
		c.CPAGoal = d.amount()
	}
	if flags&hasFloor != 0 {
		c.Floor = d.amount()
	}
	if flags&hasPace != 0 {
		c.PacePPM = d.int()
	}
	if flags&hasPCVR != 0 {
		c.PCVR = d.float()
	}
	if flags&hasStdErr != 0 {
		c.StdErr = d.float()
	}
	if flags&hasCap != 0 {
		c.FrequencyCap, c.Views = int(d.int()), int(d.int())
	}
}

func (d *decoder) fate(f *auction.Fate, c *auction.Candidate) {
	flags := d.byte()
	*f = auction.Fate{Reason: d.reason(), Bid: d.amount(), Floor: d.amount(), Rate: 1}
	switch {
	case flags&rateIsPCTR != 0:
		f.Rate = c.PCTR
	case flags&hasRate != 0:
		f.Rate = d.float()
	}
	if flags&hasRelevance != 0 {
		f.Relevance = d.float()
	}
	switch {
	case flags&surelyPlaced != 0:
		f.Propensity = 1
	case flags&hasPropensity != 0:
		f.Propensity = d.float()
	}
	if flags&hasBlockedBy != 0 {
		f.BlockedBy = d.text()
	}
}

func (d *decoder) page(r *Record) {
	n := d.count(minPlacedBytes)
	r.Placed = r.Placed[:0]
	for range n {
		r.Placed = append(r.Placed, auction.Placed{
			Slot: d.index(0, len(r.Page.Slots)), Bidder: d.index(0, len(r.Candidates)),
			Price: d.amount(), PricedBy: d.index(auction.ByOrganic, len(r.Candidates)),
		})
	}
	n = d.count(minAnswerBytes)
	r.Answers = r.Answers[:0]
	for range n {
		r.Answers = append(r.Answers, auction.Answer{AdID: campaign.AdID(d.int()), Price: d.amount(), Reason: d.reason(), BlockedBy: d.text()})
	}
	n = d.count(minMissedBytes)
	r.Missed = r.Missed[:0]
	var last campaign.AdID
	for range n {
		last += campaign.AdID(d.int())
		r.Missed = append(r.Missed, auction.Missed{AdID: last, Reason: d.reason()})
	}
	r.Unexplained = int(d.int())
}
