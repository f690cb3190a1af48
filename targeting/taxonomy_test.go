package targeting_test

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/campaign"
	"gavel/targeting"
)

func interest(id, parent string) campaign.Interest {
	return campaign.Interest{ID: id, ParentID: parent, Name: "the " + id}
}

func TestTaxonomy(t *testing.T) {
	t.Parallel()
	// The order of the list does not matter: children may come before their parents.
	x, err := targeting.NewTaxonomy([]campaign.Interest{
		interest("chairs", "furniture"), interest("food", ""), interest("armchairs", "chairs"), interest("furniture", "home"),
		interest("home", ""), interest("beds", "furniture"),
	})
	require.NoError(t, err)
	require.Equal(t, 6, x.Len())
	require.True(t, x.Has("beds"))
	require.False(t, x.Has("cars"))
	require.False(t, x.Has(""))
	require.Equal(t, []string{"chairs", "furniture", "home"}, x.AppendAncestors(nil, "armchairs"), "nearest first")
	require.Equal(t, []string{"kept"}, x.AppendAncestors([]string{"kept"}, "home"))
	require.Empty(t, x.AppendAncestors(nil, "cars"))
	require.Equal(t, []campaign.Interest{interest("beds", "furniture"), interest("chairs", "furniture")}, x.Children("furniture"))
	require.Equal(t, []campaign.Interest{interest("food", ""), interest("home", "")}, x.Children(""))
	require.Empty(t, x.Children("beds"))
	require.Empty(t, x.Children("cars"))
	in, level, known := x.Get("armchairs")
	require.True(t, known)
	require.Equal(t, interest("armchairs", "chairs"), in)
	require.Equal(t, 4, level)
	require.True(t, slices.IsSortedFunc(x.All(), func(a, b campaign.Interest) int { return strings.Compare(a.ID, b.ID) }))
	require.Len(t, x.All(), 6)
}

//nolint:paralleltest // AllocsPerRun does not allow it
func TestAncestorsAllocateNothing(t *testing.T) {
	x, err := targeting.NewTaxonomy([]campaign.Interest{interest("a", ""), interest("b", "a"), interest("c", "b")})
	require.NoError(t, err)
	dst := make([]string, 0, targeting.MaxTaxonomyDepth)
	require.Zero(t, testing.AllocsPerRun(10, func() { dst = x.AppendAncestors(dst[:0], "c") }))
	require.Len(t, dst, 2)
}

func TestNoTaxonomy(t *testing.T) {
	t.Parallel()
	var x *targeting.Taxonomy
	require.Zero(t, x.Len())
	require.False(t, x.Has("a"))
	require.Empty(t, x.AppendAncestors(nil, "a"))
	require.Empty(t, x.Children(""))
	require.Empty(t, x.All())
	_, _, known := x.Get("a")
	require.False(t, known)
	empty, err := targeting.NewTaxonomy(nil)
	require.NoError(t, err)
	require.Zero(t, empty.Len())
	require.Empty(t, empty.Children(""))
}

func TestTaxonomyRefuses(t *testing.T) {
	t.Parallel()
	chain := func(n int) []campaign.Interest {
		list := []campaign.Interest{interest("0", "")}
		for i := 1; i < n; i++ {
			list = append(list, interest(strconv.Itoa(i), strconv.Itoa(i-1)))
		}
		return list
	}
	_, err := targeting.NewTaxonomy(chain(targeting.MaxTaxonomyDepth))
	require.NoError(t, err)
	deep := chain(targeting.MaxTaxonomyDepth + 1)
	backward := slices.Clone(deep)
	slices.Reverse(backward)
	for name, c := range map[string]struct {
		list []campaign.Interest
		at   int
		why  string
	}{
		"unknown parent":           {[]campaign.Interest{interest("a", ""), interest("b", "c")}, 1, `interest "b" has the parent "c", which there is not`},
		"its own parent":           {[]campaign.Interest{interest("a", "a")}, 0, `interest "a" is below itself, or below an interest that is: "a"`},
		"a cycle":                  {[]campaign.Interest{interest("x", ""), interest("a", "c"), interest("b", "a"), interest("c", "b")}, 1, `interest "a" is below itself, or below an interest that is: "a"`},
		"below a cycle":            {[]campaign.Interest{interest("x", "a"), interest("a", "b"), interest("b", "a")}, 0, `interest "x" is below itself, or below an interest that is: "a"`},
		"given twice":              {[]campaign.Interest{interest("a", ""), interest("b", ""), interest("a", "b")}, 2, `interest "a" is given twice`},
		"too deep":                 {deep, 8, `interest "8" is too deep: at most 8 levels are allowed`},
		"too deep, children first": {backward, 0, `interest "8" is too deep: at most 8 levels are allowed`},
		"no id":                    {[]campaign.Interest{interest("", "")}, 0, `interest "" has no id of 1 to 64 visible ASCII characters`},
		"id with a space":          {[]campaign.Interest{interest("a b", "")}, 0, `interest "a b" has no id of 1 to 64 visible ASCII characters`},
		"no name":                  {[]campaign.Interest{{ID: "a", Name: " "}}, 0, `interest "a" has no name`},
		"name not printable":       {[]campaign.Interest{{ID: "a", Name: "a\x00"}}, 0, `interest "a" has a name that is not printable UTF-8`},
		"name not UTF-8":           {[]campaign.Interest{{ID: "a", Name: "a\xff"}}, 0, `interest "a" has a name that is not printable UTF-8`},
		"too many":                 {make([]campaign.Interest, targeting.MaxTaxonomy+1), targeting.MaxTaxonomy, `interest "" is one too many: there are 200001 interests, at most 200000 are allowed`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := targeting.NewTaxonomy(c.list)
			var wrong *targeting.TaxonomyError
			require.ErrorAs(t, err, &wrong)
			require.Equal(t, c.why, err.Error())
			require.Equal(t, c.at, wrong.Index)
		})
	}
}

// Ancestors, children and levels are three views of the same parents.
func TestTaxonomyAgreesWithItsParents(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var list []campaign.Interest
		parents := map[string]string{}
		depth := map[string]int{}
		for i := range rapid.IntRange(0, 40).Draw(t, "n") {
			id, parent := fmt.Sprint("i", i), ""
			if p := rapid.IntRange(-1, i-1).Draw(t, "parent"); p >= 0 && depth[fmt.Sprint("i", p)] < targeting.MaxTaxonomyDepth {
				parent = fmt.Sprint("i", p)
			}
			parents[id], depth[id] = parent, depth[parent]+1
			list = append(list, interest(id, parent))
		}
		x, err := targeting.NewTaxonomy(rapid.Permutation(list).Draw(t, "order"))
		require.NoError(t, err)
		below := len(x.Children(""))
		for id := range parents {
			var want []string
			for p := parents[id]; p != ""; p = parents[p] {
				want = append(want, p)
			}
			require.Equal(t, want, x.AppendAncestors(nil, id))
			_, level, _ := x.Get(id)
			require.Equal(t, len(want)+1, level)
			for _, child := range x.Children(id) {
				require.Equal(t, id, parents[child.ID])
				below++
			}
		}
		require.Equal(t, len(list), below, "each interest is below one other, or at the top")
	})
}

// FuzzReadInterests: any bytes are interests with a line each, or an error that begins with a line.
func FuzzReadInterests(f *testing.F) {
	f.Add([]byte("id,parent_id,name\n1,,Home\n11,1,\"Chairs, large\"\n"))
	f.Add([]byte("id,parent_id,name\r\n1,,\"a\nb\"\n\n2,1,c"))
	f.Add([]byte("\xef\xbb\xbfid,parent_id,name\n1,2"))
	f.Fuzz(func(t *testing.T, file []byte) {
		all, lines, err := targeting.ReadInterests(bytes.NewReader(file))
		if err != nil {
			require.Regexp(t, `^\d+: `, err.Error())
			return
		}
		require.Len(t, lines, len(all))
		for i, line := range lines {
			require.Greater(t, line, i+1, "the header is line 1")
		}
	})
}
