package openbandit

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hashOf is a made-up hashed feature.
func hashOf(n int) string { return fmt.Sprintf("%08x%024x", 0x9e3779b9*uint32(n+1), n) }

// sampleItems makes an items file of n items, of 3 brands and 5 styles.
func sampleItems(n int) string {
	var b strings.Builder
	b.WriteString(itemHeader + "\n")
	for i := range n {
		fmt.Fprintf(&b, "%d,%d,%.4f,%s,%s,%s\n", i, i, float64(i)/4-1, hashOf(i%3), hashOf(i%5), hashOf(i%2))
	}
	return b.String()
}

// sampleRows makes a log of n rows, ten seconds apart, a click in every fifth.
func sampleRows(n, items int, start time.Time) string {
	var b strings.Builder
	b.WriteString(rowHeader + "\n")
	for i := range n {
		click := 0
		if i%5 == 0 {
			click = 1
		}
		fmt.Fprintf(&b, "%s,%d,%d,%d,0.0294,%s,%s,%s,%s,0.0\n", start.Add(time.Duration(i)*10*time.Second).Format("2006-01-02 15:04:05.000000-07:00"),
			i%items, i%3+1, click, hashOf(i%2), hashOf(i%4), hashOf(i%7), hashOf(i%5))
	}
	return b.String()
}

func zipped(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return b.Bytes()
}

var sampleStart = time.Date(2019, 11, 24, 0, 0, 0, 0, time.UTC)

// sampleDir writes a log of 2×n rows.
func sampleDir(t *testing.T, n, items int) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "items-test.csv", []byte(sampleItems(items)))
	write(t, dir, "random-test.csv.gz", zipped(t, sampleRows(n, items, sampleStart)))
	write(t, dir, "bts-test.csv.gz", zipped(t, sampleRows(n, items, sampleStart.Add(5*time.Second))))
	return dir
}

func write(t *testing.T, dir, name string, text []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
}

func sampleLog(t *testing.T, n, items int) *Log {
	t.Helper()
	l, err := ReadDir(sampleDir(t, n, items), "test")
	require.NoError(t, err)
	return l
}

func TestBothPoliciesAreMergedInTheOrderOfTime(t *testing.T) {
	t.Parallel()
	l := sampleLog(t, 20, 6)
	require.Len(t, l.Items, 6)
	require.Len(t, l.Rows, 40)
	for i, r := range l.Rows {
		require.Equal(t, sampleStart.Add(time.Duration(i)*5*time.Second), r.At)
		require.Equal(t, []string{"random", "bts"}[i%2], r.Policy)
		require.Equal(t, i/2+2, r.Line)
	}
	want := Row{
		At: sampleStart.Add(30 * time.Second), Policy: "random", Line: 5, Item: 3, Position: 1,
		User: [4]string{hashOf(1), hashOf(3), hashOf(3), hashOf(3)},
	}
	require.Equal(t, want, l.Rows[6])
	require.True(t, l.Rows[10].Click)
	require.Equal(t, Item{ID: 5, Score: 0.25, Features: [3]string{hashOf(2), hashOf(0), hashOf(1)}}, l.Items[5])
}

func TestRowsOfTheSameInstantAreMergedByPolicy(t *testing.T) {
	t.Parallel()
	dir := sampleDir(t, 3, 2)
	write(t, dir, "bts-test.csv.gz", zipped(t, sampleRows(3, 2, sampleStart)))
	l, err := ReadDir(dir, "test")
	require.NoError(t, err)
	var order []string
	for _, r := range l.Rows {
		order = append(order, r.Policy)
	}
	require.Equal(t, []string{"random", "bts", "random", "bts", "random", "bts"}, order)
}

func TestAMalformedRowIsNamedByFileAndLine(t *testing.T) {
	t.Parallel()
	const good = "2019-11-24 00:00:09.5+00:00,1,2,0,0.03,%[1]s,%[1]s,%[1]s,%[1]s,0.0"
	h := hashOf(7)
	first := fmt.Sprintf(good, h)
	for name, c := range map[string]struct{ line, want string }{
		"time":                {strings.Replace(first, "2019-11-24 00", "2019-11-31 00", 1), `x.csv:3: timestamp "2019-11-31 00:00:09.5+00:00" is not a time`},
		"time without a zone": {strings.Replace(first, "+00:00", "", 1), `x.csv:3: timestamp`},
		"goes back":           {strings.Replace(first, ":09.5", ":08", 1), `x.csv:3: timestamp "2019-11-24 00:00:08+00:00" is before that of the line above`},
		"item not a number":   {strings.Replace(first, ",1,", ",x,", 1), `x.csv:3: item_id "x" is not a whole number`},
		"item not known":      {strings.Replace(first, ",1,", ",99,", 1), `x.csv:3: item_id "99" is not in the items file`},
		"position 0":          {strings.Replace(first, ",2,", ",0,", 1), `x.csv:3: position "0" is not a whole number from 1 to 3`},
		"position 4":          {strings.Replace(first, ",2,", ",4,", 1), `x.csv:3: position "4"`},
		"click 2":             {strings.Replace(first, ",0,", ",2,", 1), `x.csv:3: click "2" is not a whole number from 0 to 1`},
		"propensity 0":        {strings.Replace(first, "0.03", "0.0", 1), `x.csv:3: propensity_score "0.0" is 0`},
		"propensity above 1":  {strings.Replace(first, "0.03", "1.01", 1), `x.csv:3: propensity_score "1.01" is not a number from 0 to 1`},
		"propensity NaN":      {strings.Replace(first, "0.03", "NaN", 1), `x.csv:3: propensity_score "NaN"`},
		"short hash":          {strings.Replace(first, h, h[:31], 1), `x.csv:3: user_feature_0`},
		"hash in capitals":    {first[:strings.LastIndex(first, h)] + strings.ToUpper(hashOf(12)) + ",0.0", `x.csv:3: user_feature_3`},
		"affinity below 0":    {strings.TrimSuffix(first, "0.0") + "-1", `x.csv:3: shown_item_affinity "-1"`},
		"affinity infinite":   {strings.TrimSuffix(first, "0.0") + "Inf", `x.csv:3: shown_item_affinity "Inf"`},
		"a column less":       {strings.TrimSuffix(first, ",0.0"), `x.csv:3: wrong number of fields`},
		"a column more":       {first + ",1", `x.csv:3: wrong number of fields`},
		"a quote":             {`"` + first, `x.csv:3:`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := readRows("x.csv", strings.NewReader(rowHeader+"\n"+first+"\n"+c.line+"\n"+first+"\n"), "random", map[int]bool{1: true})
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := readRows("x.csv", strings.NewReader(rowHeader+"\n"+first+"\n"), "random", map[int]bool{1: true})
	require.NoError(t, err, "the row that the cases spoil is a good one")
}

func TestAMalformedFileIsNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file string
		text []byte
		want string
	}{
		"no items":          {"items-test.csv", []byte(itemHeader + "\n"), "items-test.csv: has no items"},
		"empty":             {"items-test.csv", nil, "items-test.csv:1: is empty"},
		"another header":    {"items-test.csv", []byte("a,b,c,d,e,f\n"), "items-test.csv:1: the header is"},
		"an item twice":     {"items-test.csv", []byte(sampleItems(2) + strings.SplitN(sampleItems(2), "\n", 3)[1] + "\n"), `items-test.csv:4: item_id "0" is there twice`},
		"score a word":      {"items-test.csv", bytes.Replace([]byte(sampleItems(2)), []byte("-0.7500"), []byte("high"), 1), `items-test.csv:3: item_feature_0 "high" is not a number`},
		"not gzip":          {"bts-test.csv.gz", []byte(sampleRows(2, 2, sampleStart)), "bts-test.csv.gz: gzip: invalid header"},
		"gzip cut short":    {"bts-test.csv.gz", zipped(t, sampleRows(2000, 2, sampleStart))[:4000], "unexpected EOF"},
		"gzip with a fault": {"bts-test.csv.gz", spoiled(zipped(t, sampleRows(50, 2, sampleStart))), "bts-test.csv.gz:"},
		"no rows":           {"random-test.csv.gz", zipped(t, rowHeader+"\n"), "random-test.csv.gz: has no rows"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := sampleDir(t, 3, 2)
			write(t, dir, c.file, c.text)
			_, err := ReadDir(dir, "test")
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, c.file)
		})
	}
	_, err := ReadDir(t.TempDir(), "men")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "items-men.csv")
}

// spoiled has another checksum at its end.
func spoiled(z []byte) []byte {
	z[len(z)-8] ^= 0xff
	return z
}

// FuzzReadRows: whatever the bytes, every row that comes out keeps the rules, and every error names the file.
func FuzzReadRows(f *testing.F) {
	f.Add(sampleRows(4, 3, sampleStart))
	f.Add(rowHeader + "\n\"a\nb\",,,,,,,,,\n")
	f.Add(strings.ReplaceAll(sampleRows(2, 3, sampleStart), "\n", "\r\n"))
	known := map[int]bool{0: true, 1: true, 2: true}
	f.Fuzz(func(t *testing.T, text string) {
		rows, err := readRows("fuzz.csv", strings.NewReader(text), "random", known)
		if err != nil {
			require.ErrorContains(t, err, "fuzz.csv:")
			return
		}
		for i, r := range rows {
			require.True(t, known[r.Item] && r.Position >= 1 && r.Position <= 3 && r.Line > 1, "%+v", r)
			require.False(t, i > 0 && r.At.Before(rows[i-1].At))
			for _, v := range r.User {
				require.Len(t, v, 32)
			}
		}
	})
}
