package targeting

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"

	"gavel/campaign"
	"gavel/internal/money"
)

// ErrBounds says that a segment is in the order of other Bounds than the reader's. Its ads can still be read.
var ErrBounds = errors.New("segment is in the order of other bounds")

const (
	segmentMagic  = "GVS2"
	changeMagic   = "GVC2"
	checksumBytes = 8
)

// AppendBinary appends the segment as bytes, the same for equal segments: the records of its ads row by row, its columns, and a
// checksum of both. b are the bounds that its ads were parsed with. See docs/redis-keys.md for where the bytes are kept.
func (s *Segment) AppendBinary(dst []byte, b Bounds) []byte {
	from := len(dst)
	dst = append(dst, segmentMagic...)
	dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(b.MaxCTR))
	dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(b.MaxCVR))
	for _, n := range []int{s.rows(), s.groups(), len(s.ads)} {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(n))
	}
	lengthAt := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	for row := range s.rows() {
		dst = s.appendRow(dst, row)
	}
	binary.LittleEndian.PutUint32(dst[lengthAt:], uint32(len(dst)-lengthAt-4))
	d := &s.dimensions
	for _, t := range d.texts() {
		dst = appendDimension(dst, t, appendText)
	}
	dst = appendDimension(dst, &d.age, func(dst []byte, bit int) []byte { return append(dst, byte(bit)) })
	dst = appendDimension(dst, &d.include, appendID)
	dst = appendDimension(dst, &d.exclude, appendID)
	dst = appendDimension(dst, &d.account, appendID)
	return appendChecksum(dst, from)
}

// texts are the dimensions whose values are texts, in the order of the bytes.
func (d *dimensions) texts() []*dimension[string] {
	return []*dimension[string]{&d.placement, &d.place, &d.gender, &d.appType, &d.locale, &d.interest, &d.word, &d.negative, &d.text}
}

func appendChecksum(dst []byte, from int) []byte {
	return binary.LittleEndian.AppendUint64(dst, xxh3.Hash(dst[from:]))
}

// checked is what stands before a good checksum and after the magic.
func checked(raw []byte, magic string) ([]byte, error) {
	body := len(raw) - checksumBytes
	switch {
	case body < len(magic) || string(raw[:len(magic)]) != magic:
		return nil, fmt.Errorf("not %s: %w", magic, ErrCorrupt)
	case binary.LittleEndian.Uint64(raw[body:]) != xxh3.Hash(raw[:body]):
		return nil, fmt.Errorf("checksum of %d bytes: %w", len(raw), ErrCorrupt)
	}
	return raw[len(magic):body], nil
}

// groups counts the groups of the rows, each in each row once.
func (s *Segment) groups() int {
	n := 0
	for row := range s.rows() {
		n += len(s.groupsOf(row))
	}
	return n
}

// groupsOf lists the different groups of a row in order of their ads.
func (s *Segment) groupsOf(row int) []*Group {
	var list []*Group
	for i := s.first[row]; i < s.first[row+1]; i++ {
		if g := s.ads[i].Group; !slices.ContainsFunc(list, func(o *Group) bool { return o == g || *o == *g }) {
			list = append(list, g)
		}
	}
	return list
}

func (s *Segment) appendRow(dst []byte, row int) []byte {
	dst = appendText(dst, string(s.code(row)))
	groups := s.groupsOf(row)
	dst = binary.AppendUvarint(dst, uint64(len(groups)))
	for _, g := range groups {
		dst = appendGroup(dst, g)
	}
	ads := s.ads[s.first[row]:s.first[row+1]]
	dst = binary.AppendUvarint(dst, uint64(len(ads)))
	last := campaign.AdID(0)
	for i := range ads {
		ad := &ads[i]
		at := slices.IndexFunc(groups, func(g *Group) bool { return g == ad.Group || *g == *ad.Group })
		dst = binary.AppendUvarint(dst, uint64(ad.AdID-last))
		dst = binary.AppendUvarint(dst, uint64(at))
		dst = appendText(dst, ad.creative)
		last = ad.AdID
	}
	return dst
}

// appendGroup appends a group without its code, and without its bound, which follows from the bid.
func appendGroup(dst []byte, g *Group) []byte {
	for _, v := range []int64{
		int64(g.AdGroupID), int64(g.CampaignID), int64(g.AdAccountID), int64(g.BidMicros), int64(g.BidFloorMicros), int64(g.CPAGoalMicros), int64(g.FrequencyCap),
	} {
		dst = binary.AppendUvarint(dst, uint64(v))
	}
	c := g.codes()
	dst = append(dst, c[:]...)
	dst = appendText(dst, g.Multipliers.Code())
	dst = appendText(dst, g.Currency)
	return appendText(dst, g.Zone.String())
}

// AppendAd appends all that is known of an ad; equal ads have equal bytes, and others have not.
func AppendAd(dst []byte, ad *Ad) []byte {
	dst = appendText(dst, string(ad.code))
	dst = appendGroup(dst, ad.Group)
	dst = binary.AppendUvarint(dst, uint64(ad.AdID))
	return appendText(dst, ad.creative)
}

func appendDimension[K interface{ ~int | ~int64 | ~string }](dst []byte, d *dimension[K], appendKey func([]byte, K) []byte) []byte {
	dst = append64s(dst, d.open.dense)
	dst = binary.AppendUvarint(dst, uint64(len(d.values)))
	for _, key := range slices.Sorted(maps.Keys(d.values)) {
		dst = appendKey(dst, key)
		c := d.values[key]
		if c.dense != nil {
			dst = append64s(append(dst, 1), c.dense)
			continue
		}
		dst = binary.AppendUvarint(append(dst, 0), uint64(len(c.list)))
		for _, row := range c.list {
			dst = binary.LittleEndian.AppendUint16(dst, row)
		}
	}
	return dst
}

func appendID[K ~int64](dst []byte, id K) []byte { return binary.AppendUvarint(dst, uint64(id)) }

func append64s(dst []byte, words []uint64) []byte {
	for _, w := range words {
		dst = binary.LittleEndian.AppendUint64(dst, w)
	}
	return dst
}

// DecodeSegment reads what AppendBinary has made. Anything else is ErrCorrupt; a segment in another order than the parser's is
// ErrBounds, and DecodeAds reads its ads. raw may be changed afterwards.
func (p *Parser) DecodeSegment(raw []byte) (*Segment, error) {
	d, err := p.openSegment(raw)
	if err != nil {
		return nil, err
	}
	if d.bounds != p.bounds {
		return nil, fmt.Errorf("bounds %v, not %v: %w", d.bounds, p.bounds, ErrBounds)
	}
	s := &Segment{ads: d.ads, first: d.first}
	for row := range d.rows {
		if row > 0 && compareRows(s.group(row-1), s.group(row)) >= 0 {
			return nil, fmt.Errorf("row %d is in the wrong place: %w", row, ErrCorrupt)
		}
	}
	if !s.setTable() {
		return nil, fmt.Errorf("an ad is there twice: %w", ErrCorrupt)
	}
	s.setTimes()
	r := &reader{s: d.columns}
	for _, t := range s.dimensions.texts() {
		*t = readDimension(r, d.rows, t != &s.negative, func() string { return strings.Clone(r.text()) })
	}
	s.age = readDimension(r, d.rows, true, func() int { return int(r.byte()) })
	s.include = readDimension(r, d.rows, true, func() campaign.AudienceID { return campaign.AudienceID(r.uvarint()) })
	s.exclude = readDimension(r, d.rows, false, func() campaign.AudienceID { return campaign.AudienceID(r.uvarint()) })
	s.account = readDimension(r, d.rows, false, func() campaign.AdAccountID { return campaign.AdAccountID(r.uvarint()) })
	if r.bad || r.s != "" {
		return nil, fmt.Errorf("columns: %w", ErrCorrupt)
	}
	return s, nil
}

// DecodeAds reads the ads of what AppendBinary has made, with the parser's bounds, whatever those of the segment were.
func (p *Parser) DecodeAds(raw []byte) ([]*Ad, error) {
	d, err := p.openSegment(raw)
	if err != nil {
		return nil, err
	}
	ads := make([]*Ad, len(d.ads))
	for i := range d.ads {
		ads[i] = &d.ads[i]
	}
	return ads, nil
}

// openedSegment are the records of a segment, and its columns as bytes.
type openedSegment struct {
	bounds  Bounds
	rows    int
	ads     []Ad
	first   []uint32
	columns string
}

func (p *Parser) openSegment(raw []byte) (*openedSegment, error) {
	body, err := checked(raw, segmentMagic)
	if err != nil {
		return nil, err
	}
	const head = 2*8 + 4*4
	if len(body) < head {
		return nil, fmt.Errorf("%d bytes: %w", len(raw), ErrCorrupt)
	}
	number := func(i int) int { return int(binary.LittleEndian.Uint32(body[2*8+4*i:])) }
	rows, groups, ads, size := number(0), number(1), number(2), number(3)
	// The shortest row has a code of 3 bytes, one group of 14, and one ad of 8.
	if size > len(body)-head || rows > maxRows || rows > groups || groups > size/8 || groups > ads || ads > size/8 || rows == 0 {
		return nil, fmt.Errorf("%d rows of %d ads in %d bytes: %w", rows, ads, size, ErrCorrupt)
	}
	d := &openedSegment{
		bounds: Bounds{math.Float64frombits(binary.LittleEndian.Uint64(body)), math.Float64frombits(binary.LittleEndian.Uint64(body[8:]))}, rows: rows,
		ads: make([]Ad, 0, ads), first: make([]uint32, 0, rows+1), columns: string(body[head+size:]),
	}
	// The ads share the bytes of the records; the columns do not, so that those can go.
	r := &reader{s: string(body[head : head+size])}
	slab := make([]Group, 0, groups)
	for range rows {
		d.first = append(d.first, uint32(len(d.ads)))
		if slab, err = p.readRow(r, d, slab); err != nil {
			return nil, err
		}
	}
	d.first = append(d.first, uint32(len(d.ads)))
	if r.bad || r.s != "" || len(d.ads) != ads || len(slab) != groups {
		return nil, fmt.Errorf("records: %w", ErrCorrupt)
	}
	return d, nil
}

// readRow reads a row into d, its groups into slab, which must have room for them.
func (p *Parser) readRow(r *reader, d *openedSegment, slab []Group) ([]Group, error) {
	c := code(r.text())
	if !c.valid() {
		return nil, fmt.Errorf("code of %d bytes: %w", len(c), ErrCorrupt)
	}
	key, n, from := c.hash(), r.count(8), len(slab)
	if n > cap(slab)-from {
		return nil, fmt.Errorf("more groups than there should be: %w", ErrCorrupt)
	}
	for i := range n {
		g, err := p.readGroup(r)
		if err != nil {
			return nil, err
		}
		g.code, g.key = c, key
		if zone := c.zone(); zone != "" && zone != g.Zone.String() {
			return nil, fmt.Errorf("hours in %s of a group in %s: %w", zone, g.Zone, ErrCorrupt)
		}
		if slab = append(slab, g); compareRows(&slab[from], &slab[from+i]) != 0 && d.bounds == p.bounds {
			return nil, fmt.Errorf("a row with two bounds: %w", ErrCorrupt)
		}
	}
	m := r.count(3)
	if m == 0 || m > cap(d.ads)-len(d.ads) {
		return nil, fmt.Errorf("a row of %d ads: %w", m, ErrCorrupt)
	}
	var id uint64
	for i := range m {
		step := r.uvarint()
		at := r.uvarint()
		id += step
		if at >= uint64(n) || i > 0 && step == 0 || id > math.MaxInt64 {
			return nil, fmt.Errorf("ad %d of group %d: %w", id, at, ErrCorrupt)
		}
		d.ads = append(d.ads, Ad{AdID: campaign.AdID(id), Group: &slab[from+int(at)], creative: r.text()})
	}
	return slab, nil
}

func (p *Parser) readGroup(r *reader) (Group, error) {
	g := Group{
		AdGroupID: campaign.AdGroupID(r.uvarint()), CampaignID: campaign.CampaignID(r.uvarint()), AdAccountID: campaign.AdAccountID(r.uvarint()),
		BidMicros: money.Micros(r.uvarint()), BidFloorMicros: money.Micros(r.uvarint()), CPAGoalMicros: money.Micros(r.uvarint()), FrequencyCap: int(r.uvarint()),
	}
	unknown := g.setCodes(codes{r.byte(), r.byte(), r.byte(), r.byte()})
	multipliers, currency, zone := r.text(), r.text(), r.text()
	if r.bad || unknown != nil {
		return g, fmt.Errorf("group %d: %w", g.AdGroupID, ErrCorrupt)
	}
	g.Currency = p.text(currency)
	var err error
	if g.Multipliers, err = p.multipliers(multipliers); err != nil {
		return g, fmt.Errorf("group %d: %w: %w", g.AdGroupID, ErrCorrupt, err)
	}
	if g.Zone, err = p.zone(zone); err != nil {
		return g, fmt.Errorf("group %d: %w: %w", g.AdGroupID, ErrCorrupt, err)
	}
	if g.Bound, err = p.bounds.of(&g); err != nil {
		return g, fmt.Errorf("group %d: %w: %w", g.AdGroupID, ErrCorrupt, err)
	}
	return g, nil
}

func readDimension[K interface{ ~int | ~int64 | ~string }](r *reader, rows int, folded bool, key func() K) dimension[K] {
	d := dimension[K]{folded: folded, open: r.dense(rows)}
	d.restricted = rows - d.open.count
	n := r.count(3)
	d.values = make(map[K]column, n)
	last, some := *new(K), false
	for range n {
		k := key()
		if some && k <= last {
			r.fail()
		}
		last, some = k, true
		switch kind := r.byte(); {
		case kind == 1:
			d.values[k] = r.dense(rows)
		case kind == 0:
			d.values[k] = r.list(rows)
		default:
			r.fail()
		}
	}
	return d
}

// dense reads the words of so many rows; none may be set beyond them.
func (r *reader) dense(rows int) column {
	n := wordsFor(rows)
	raw := r.bytes(n * 8)
	words := make([]uint64, n)
	if r.bad {
		return column{dense: words}
	}
	for i := range words {
		words[i] = littleEndian64(raw[i*8:])
	}
	for i := rows; i < n*64; i++ {
		if words[i/64]>>(i%64)&1 == 1 {
			r.fail()
		}
	}
	return column{dense: words, count: countBits(words)}
}

// list reads the rows of a list, which ascend.
func (r *reader) list(rows int) column {
	n := r.count(2)
	raw := r.bytes(n * 2)
	list := make([]uint16, len(raw)/2)
	for i := range list {
		list[i] = uint16(raw[2*i]) | uint16(raw[2*i+1])<<8
		if int(list[i]) >= rows || i > 0 && list[i] <= list[i-1] {
			r.fail()
		}
	}
	return column{list: list, count: len(list)}
}

func littleEndian64(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// AppendChange appends a change as bytes, with a checksum.
func AppendChange(dst []byte, c Change) []byte {
	from := len(dst)
	dst = append(dst, changeMagic...)
	dst = binary.AppendUvarint(dst, uint64(len(c.Upserts)))
	for _, ad := range c.Upserts {
		dst = AppendAd(dst, ad)
	}
	dst = binary.AppendUvarint(dst, uint64(len(c.Removals)))
	for _, id := range c.Removals {
		dst = binary.AppendUvarint(dst, uint64(id))
	}
	dst = binary.AppendUvarint(dst, uint64(len(c.Lists)))
	for _, audience := range slices.Sorted(maps.Keys(c.Lists)) {
		dst = binary.AppendUvarint(dst, uint64(audience))
		dst = binary.AppendUvarint(dst, uint64(c.Lists[audience]))
	}
	if c.Interests == nil {
		return appendChecksum(append(dst, 0), from)
	}
	return appendChecksum(appendInterests(append(dst, 1), c.Interests), from)
}

func appendInterests(dst []byte, list []campaign.Interest) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	for _, in := range list {
		dst = appendText(appendText(appendText(dst, in.ID), in.ParentID), in.Name)
	}
	return dst
}

// DecodeChange reads what AppendChange has made. Anything else is ErrCorrupt. raw may be changed afterwards.
func (p *Parser) DecodeChange(raw []byte) (Change, error) {
	body, err := checked(raw, changeMagic)
	if err != nil {
		return Change{}, err
	}
	r := &reader{s: string(body)}
	var c Change
	for range r.count(17) {
		ad, err := p.readAd(r)
		if err != nil {
			return Change{}, err
		}
		c.Upserts = append(c.Upserts, ad)
	}
	for range r.count(1) {
		c.Removals = append(c.Removals, campaign.AdID(r.uvarint()))
	}
	if n := r.count(2); n > 0 {
		c.Lists = make(map[campaign.AudienceID]campaign.ListID, n)
		for range n {
			audience := campaign.AudienceID(r.uvarint())
			c.Lists[audience] = campaign.ListID(r.uvarint())
		}
	}
	switch r.byte() {
	case 0:
	case 1:
		c.Interests = make([]campaign.Interest, 0, 1)
		for range r.count(3) {
			c.Interests = append(c.Interests, campaign.Interest{ID: r.text(), ParentID: r.text(), Name: r.text()})
		}
	default:
		r.fail()
	}
	if r.bad || r.s != "" {
		return Change{}, fmt.Errorf("change of %d bytes: %w", len(raw), ErrCorrupt)
	}
	return c, nil
}

// readAd reads what AppendAd has made. The ad keeps nothing of the reader's bytes.
func (p *Parser) readAd(r *reader) (*Ad, error) {
	c := code(r.text())
	if !c.valid() {
		return nil, fmt.Errorf("code of %d bytes: %w", len(c), ErrCorrupt)
	}
	g, err := p.readGroup(r)
	if err != nil {
		return nil, err
	}
	if zone := c.zone(); zone != "" && zone != g.Zone.String() {
		return nil, fmt.Errorf("hours in %s of an ad in %s: %w", zone, g.Zone, ErrCorrupt)
	}
	g.code, g.key = p.share([]byte(c))
	ad := &Ad{AdID: campaign.AdID(r.uvarint()), Group: p.intern(g), creative: strings.Clone(r.text())}
	if r.bad || ad.AdID < 0 {
		return nil, fmt.Errorf("ad %d: %w", ad.AdID, ErrCorrupt)
	}
	return ad, nil
}
