package event_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/event"
)

func TestAClickIDGoesIntoTheDestinationAndComesBack(t *testing.T) {
	t.Parallel()
	id := uuid.MustParse("01931b6e-0000-7000-8000-000000000001")
	const epik = "epik=AZMbbgAAcACAAAAAAAAAAQ"
	for in, want := range map[string]string{
		"https://shop.example":                      "https://shop.example?" + epik,
		"https://shop.example/":                     "https://shop.example/?" + epik,
		"https://shop.example/p?":                   "https://shop.example/p?" + epik,
		"https://shop.example/p?a=1":                "https://shop.example/p?a=1&" + epik,
		"https://shop.example/p?a=1&":               "https://shop.example/p?a=1&" + epik,
		"https://shop.example/p?b=%20+&a&a#/x?y=1":  "https://shop.example/p?b=%20+&a&a&" + epik + "#/x?y=1",
		"https://shop.example/p#top":                "https://shop.example/p?" + epik + "#top",
		"https://shop.example/p?epik=old&a=1":       "https://shop.example/p?a=1&" + epik,
		"https://shop.example/p?%65pik=old&epiks=1": "https://shop.example/p?epiks=1&" + epik,
		"https://shop.example/p?x=a?b#":             "https://shop.example/p?x=a?b&" + epik + "#",
	} {
		require.Equal(t, want, event.AddClickID(in, id))
	}
}

// TestADestinationStaysWhatItWas: on any URL, only the query changes, and of it only epik.
func TestADestinationStaysWhatItWas(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		part := func(name string) string { return rapid.StringMatching(`[a-zA-Z0-9=&;+%2F?/.~-]{0,12}`).Draw(t, name) }
		text := "https://shop.example/" + rapid.StringMatching(`[a-z0-9/.-]{0,8}`).Draw(t, "path")
		if rapid.Bool().Draw(t, "has query") {
			text += "?" + part("query")
		}
		if rapid.Bool().Draw(t, "has fragment") {
			text += "#" + part("fragment")
		}
		before, err := url.Parse(text)
		if err != nil {
			t.Skip("no URL")
		}
		id := uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Filter(func(b []byte) bool { return uuid.UUID(b) != uuid.Nil }).Draw(t, "id"))
		after, err := url.Parse(event.AddClickID(text, id))
		if err != nil {
			t.Fatal(err)
		}
		got, ok := event.ParseClickID(after.Query().Get("epik"))
		if !ok || got != id || len(after.Query()["epik"]) != 1 {
			t.Fatalf("%q became %q", text, after)
		}
		values := before.Query()
		values.Del("epik")
		rest := after.Query()
		rest.Del("epik")
		if rest.Encode() != values.Encode() || after.EscapedPath() != before.EscapedPath() || after.EscapedFragment() != before.EscapedFragment() || after.Host != before.Host {
			t.Fatalf("%q became %q", text, after)
		}
	})
}

func FuzzParseClickID(f *testing.F) {
	f.Add("AZMbbgAAcACAAAAAAAAAAQ")
	f.Add("dj0yJnU9b2JDcFFHekV4SHJNcmVr")
	f.Add("0\r00000000000000000\r00")
	f.Fuzz(func(t *testing.T, text string) {
		if id, ok := event.ParseClickID(text); ok && event.ClickID(id) != text {
			t.Fatalf("%q is read and not written", text)
		}
	})
}

func TestWhatIsWrongWithAConversionIsSaid(t *testing.T) {
	t.Parallel()
	good := event.Conversion{EventID: "e", Name: "checkout", Source: "web", At: noon}
	require.Empty(t, good.Problem(noon))
	require.True(t, good.Goal())
	for want, change := range map[string]func(*event.Conversion){
		"event_name":             func(c *event.Conversion) { c.Name = "buy" },
		"action_source":          func(c *event.Conversion) { c.Source = "tv" },
		"event_id":               func(c *event.Conversion) { c.EventID = "" },
		"NUL":                    func(c *event.Conversion) { c.EventID = "a\x00" },
		"in the future":          func(c *event.Conversion) { c.At = noon.Add(time.Hour) },
		"more than 30 days ago":  func(c *event.Conversion) { c.At = noon.Add(-31 * 24 * time.Hour) },
		"must have 1 to 1024 by": func(c *event.Conversion) { c.EventID = string(make([]byte, 1025)) },
	} {
		c := good
		change(&c)
		require.Contains(t, c.Problem(noon), want)
	}
	for _, name := range event.ConversionNames() {
		c := good
		c.Name = name
		require.Empty(t, c.Problem(noon))
	}
}
