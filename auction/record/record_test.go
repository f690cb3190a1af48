package record_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/auction"
	"gavel/auction/record"
	"gavel/internal/replaybench"
)

// made is record n of a random market.
func made(n uint64) *record.Record {
	r := &record.Record{}
	replaybench.NewMarket().Make(7, n, r)
	return r
}

// decoded is r after a way through its binary form.
func decoded(t require.TestingT, r *record.Record) *record.Record {
	var back record.Record
	require.NoError(t, record.Decode(record.Append(nil, r), &back))
	return &back
}

// anything draws a record that means nothing: every field has any value that its form can hold.
func anything(t *rapid.T) *record.Record {
	text := rapid.SampledFrom([]string{"", "a", "IAB2", "GSP", "\x00\xff", string(make([]byte, 300))})
	float := rapid.Map(rapid.Uint64(), math.Float64frombits)
	usual := rapid.OneOf(float, rapid.SampledFrom([]float64{0, 1, math.Copysign(0, -1), math.NaN(), math.Inf(1)}))
	r := &record.Record{}
	fill := func(into *string) { *into = text.Draw(t, "text") }
	copy(r.AuctionID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
	r.At = time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC()
	r.Seed = rapid.Uint64().Draw(t, "seed")
	for _, s := range []*string{
		(*string)(&r.Placement), &r.Country, &r.RulesVersion, &r.ModelVersion, &r.Program, &r.RequestID, &r.UserError, (*string)(&r.Page.Pricing), (*string)(&r.Exploration.Mode),
	} {
		fill(s)
	}
	r.UserKnown, r.Truncated, r.Page.SeparateCategories = rapid.Bool().Draw(t, "known"), rapid.Bool().Draw(t, "truncated"), rapid.Bool().Draw(t, "separate")
	for _, n := range []*int{&r.Page.MaxAds, &r.Page.MinGap, &r.Page.MaxPerAccount, &r.Page.MaxPerCampaign, &r.Unexplained} {
		*n = rapid.Int().Draw(t, "n")
	}
	r.Page.Organic, r.Exploration.Scale = usual.Draw(t, "organic"), usual.Draw(t, "scale")
	amount := rapid.Make[auction.Answer]() // its price is any
	r.Floor, r.RelevanceWeight = amount.Draw(t, "floor").Price, amount.Draw(t, "weight").Price
	for i := range r.Features {
		r.Features[i] = rapid.Uint32().Draw(t, "feature")
	}
	for range rapid.IntRange(1, auction.MaxPageSlots).Draw(t, "slots") {
		r.SlotIDs = append(r.SlotIDs, text.Draw(t, "slot"))
		r.Page.Slots = append(r.Page.Slots, auction.PageSlot{Position: rapid.Int().Draw(t, "position"), Factor: usual.Draw(t, "factor")})
	}
	for range rapid.IntRange(1, 5).Draw(t, "candidates") {
		c, f := rapid.Make[auction.Candidate]().Draw(t, "candidate"), rapid.Make[auction.Fate]().Draw(t, "fate")
		if rapid.Bool().Draw(t, "usual") {
			c.CPAGoal, c.Floor, c.PacePPM, c.FrequencyCap, c.Views, f.BlockedBy = 0, 0, 1_000_000, 0, 0, ""
		}
		for _, x := range []*float64{&c.PCTR, &c.PCVR, &c.StdErr, &f.Rate, &f.Relevance, &f.Propensity} {
			*x = usual.Draw(t, "score")
		}
		r.Candidates, r.Fates = append(r.Candidates, c), append(r.Fates, f)
	}
	for range rapid.IntRange(0, 3).Draw(t, "placed") {
		r.Placed = append(r.Placed, auction.Placed{
			Slot: rapid.IntRange(0, len(r.Page.Slots)-1).Draw(t, "slot"), Bidder: rapid.IntRange(0, len(r.Candidates)-1).Draw(t, "bidder"),
			Price: amount.Draw(t, "price").Price, PricedBy: rapid.IntRange(auction.ByOrganic, len(r.Candidates)-1).Draw(t, "next"),
		})
	}
	r.Answers = rapid.SliceOfN(amount, 0, 3).Draw(t, "answers")
	r.Missed = rapid.SliceOfN(rapid.Make[auction.Missed](), 0, 3).Draw(t, "missed")
	return r
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := anything(t)
		b := record.Append([]byte("before"), r)
		require.Equal(t, "before", string(b[:6]))
		back := made(rapid.Uint64().Draw(t, "left over")) // what r held before does not shine through
		require.NoError(t, record.Decode(b[6:], back))
		require.Equal(t, b[6:], record.Append(nil, back), "the same bits")
		// NaN is not equal to itself, so what is compared with == has none.
		for _, x := range []*record.Record{r, back} {
			x.Page.Organic, x.Exploration.Scale = 0, 0
			for i := range x.Page.Slots {
				x.Page.Slots[i].Factor = 0
			}
			for i := range x.Candidates {
				c, f := &x.Candidates[i], &x.Fates[i]
				c.PCTR, c.PCVR, c.StdErr, f.Rate, f.Relevance, f.Propensity = 0, 0, 0, 0, 0, 0
			}
			if len(x.Missed) == 0 {
				x.Missed = nil
			}
			if len(x.Answers) == 0 {
				x.Answers = nil
			}
			if len(x.Placed) == 0 {
				x.Placed = nil
			}
		}
		require.Equal(t, r, back)
	})
}

func TestDamageIsNoticed(t *testing.T) {
	t.Parallel()
	for n := range uint64(3) {
		b := record.Append(nil, made(n))
		var r record.Record
		for cut := range b {
			require.ErrorIs(t, record.Decode(b[:cut], &r), record.ErrDamaged, "cut at %d", cut)
		}
		require.ErrorIs(t, record.Decode(append(bytes.Clone(b), 0), &r), record.ErrDamaged)
		for bit := range 8 * len(b) {
			b[bit/8] ^= 1 << (bit % 8)
			require.ErrorIs(t, record.Decode(b, &r), record.ErrDamaged, "bit %d", bit)
			b[bit/8] ^= 1 << (bit % 8)
		}
		require.NoError(t, record.Decode(b, &r))
		require.Empty(t, record.Replay(&r, &auction.Decider{}))
	}
}

func TestAnotherFormIsNamed(t *testing.T) {
	t.Parallel()
	b := record.Append(nil, made(1))
	b[0]++
	require.ErrorIs(t, record.Decode(sealed(b[:len(b)-4]), &record.Record{}), record.ErrVersion)
}

// sealed puts the right checksum behind body.
func sealed(body []byte) []byte {
	return binary.LittleEndian.AppendUint32(bytes.Clone(body), crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
}

// FuzzDecode: bytes whose checksum fits, whatever they are, are either refused or a record, and that record can be written, read and
// explained.
func FuzzDecode(f *testing.F) {
	b := record.Append(nil, plain()) // a small one: what is large takes long to minimise
	f.Add(b[:len(b)-4])
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, body []byte) {
		var r record.Record
		if err := record.Decode(body, &r); err == nil && crc32.Checksum(body[:len(body)-4], crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(body[len(body)-4:]) {
			t.Fatal("a wrong checksum was accepted")
		}
		if record.Decode(sealed(body), &r) != nil {
			return
		}
		again := record.Append(nil, &r)
		var back record.Record
		if err := record.Decode(again, &back); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again, record.Append(nil, &back)) {
			t.Fatal("not the same after a second way")
		}
		record.Explain(&r)
	})
}

// file is a file of the first n records.
func file(t *testing.T, n uint64) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := record.NewWriter(&out)
	require.NoError(t, err)
	for i := range n {
		require.NoError(t, w.Write(record.Append(nil, made(i))))
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

// readAll reads a whole file.
func readAll(b []byte) (records [][]byte, err error) {
	r, err := record.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for {
		one, err := r.Next(nil)
		if errors.Is(err, io.EOF) {
			_, err := r.Next(nil)
			if !errors.Is(err, io.EOF) {
				return nil, errors.New("the end is no end")
			}
			return records, nil
		}
		if err != nil {
			return records, err
		}
		records = append(records, one)
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	for _, n := range []uint64{0, 1, 40} {
		b := file(t, n)
		records, err := readAll(b)
		require.NoError(t, err)
		require.Len(t, records, int(n))
		for i, one := range records {
			require.Equal(t, record.Append(nil, made(uint64(i))), one)
		}
		for cut := 0; cut < len(b); cut += 1 + cut/40 {
			_, err := readAll(b[:cut])
			if cut < len("GAVELREC1\n") {
				require.ErrorIs(t, err, record.ErrNoFile, "cut at %d", cut)
			} else {
				require.ErrorIs(t, err, record.ErrTruncated, "cut at %d of %d", cut, len(b))
			}
		}
		for _, more := range []string{"x", "more of it", string(b)} {
			_, err := readAll(append(bytes.Clone(b), more...))
			require.Error(t, err)
		}
	}
	_, err := readAll([]byte("auction_id,price\n1,2\n"))
	require.ErrorIs(t, err, record.ErrNoFile)
	w, err := record.NewWriter(io.Discard)
	require.NoError(t, err)
	require.ErrorIs(t, w.Write(nil), record.ErrDamaged, "a record of no bytes would end the file")
}

func TestDamagedFilesAreNotAccepted(t *testing.T) {
	t.Parallel()
	b := file(t, 5)
	whole, err := readAll(b)
	require.NoError(t, err)
	for bit := 0; bit < 8*len(b); bit += 1 + bit/50 {
		b[bit/8] ^= 1 << (bit % 8)
		records, err := readAll(b)
		if err == nil { // bits that zstd does not use
			require.Equal(t, whole, records, "bit %d", bit)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
}

// FuzzReader: no bytes make the reader of files panic, or ask for memory that a file has not.
func FuzzReader(f *testing.F) {
	f.Add([]byte("GAVELREC1\n"))
	f.Add([]byte("nothing"))
	var out bytes.Buffer
	w, err := record.NewWriter(&out)
	if err != nil {
		f.Fatal(err)
	}
	if err := errors.Join(w.Write(record.Append(nil, plain())), w.Close()); err != nil {
		f.Fatal(err)
	}
	f.Add(out.Bytes())
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = readAll(b)
	})
}
