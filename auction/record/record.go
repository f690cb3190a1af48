package record

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"slices"

	"gavel/auction"
	"gavel/internal/money"
)

// Record is one auction: what it depended on, what was decided, and what else is worth knowing of it.
type Record struct {
	auction.Scene
	auction.Outcome
	auction.Extra
	// Program is the version of the program that decided.
	Program string
}

// ErrDamaged says that bytes are not a record, or not as they were written.
var ErrDamaged = errors.New("the record is damaged")

// ErrVersion says that a record has a form that this program does not know.
var ErrVersion = errors.New("the record was written in a form that this program does not know")

const (
	// version is that of the binary form. A change of the form is a new number.
	version = 1
	// checksumBytes end a record: CRC-32C of all before them, little-endian.
	checksumBytes = 4
	// MaxBytes bounds one record.
	MaxBytes = 16 << 20
)

// What flags say of a page, a candidate and its fate. A flag that is not set means the usual value, which is then left out.
const (
	userKnown = 1 << iota
	separateCategories
	truncated
)

const (
	hasGoal = 1 << iota
	hasFloor
	hasPace
	hasPCVR
	hasStdErr
	hasCap
)

const (
	rateIsPCTR = 1 << iota // neither this nor the next: the rate is 1
	hasRate
	hasRelevance
	hasPropensity // neither this nor the next: the propensity is 0
	surelyPlaced  // it is 1
	hasBlockedBy
)

const (
	noPace = 1_000_000 // PacePPM of an ad that bids what it says
	one    = 0x3FF0000000000000
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Append appends the binary form of r.
func Append(dst []byte, r *Record) []byte {
	start := len(dst)
	e := encoder{b: append(dst, version), texts: make([]string, 0, 64)}
	e.scene(r)
	e.uint(uint64(len(r.Candidates)))
	var last auction.Candidate
	for i := range r.Candidates {
		var fate auction.Fate
		if i < len(r.Fates) {
			fate = r.Fates[i]
		}
		e.candidate(&r.Candidates[i], &last)
		e.fate(&fate, &r.Candidates[i])
		last = r.Candidates[i]
	}
	e.page(r)
	return binary.LittleEndian.AppendUint32(e.b, crc32.Checksum(e.b[start:], castagnoli))
}

// encoder appends. texts are the texts so far: one that comes again is a number.
type encoder struct {
	b     []byte
	texts []string
}

func (e *encoder) uint(x uint64)           { e.b = binary.AppendUvarint(e.b, x) }
func (e *encoder) int(x int64)             { e.b = binary.AppendVarint(e.b, x) }
func (e *encoder) amount(x money.Nanos)    { e.int(int64(x)) }
func (e *encoder) float(x float64)         { e.b = binary.LittleEndian.AppendUint64(e.b, math.Float64bits(x)) }
func (e *encoder) byte(x byte)             { e.b = append(e.b, x) }
func (e *encoder) raw(x string)            { e.b = append(e.b, x...) }
func (e *encoder) reason(x auction.Reason) { e.uint(uint64(x)) }

// text appends the number of a text that was there before, counted from 1, or 0, its length and its bytes.
func (e *encoder) text(x string) {
	if at := slices.Index(e.texts, x); at >= 0 {
		e.uint(uint64(at) + 1)
		return
	}
	e.texts = append(e.texts, x)
	e.uint(0)
	e.uint(uint64(len(x)))
	e.raw(x)
}

func flag(on bool, bit byte) byte {
	if on {
		return bit
	}
	return 0
}

func bits(x float64) uint64 { return math.Float64bits(x) }

func (e *encoder) scene(r *Record) {
	s := &r.Scene
	e.b = append(e.b, s.AuctionID[:]...)
	e.int(s.At.Unix())
	e.uint(uint64(s.At.Nanosecond()))
	e.b = binary.LittleEndian.AppendUint64(e.b, s.Seed)
	e.byte(flag(s.UserKnown, userKnown) | flag(s.Page.SeparateCategories, separateCategories) | flag(r.Truncated, truncated))
	for _, t := range []string{
		string(s.Placement), s.Country, s.RulesVersion, s.ModelVersion, string(s.Page.Pricing), string(s.Exploration.Mode), r.Program, r.RequestID, r.UserError,
	} {
		e.text(t)
	}
	e.uint(uint64(len(s.Page.Slots)))
	for i, slot := range s.Page.Slots {
		id := ""
		if i < len(s.SlotIDs) {
			id = s.SlotIDs[i]
		}
		e.text(id)
		e.int(int64(slot.Position))
		e.float(slot.Factor)
	}
	for _, n := range []int{s.Page.MaxAds, s.Page.MinGap, s.Page.MaxPerAccount, s.Page.MaxPerCampaign} {
		e.int(int64(n))
	}
	e.float(s.Page.Organic)
	e.amount(s.Floor)
	e.amount(s.RelevanceWeight)
	e.float(s.Exploration.Scale)
	for _, f := range s.Features {
		e.b = binary.LittleEndian.AppendUint32(e.b, f)
	}
}

// candidate appends c; ids as differences from those of the candidate before it.
func (e *encoder) candidate(c, last *auction.Candidate) {
	e.int(int64(c.AdID) - int64(last.AdID))
	e.int(int64(c.AdGroupID) - int64(last.AdGroupID))
	e.int(int64(c.CampaignID) - int64(last.CampaignID))
	e.int(int64(c.AdAccountID) - int64(last.AdAccountID))
	e.text(string(c.Objective))
	e.text(c.Category)
	e.text(string(c.BillableEvent))
	e.text(string(c.Strategy))
	flags := flag(c.CPAGoal != 0, hasGoal) | flag(c.Floor != 0, hasFloor) | flag(c.PacePPM != noPace, hasPace) |
		flag(bits(c.PCVR) != 0, hasPCVR) | flag(bits(c.StdErr) != 0, hasStdErr) | flag(c.FrequencyCap != 0 || c.Views != 0, hasCap)
	e.byte(flags)
	e.amount(c.Bid)
	e.float(c.PCTR)
	if flags&hasGoal != 0 {
		e.amount(c.CPAGoal)
	}
	if flags&hasFloor != 0 {
		e.amount(c.Floor)
	}
	if flags&hasPace != 0 {
		e.int(c.PacePPM)
	}
	if flags&hasPCVR != 0 {
		e.float(c.PCVR)
	}
	if flags&hasStdErr != 0 {
		e.float(c.StdErr)
	}
	if flags&hasCap != 0 {
		e.int(int64(c.FrequencyCap))
		e.int(int64(c.Views))
	}
}

func (e *encoder) fate(f *auction.Fate, c *auction.Candidate) {
	isPCTR := bits(f.Rate) == bits(c.PCTR)
	flags := flag(isPCTR, rateIsPCTR) | flag(!isPCTR && bits(f.Rate) != one, hasRate) | flag(bits(f.Relevance) != 0, hasRelevance) |
		flag(bits(f.Propensity) == one, surelyPlaced) | flag(bits(f.Propensity) != one && bits(f.Propensity) != 0, hasPropensity) | flag(f.BlockedBy != "", hasBlockedBy)
	e.byte(flags)
	e.reason(f.Reason)
	e.amount(f.Bid)
	e.amount(f.Floor)
	if flags&hasRate != 0 {
		e.float(f.Rate)
	}
	if flags&hasRelevance != 0 {
		e.float(f.Relevance)
	}
	if flags&hasPropensity != 0 {
		e.float(f.Propensity)
	}
	if flags&hasBlockedBy != 0 {
		e.text(f.BlockedBy)
	}
}

func (e *encoder) page(r *Record) {
	e.uint(uint64(len(r.Placed)))
	for _, p := range r.Placed {
		e.int(int64(p.Slot))
		e.int(int64(p.Bidder))
		e.amount(p.Price)
		e.int(int64(p.PricedBy))
	}
	e.uint(uint64(len(r.Answers)))
	for _, a := range r.Answers {
		e.int(int64(a.AdID))
		e.amount(a.Price)
		e.reason(a.Reason)
		e.text(a.BlockedBy)
	}
	e.uint(uint64(len(r.Missed)))
	last := int64(0)
	for _, m := range r.Missed {
		e.int(int64(m.AdID) - last)
		e.reason(m.Reason)
		last = int64(m.AdID)
	}
	e.int(int64(r.Unexplained))
}
