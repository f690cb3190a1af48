package handlers

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/event"
	"gavel/internal/fault"
)

// TestHandWrittenStringsAreWhatTheEncoderWrites compares with encoding/json on any bytes, invalid UTF-8 included.
func TestHandWrittenStringsAreWhatTheEncoderWrites(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOf(rapid.OneOf(rapid.Byte(), rapid.SampledFrom([]byte("\"\\\n\r\t\b\f\x00\x1f\x7f<>&\xe2\x80\xa8\xa9")))).Draw(t, "bytes"))
		var want bytes.Buffer
		e := json.NewEncoder(&want)
		e.SetEscapeHTML(false)
		if err := e.Encode(s); err != nil {
			t.Fatal(err)
		}
		got := string(appendJSONString(nil, s)) + "\n"
		if got != want.String() {
			t.Fatalf("%q: got %s want %s", s, got, want.String())
		}
	})
}

// FuzzDecodeAdRequest: any body either decodes to a request within the limits or is refused as invalid, with a reason.
func FuzzDecodeAdRequest(f *testing.F) {
	f.Add([]byte(`{"placement":"BROWSE","slots":[{"id":"s1","position":3}],"user":{"id":"u","age":27},"exclude":{"ad_ids":["1"]}}`))
	f.Add([]byte(`{"placement":1,"slots":{},"user":[],"x":null}`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := decodeAdRequest(body)
		if err != nil {
			var refused *fault.Error
			if !errors.As(err, &refused) || refused.Code != fault.Invalid || len(refused.Fields) == 0 {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		if len(r.Slots) == 0 || len(r.Slots) > maxSlots || r.Placement == "" {
			t.Fatalf("%q became %+v", body, r)
		}
		for _, id := range append(r.Exclude.AdAccountIDs, r.Exclude.AdIDs...) {
			_ = mustID(id) // an id that slipped through would panic
		}
	})
}

func TestUnknownFieldsAreFoundHoweverDeep(t *testing.T) {
	t.Parallel()
	_, err := decodeAdRequest([]byte(`{"placement":"BROWSE","slots":[{"id":"a"},{"id":"b","colour":"red"}],"user":{"id":7},"PLACEMENT":"SEARCH"}`))
	var refused *fault.Error
	require.ErrorAs(t, err, &refused)
	var names []string
	for _, f := range refused.Fields {
		names = append(names, f.Name)
	}
	require.Equal(t, []string{"slots[1].colour", "user.id"}, names)
}

// TestEveryAttributeOfARequestReachesTheQuery: an attribute that is accepted and then dropped would make its ads invisible.
func TestEveryAttributeOfARequestReachesTheQuery(t *testing.T) {
	t.Parallel()
	in, err := decodeAdRequest([]byte(`{"placement":"SEARCH","slots":[{"id":"s"}],
		"user":{"id":"u","country":"US","region":"US-CA","dma":"807","gender":"male","age":30,"locale":"en-US","interests":["1"]},
		"device":{"app_type":"ipad"},"context":{"query":"q","keywords":["k"]},"exclude":{"ad_account_ids":["5"],"ad_ids":["6"]}}`))
	require.NoError(t, err)
	q := (&AdServer{Clock: event.NewClock(event.Ticks())}).request(in).Query
	unset := map[string]bool{"Audiences": true, "AudiencesKnown": true} // from Redis
	for i, v := 0, reflect.ValueOf(q); i < v.NumField(); i++ {
		name := v.Type().Field(i).Name
		require.Equal(t, unset[name], v.Field(i).IsZero(), name)
	}
	require.Equal(t, "807", q.DMA)
}

func TestAdRequestsNameWhatCannotBe(t *testing.T) {
	t.Parallel()
	for user, field := range map[string]string{
		`"dma":"80"`: "user.dma", `"dma":"8070"`: "user.dma", `"dma":"080"`: "user.dma", `"dma":"80a"`: "user.dma", `"dma":807`: "user.dma",
		`"region":"US-ca"`: "user.region", `"region":"US_CA"`: "user.region", `"region":"CA"`: "user.region", `"region":"US-CALI"`: "user.region",
		`"country":"us"`: "user.country", `"country":"USA"`: "user.country", `"gender":"men"`: "user.gender", `"age":0`: "user.age", `"interests":[""]`: "user.interests[0]",
	} {
		_, err := decodeAdRequest([]byte(`{"placement":"BROWSE","slots":[{"id":"a"}],"user":{` + user + `}}`))
		var refused *fault.Error
		require.ErrorAs(t, err, &refused, user)
		require.Len(t, refused.Fields, 1, user)
		require.Equal(t, field, refused.Fields[0].Name)
	}
}
