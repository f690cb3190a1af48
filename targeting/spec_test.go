package targeting_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/targeting"
)

func TestParseSpecNamesKeyAndValue(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ spec, field, message string }{
		"not JSON":                {`{"GENDER":`, "", "not valid JSON"},
		"not an object":           {`[]`, "", "must be a JSON object"},
		"null":                    {`null`, "", "must be a JSON object"},
		"two documents":           {`{} {}`, "", "after the object"},
		"not UTF-8":               {"{\"GENDER\":[\"\xff\"]}", "", "UTF-8"},
		"a key twice":             {`{"GENDER":["male"],"GENDER":["female"]}`, "", `"GENDER" twice`},
		"unknown key":             {`{"gender":["male"]}`, "gender", "not a key"},
		"wrong type":              {`{"GENDER":"male"}`, "GENDER", "list of strings"},
		"wrong type inside":       {`{"GENDER":["male",1]}`, "GENDER[1]", "must be a string"},
		"null inside":             {`{"GENDER":[null]}`, "GENDER[0]", "must be a string"},
		"unknown value":           {`{"GENDER":["male","men"]}`, "GENDER[1]", `"men" is not one of`},
		"empty include":           {`{"GENDER":[]}`, "GENDER", "nobody"},
		"empty audiences":         {`{"AUDIENCE_INCLUDE":[]}`, "AUDIENCE_INCLUDE", "nobody"},
		"lower case country":      {`{"LOCATION":["us"]}`, "LOCATION[0]", `"us" is neither`},
		"no such country":         {`{"LOCATION":["UK"]}`, "LOCATION[0]", `"UK" is neither`},
		"no such market":          {`{"LOCATION":["8070"]}`, "LOCATION[0]", "neither"},
		"postal code":             {`{"GEO":["US-94107"]}`, "GEO[0]", "postal code"},
		"region of no country":    {`{"GEO":["XX-CA"]}`, "GEO[0]", "ISO 3166-2"},
		"locale with a script":    {`{"LOCALE":["zh-Hant"]}`, "LOCALE[0]", "language"},
		"app type":                {`{"APPTYPE":["blackberry"]}`, "APPTYPE[0]", "android_mobile"},
		"interest with a space":   {`{"INTEREST":["a b"]}`, "INTEREST[0]", "interest id"},
		"audience that is text":   {`{"AUDIENCE_EXCLUDE":["vip"]}`, "AUDIENCE_EXCLUDE[0]", "audience id"},
		"audience that is signed": {`{"AUDIENCE_EXCLUDE":["+7"]}`, "AUDIENCE_EXCLUDE[0]", "audience id"},
		"audience beyond int64":   {`{"AUDIENCE_EXCLUDE":["9223372036854775808"]}`, "AUDIENCE_EXCLUDE[0]", "audience id"},
		"age bucket":              {`{"AGE_BUCKET":["18+"]}`, "AGE_BUCKET[0]", `"18+" is not one of 18-24, 19+`},
		"both ways to say ages":   {`{"AGE_BUCKET":["65+"],"MINIMUM_AGE":"18","MAXIMUM_AGE":"20"}`, "AGE_BUCKET", "combined"},
		"minimum alone":           {`{"MINIMUM_AGE":"18"}`, "MAXIMUM_AGE", "required"},
		"maximum alone":           {`{"MAXIMUM_AGE":"18"}`, "MINIMUM_AGE", "required"},
		"minimum of 65+":          {`{"MINIMUM_AGE":"65+","MAXIMUM_AGE":"65+"}`, "MINIMUM_AGE", `"65+"`},
		"minimum of 17":           {`{"MINIMUM_AGE":"17","MAXIMUM_AGE":"20"}`, "MINIMUM_AGE", `"17"`},
		"maximum of 66":           {`{"MINIMUM_AGE":"18","MAXIMUM_AGE":"66"}`, "MAXIMUM_AGE", `"66"`},
		"age as a number":         {`{"MINIMUM_AGE":18,"MAXIMUM_AGE":"20"}`, "MINIMUM_AGE", "string"},
		"ages upside down":        {`{"MINIMUM_AGE":"30","MAXIMUM_AGE":"20"}`, "MINIMUM_AGE", "above"},
		"empty minimum":           {`{"MINIMUM_AGE":"","MAXIMUM_AGE":"20"}`, "MINIMUM_AGE", `"" is not one of`},
		"no such language":        {`{"LOCALE":["en","xx"]}`, "LOCALE[1]", `"xx" is not a language`},
		"no language":             {`{"LOCALE":["und"]}`, "LOCALE[0]", `"und" is not a language`},
		"three letters for two":   {`{"LOCALE":["deu-DE"]}`, "LOCALE[0]", `"deu" is written "de"`},
		"a code of the past":      {`{"LOCALE":["iw"]}`, "LOCALE[0]", `"iw" is written "he"`},
		"locale of no country":    {`{"LOCALE":["en-UK"]}`, "LOCALE[0]", `"en-UK" has a region`},
		"a country by its number": {`{"LOCALE":["en-840"]}`, "LOCALE[0]", `"en-840" has a region`},
		"locale of no area":       {`{"LOCALE":["es-999"]}`, "LOCALE[0]", `"es-999" has a region`},
		"no such strategy":        {`{"TARGETING_STRATEGY":["EVERYONE"]}`, "TARGETING_STRATEGY[0]", `"EVERYONE" is not one of CHOOSE_YOUR_OWN`},
		"no strategy":             {`{"TARGETING_STRATEGY":[]}`, "TARGETING_STRATEGY", "empty"},
		"two strategies":          {`{"TARGETING_STRATEGY":["CHOOSE_YOUR_OWN","RECONNECT_WITH_USERS"],"AUDIENCE_INCLUDE":["1"]}`, "TARGETING_STRATEGY", "2 values"},
		"reconnect with nobody":   {`{"TARGETING_STRATEGY":["RECONNECT_WITH_USERS"]}`, "TARGETING_STRATEGY", "needs AUDIENCE_INCLUDE"},
		"new to nobody":           {`{"TARGETING_STRATEGY":["FIND_NEW_CUSTOMERS"],"AUDIENCE_EXCLUDE":[]}`, "TARGETING_STRATEGY", "needs AUDIENCE_EXCLUDE"},
		"new and known":           {`{"TARGETING_STRATEGY":["FIND_NEW_CUSTOMERS"],"AUDIENCE_EXCLUDE":["1"],"AUDIENCE_INCLUDE":["2"]}`, "TARGETING_STRATEGY", "cannot be combined with AUDIENCE_INCLUDE"},
		"retargeting":             {`{"SHOPPING_RETARGETING":[{"lookback_window":30}]}`, "SHOPPING_RETARGETING", "not supported"},
		"too long":                {`{"GENDER":[` + strings.Repeat(" ", targeting.MaxSpecBytes) + `]}`, "", "longer than"},
		"too many":                {manyInterests(targeting.MaxInterests + 1), "INTEREST", "1001 values"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec, problems := targeting.ParseSpec([]byte(tt.spec))
			require.NotEmpty(t, problems)
			require.Equal(t, tt.field, problems[0].Name)
			require.Contains(t, problems[0].Message, tt.message)
			require.Equal(t, targeting.Spec{}, spec)
		})
	}
}

func manyInterests(n int) string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf(`"%d"`, i)
	}
	return `{"INTEREST":[` + strings.Join(ids, ",") + `]}`
}

func TestParseSpecListsAllProblemsInOneOrder(t *testing.T) {
	t.Parallel()
	raw := []byte(`{"z":1,"a":2,"LOCALE":["?"],"GENDER":["x","male","y"],"LOCATION":[]}`)
	for range 10 {
		_, problems := targeting.ParseSpec(raw)
		var fields []string
		for _, p := range problems {
			fields = append(fields, p.Name)
		}
		require.Equal(t, []string{"LOCATION", "GENDER[0]", "GENDER[2]", "LOCALE[0]", "a", "z"}, fields)
	}
	_, problems := targeting.ParseSpec([]byte(`{"GENDER":[` + strings.Repeat(`"x",`, 100) + `"x"]}`))
	require.Len(t, problems, 20)
}

func TestCanonical(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ in, out string }{
		"nothing":                  {``, `{}`},
		"empty":                    {` { } `, `{}`},
		"null is missing":          {`{"GENDER":null,"AGE_BUCKET":null,"MINIMUM_AGE":null}`, `{}`},
		"limits count values":      {`{"GENDER":["male","male","male","male"]}`, `{"GENDER":["male"]}`},
		"sorted, once":             {`{"GENDER":["male","female","male"],"LOCATION":["US","807","DE"]}`, `{"LOCATION":["807","DE","US"],"GENDER":["female","male"]}`},
		"ids sort as numbers":      {`{"AUDIENCE_INCLUDE":["10","9","010"]}`, `{"AUDIENCE_INCLUDE":["9","10"]}`},
		"locales":                  {`{"LOCALE":["EN_us","de"]}`, `{"LOCALE":["de","en-US"]}`},
		"ages stay as written":     {`{"MAXIMUM_AGE":"65+","MINIMUM_AGE":"18"}`, `{"MINIMUM_AGE":"18","MAXIMUM_AGE":"65+"}`},
		"areas and rare languages": {`{"LOCALE":["es-419","fil-ph"]}`, `{"LOCALE":["es-419","fil-PH"]}`},
		"reconnect":                {`{"TARGETING_STRATEGY":["RECONNECT_WITH_USERS"],"AUDIENCE_INCLUDE":["1"],"AUDIENCE_EXCLUDE":["2"]}`, `{"AUDIENCE_INCLUDE":["1"],"AUDIENCE_EXCLUDE":["2"],"TARGETING_STRATEGY":["RECONNECT_WITH_USERS"]}`},
		"find new customers":       {`{"TARGETING_STRATEGY":["FIND_NEW_CUSTOMERS","FIND_NEW_CUSTOMERS"],"AUDIENCE_EXCLUDE":["2"],"AUDIENCE_INCLUDE":null}`, `{"AUDIENCE_EXCLUDE":["2"],"TARGETING_STRATEGY":["FIND_NEW_CUSTOMERS"]}`},
		"excluding nobody":         {`{"AUDIENCE_EXCLUDE":[ ],"SHOPPING_RETARGETING":[]}`, `{}`},
		"the only strategy":        {`{"TARGETING_STRATEGY":["CHOOSE_YOUR_OWN"]}`, `{"TARGETING_STRATEGY":["CHOOSE_YOUR_OWN"]}`},
		"all else": {
			`{"GEO":["US-CA"],"APPTYPE":["web"],"INTEREST":["b","a"],"AGE_BUCKET":["65+","18-24"],"AUDIENCE_EXCLUDE":["1"]}`,
			`{"GEO":["US-CA"],"AGE_BUCKET":["18-24","65+"],"APPTYPE":["web"],"INTEREST":["a","b"],"AUDIENCE_EXCLUDE":["1"]}`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec, problems := targeting.ParseSpec([]byte(tt.in))
			require.Empty(t, problems)
			require.Equal(t, tt.out, string(spec.Canonical()))
		})
	}
}

// One thing that is wrong is told once, where it is.
func TestParseSpecTellsEachProblemOnce(t *testing.T) {
	t.Parallel()
	for spec, want := range map[string][]string{
		`{"MINIMUM_AGE":18,"MAXIMUM_AGE":"20"}`:                                      {"MINIMUM_AGE must be a string"},
		`{"MINIMUM_AGE":"","MAXIMUM_AGE":""}`:                                        {`MINIMUM_AGE "" is not one of "18" to "65"`, `MAXIMUM_AGE "" is not one of "18" to "65" or "65+"`},
		`{"TARGETING_STRATEGY":["RECONNECT_WITH_USERS"],"AUDIENCE_INCLUDE":["vip"]}`: {`AUDIENCE_INCLUDE[0] "vip" is not an audience id`},
		`{"TARGETING_STRATEGY":["RECONNECT_WITH_USERS"],"AUDIENCE_INCLUDE":null}`:    {"TARGETING_STRATEGY RECONNECT_WITH_USERS needs AUDIENCE_INCLUDE: the users to reconnect with"},
	} {
		_, problems := targeting.ParseSpec([]byte(spec))
		var told []string
		for _, p := range problems {
			told = append(told, p.Name+" "+p.Message)
		}
		require.Equal(t, want, told, spec)
	}
}

// What an API offers as a value, the parser takes, and takes as it is.
func TestOptionsAreValues(t *testing.T) {
	t.Parallel()
	for key, atLeast := range map[string]int{"APPTYPE": 6, "GENDER": 3, "AGE_BUCKET": 10, "LOCATION": 249, "LOCALE": 180} {
		options := targeting.Options(key)
		require.GreaterOrEqual(t, len(options), atLeast, key)
		for i, o := range options {
			require.NotEmpty(t, o.Name)
			require.NotContains(t, o.Name, "Unknown")
			if i > 0 {
				require.Less(t, options[i-1].Value, o.Value, key)
			}
			spec, problems := targeting.ParseSpec([]byte(fmt.Sprintf(`{%q:[%q]}`, key, o.Value)))
			require.Empty(t, problems, "%s %s", key, o.Value)
			require.JSONEq(t, fmt.Sprintf(`{%q:[%q]}`, key, o.Value), string(spec.Canonical()))
		}
	}
	for _, key := range []string{"GEO", "KEYWORD", "INTEREST", "AUDIENCE_INCLUDE", "MINIMUM_AGE", "x", ""} {
		require.Nil(t, targeting.Options(key), key)
	}
	require.Contains(t, targeting.Options("LOCATION"), campaign.TargetingOption{Value: "DE", Name: "Germany"})
	require.Contains(t, targeting.Options("LOCALE"), campaign.TargetingOption{Value: "de", Name: "German"})
}

func TestAges(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		spec string
		has  []int
		not  []int
	}{
		"none":       {`{}`, []int{0, 13, 18, 99}, nil},
		"one year":   {`{"MINIMUM_AGE":"30","MAXIMUM_AGE":"30"}`, []int{30}, []int{0, 29, 31, 66}},
		"up to 65":   {`{"MINIMUM_AGE":"18","MAXIMUM_AGE":"65"}`, []int{18, 65}, []int{-1, 0, 17, 66, 99}},
		"without an": {`{"MINIMUM_AGE":"18","MAXIMUM_AGE":"65+"}`, []int{18, 65, 66, 120}, []int{0, 17}},
		"buckets":    {`{"AGE_BUCKET":["18-24","65+"]}`, []int{18, 24, 65, 66}, []int{0, 17, 25, 64}},
		"21+":        {`{"AGE_BUCKET":["21+"]}`, []int{21, 66}, []int{20}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := ad(t, tt.spec)
			for _, age := range tt.has {
				require.Equal(t, targeting.Matched, matches(t, a, targeting.Query{Age: age}), "age %d", age)
			}
			for _, age := range tt.not {
				require.Equal(t, targeting.MissAge, matches(t, a, targeting.Query{Age: age}), "age %d", age)
			}
		})
	}
}

func FuzzParseSpec(f *testing.F) {
	f.Add([]byte(`{"APPTYPE":["iphone"],"GENDER":["male"],"LOCALE":["en-US"],"LOCATION":["501"],"MINIMUM_AGE":"18","MAXIMUM_AGE":"65+"}`))
	f.Add([]byte(`{"AGE_BUCKET":["18-24"],"GEO":["BE-VOV"],"INTEREST":["1"],"AUDIENCE_INCLUDE":["2"],"AUDIENCE_EXCLUDE":[]}`))
	f.Add([]byte(`{"GENDER":["male"],"GENDER":[]}`))
	f.Add([]byte(`{"LOCALE":["zh_Hant_TW","é","es-419","fil","deu"]}`))
	f.Add([]byte(`{"TARGETING_STRATEGY":["FIND_NEW_CUSTOMERS"],"AUDIENCE_EXCLUDE":["2"],"AUDIENCE_INCLUDE":null}`))
	d := randDraws{rand.New(rand.NewPCG(7, 8))}
	for range 20 {
		f.Add([]byte(aSpec(d)))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		spec, problems := targeting.ParseSpec(raw)
		if len(problems) > 0 {
			require.Equal(t, targeting.Spec{}, spec)
			return
		}
		canonical := spec.Canonical()
		again, problems := targeting.ParseSpec(canonical)
		require.Empty(t, problems, "the canonical form %s is refused", canonical)
		require.Equal(t, spec, again)
		require.True(t, bytes.Equal(canonical, again.Canonical()))
		require.True(t, json.Valid(canonical))
	})
}
