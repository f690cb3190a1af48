package ranking

import (
	"encoding/binary"
	"math"

	"gavel/campaign"
)

// ServedSize is the size of an encoded [Served], in bytes.
const ServedSize = 64

// Served is what an impression carries so that it can be learned from: what the model saw and said. The ids of the ad travel beside it.
type Served struct {
	Features Features
	// PCTR is what was predicted, of the first slot.
	PCTR          float32
	Slot          int
	Placement     string
	Objective     campaign.Objective
	BillableEvent campaign.BillableEvent
	// Category has at most eight bytes; see [Item].
	Category string
}

// servedLayout is the number of this layout, in the high half of the byte of the placement.
const servedLayout = 1

// Encode lays out 48 bytes of features, the bits of pCTR, then a byte each of slot, layout and placement, objective and billable event,
// and eight bytes of category; numbers are little-endian.
func (s *Served) Encode() [ServedSize]byte {
	var b [ServedSize]byte
	for i, h := range s.Features {
		binary.LittleEndian.PutUint32(b[4*i:], h)
	}
	binary.LittleEndian.PutUint32(b[48:], math.Float32bits(s.PCTR))
	b[52] = byte(slotIndex(s.Slot))
	b[53] = byte(servedLayout<<4 | placementCode(s.Placement))
	b[54] = byte(objectiveCode(s.Objective))
	b[55] = byte(billableCode(s.BillableEvent))
	binary.LittleEndian.PutUint64(b[56:], categoryCode(s.Category))
	return b
}

// DecodeServed reads what Encode wrote; false for anything else, such as the zeros of an impression that carries nothing.
func DecodeServed(b *[ServedSize]byte) (Served, bool) {
	var s Served
	for i := range s.Features {
		s.Features[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	s.PCTR = math.Float32frombits(binary.LittleEndian.Uint32(b[48:]))
	s.Slot = int(b[52])
	placement, objective, billable := int(b[53]&15), int(b[54]), int(b[55])
	s.Category = categoryName(binary.LittleEndian.Uint64(b[56:]))
	if b[53]>>4 != servedLayout || s.Slot >= MaxSlots || placement >= placements || objective >= objectives || billable >= len(billableNames) ||
		!(s.PCTR >= 0 && s.PCTR <= 1) || categoryCode(s.Category) != binary.LittleEndian.Uint64(b[56:]) {
		return Served{}, false
	}
	s.Placement, s.Objective, s.BillableEvent = placementNames[placement], objectiveNames[objective], billableNames[billable]
	return s, true
}

// Example is the example that an impression of the ad makes, not clicked. The ad's other ids are those of it.
func (s *Served) Example(it Item) Example {
	it.Objective, it.BillableEvent, it.Category = s.Objective, s.BillableEvent, s.Category
	return Example{Features: s.Features, Item: it, Placement: s.Placement, Slot: s.Slot, PCTR: s.PCTR}
}

// categoryName is the category of a code.
func categoryName(code uint64) string {
	var b [8]byte
	n := 0
	for ; n < 8 && code != 0; n++ {
		b[n] = byte(code)
		code >>= 8
	}
	return string(b[:n])
}
