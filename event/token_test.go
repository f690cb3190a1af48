package event_test

import (
	"encoding/base64"
	"encoding/hex"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/budget"
	"gavel/campaign"
	"gavel/event"
	"gavel/internal/money"
)

func keyText(id string, fill byte) string {
	b := make([]byte, event.KeySize)
	for i := range b {
		b[i] = fill
	}
	return id + ":" + base64.StdEncoding.EncodeToString(b)
}

func keys(t testing.TB, text string) *event.Keys {
	t.Helper()
	k, err := event.ParseKeys(text)
	require.NoError(t, err)
	return k
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func token(exp time.Time) *event.Token {
	return &event.Token{
		EventID: budget.EventID{Day: 20261123, ImpressionID: uuid.MustParse("01931b6e-0000-7000-8000-000000000001"), Kind: budget.Click},
		LeaseID: 5, AdID: 6, AdGroupID: 7, Price: 123_456, UserHash: -9, Exp: exp,
	}
}

func served(fill byte) (s event.Served) {
	for i := range s {
		s[i] = fill
	}
	s[0] |= 1 // never the zero value, which is "none"
	return s
}

func TestTokenRoundTrip(t *testing.T) {
	t.Parallel()
	k := keys(t, keyText("1", 1))
	rapid.Check(t, func(t *rapid.T) {
		in := &event.Token{
			EventID: budget.EventID{
				Day: rapid.IntRange(0, 99991231).Draw(t, "day"), ImpressionID: uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")),
				Kind: rapid.SampledFrom([]budget.Kind{budget.Impression, budget.Viewable, budget.Click}).Draw(t, "kind"),
			},
			LeaseID: budget.LeaseID(rapid.Int64().Draw(t, "lease")), AdID: campaign.AdID(rapid.Int64().Draw(t, "ad")),
			AdGroupID: campaign.AdGroupID(rapid.Int64().Draw(t, "group")), Price: money.Nanos(rapid.Int64Min(0).Draw(t, "price")),
			UserHash: rapid.Int64().Draw(t, "user"), Exp: noon.Add(time.Hour),
		}
		size := event.EncodedTokenSize
		if rapid.Bool().Draw(t, "served") {
			in.Served, size = served(rapid.Byte().Draw(t, "fill")), event.EncodedServedTokenSize
		}
		text := k.Seal(nil, in)
		if len(text) != size {
			t.Fatalf("length %d", len(text))
		}
		out, err := k.Open(text)
		if err != nil {
			t.Fatal(err)
		}
		in.Exp, out.Exp = in.Exp.UTC(), out.Exp.UTC()
		if *in != out {
			t.Fatalf("%+v became %+v", in, out)
		}
	})
}

func TestAnyChangedBitIsForged(t *testing.T) {
	t.Parallel()
	k := keys(t, keyText("1", 1))
	withServed := token(noon.Add(time.Hour))
	withServed.Served = served(7)
	for _, in := range []*event.Token{token(noon.Add(time.Hour)), withServed} {
		anyChangedBitIsForged(t, k, k.Seal(nil, in))
	}
}

func anyChangedBitIsForged(t *testing.T, k *event.Keys, text []byte) {
	t.Helper()
	for i := range text {
		for _, other := range []byte("Aa0-_=%/") {
			if other == text[i] {
				continue
			}
			changed := append([]byte(nil), text...)
			changed[i] = other
			_, err := k.Open(changed)
			require.ErrorIs(t, err, event.ErrForged, "byte %d", i)
		}
	}
	for _, bad := range []string{"", "x", string(text[:len(text)-1]), string(text) + "A"} {
		_, err := k.Open([]byte(bad))
		require.ErrorIs(t, err, event.ErrForged)
	}
}

func TestThePriceCannotBeReadFromTheToken(t *testing.T) {
	t.Parallel()
	k := keys(t, keyText("1", 1))
	a, b := token(noon), token(noon)
	b.ImpressionID = uuid.New()
	ta, tb := k.Seal(nil, a), k.Seal(nil, b)
	rawA, _ := base64.RawURLEncoding.DecodeString(string(ta))
	rawB, _ := base64.RawURLEncoding.DecodeString(string(tb))
	same := 0
	for i := 19; i < len(rawA); i++ {
		if rawA[i] == rawB[i] {
			same++
		}
	}
	require.Less(t, same, 8, "two tokens with the same body must not look alike")
}

// TestWhatVersionOneWroteIsStillRead: these bytes were written before impressions carried anything for training. A node that is updated
// has such records in its journal and such tokens on pages.
func TestWhatVersionOneWroteIsStillRead(t *testing.T) {
	t.Parallel()
	k := keys(t, keyText("1", 1))
	const text = "AQEDAZMbbgAAcACAAAAAAAAAAUWLTuCNnHx9mcUi1ZtK4DyZp2T7uj0noKTnC69PXRR64-v5eOFrpWoVE3y_z-mxEeJY3aeE9vv1p_5iRBHcbOktJqjy"
	require.Equal(t, text, string(k.Seal(nil, token(noon))), "a token without Served is what it was")
	got, err := k.Open([]byte(text))
	require.NoError(t, err)
	got.Exp = got.Exp.UTC()
	require.Equal(t, *token(noon), got)

	record, err := hex.DecodeString("010301931b6e0000700080000000000000010135290300000000000000050000000000000006000000000001e240fffffffffffffff70000000000000007000660f0555030002f93c74e")
	require.NoError(t, err)
	r, err := event.DecodeRecord(record)
	require.NoError(t, err)
	require.Equal(t, token(noon).EventID, r.EventID)
	require.Equal(t, money.Nanos(123_456), r.Price)
	require.Zero(t, r.Served)
	require.Equal(t, record, event.AppendRecord(nil, &r))
}

func TestARecordKeepsWhatWasServed(t *testing.T) {
	t.Parallel()
	in := event.Record{Event: budget.Event{EventID: token(noon).EventID, Price: 5, AcceptedAt: noon, Served: served(9)}, AdGroupID: 7}
	raw := event.AppendRecord(nil, &in)
	out, err := event.DecodeRecord(raw)
	require.NoError(t, err)
	out.AcceptedAt = out.AcceptedAt.UTC()
	require.Equal(t, in, out)
	for i := range raw {
		raw[i] ^= 1
		_, err := event.DecodeRecord(raw)
		require.ErrorIs(t, err, event.ErrDamaged, "byte %d", i)
		raw[i] ^= 1
	}
}

func TestKeysRotate(t *testing.T) {
	t.Parallel()
	old := keys(t, keyText("1", 1))
	both := keys(t, keyText("2", 2)+","+keyText("1", 1))
	only := keys(t, keyText("2", 2))
	text := old.Seal(nil, token(noon))
	_, err := both.Open(text)
	require.NoError(t, err)
	_, err = only.Open(text)
	require.ErrorIs(t, err, event.ErrForged)
	_, err = old.Open(both.Seal(nil, token(noon)))
	require.ErrorIs(t, err, event.ErrForged, "the first key seals")
}

func TestParseKeysSaysWhatIsWrongAndNeverQuotesAKey(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty": "", "no id": "c2VjcmV0", "id 0": keyText("0", 1), "id 256": keyText("256", 1), "not base64": "1:???secret???",
		"short": "1:c2VjcmV0", "twice": keyText("1", 1) + "," + keyText("1", 2),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := event.ParseKeys(text)
			require.Error(t, err)
			require.NotContains(t, err.Error(), "c2VjcmV0")
			require.NotContains(t, err.Error(), "secret")
		})
	}
}

func FuzzOpenToken(f *testing.F) {
	k := keys(f, keyText("1", 1))
	f.Add(k.Seal(nil, token(noon)))
	withServed := token(noon)
	withServed.Served = served(3)
	f.Add(k.Seal(nil, withServed))
	f.Add([]byte("AQE"))
	f.Fuzz(func(t *testing.T, text []byte) {
		tok, err := k.Open(text)
		if err == nil && string(k.Seal(nil, &tok)) != string(text) {
			t.Fatalf("%q opens but does not seal to itself", text)
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(event.AppendRecord(nil, &event.Record{Event: budget.Event{EventID: budget.EventID{Day: 20261123, Kind: budget.Impression}, AcceptedAt: noon}}))
	f.Add(event.AppendRecord(nil, &event.Record{Event: budget.Event{EventID: budget.EventID{Day: 20261123, Kind: budget.Impression}, AcceptedAt: noon, Served: served(1)}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := event.DecodeRecord(b)
		if err == nil && string(event.AppendRecord(nil, &r)) != string(b) {
			t.Fatalf("%x decodes but does not encode to itself", b)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	k := keys(b, keyText("1", 1))
	tok := token(noon)
	var dst [200]byte
	b.ReportAllocs()
	for b.Loop() {
		_ = k.Seal(dst[:0], tok)
	}
}
