package targeting_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/targeting"
)

// TestTheDocumentIsTrue holds docs/targeting.md to the code where it gives values, examples and limits.
func TestTheDocumentIsTrue(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../docs/targeting.md")
	require.NoError(t, err)
	doc := string(raw)
	summary, _, _ := strings.Cut(doc, "\n## ")
	for _, key := range []string{
		"LOCATION", "GEO", "GENDER", "AGE_BUCKET", "MINIMUM_AGE", "MAXIMUM_AGE", "APPTYPE", "LOCALE", "INTEREST", "AUDIENCE_INCLUDE",
		"AUDIENCE_EXCLUDE", "TARGETING_STRATEGY", "SHOPPING_RETARGETING",
	} {
		require.Regexp(t, "(?m)^\\|.*`"+key+"`", summary)
		_, problems := targeting.ParseSpec([]byte(`{"` + key + `":null}`))
		require.Empty(t, problems, key)
	}
	for _, key := range []string{"GENDER", "AGE_BUCKET", "APPTYPE"} {
		for _, o := range targeting.Options(key) {
			require.Regexp(t, "(?m)^\\| `"+key+"` .*`"+regexp.QuoteMeta(o.Value)+"`", summary)
		}
	}
	_, problems := targeting.ParseSpec([]byte(`{"GENDER":["male","men"]}`))
	require.Contains(t, doc, fmt.Sprintf(`"message": %q`, problems[0].Message))

	_, table, found := strings.Cut(doc, "| written | compared as |\n|---|---|\n")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n\n")
	rows := strings.Split(table, "\n")
	require.Len(t, rows, 10)
	for _, row := range rows {
		cells := strings.Split(row, "`")
		require.Len(t, cells, 5, row)
		require.Equal(t, cells[3], targeting.NormalizeText(cells[1]), row)
	}
	for _, limit := range []string{
		fmt.Sprintf("| `LOCATION` | %d values |", targeting.MaxLocations), fmt.Sprintf("| `LOCALE` | %d values |", targeting.MaxLocales),
		fmt.Sprintf("| a spec | %d KiB", targeting.MaxSpecBytes>>10), fmt.Sprintf("Up to %d entries", campaign.MaxAdSchedule),
		fmt.Sprintf("1 to %d characters and at least", campaign.MaxKeywordLength), fmt.Sprintf("%d levels", targeting.MaxTaxonomyDepth),
	} {
		require.Contains(t, doc, limit)
	}
	require.Equal(t, []int{2500, 1000, 500, 200_000, 1000}, []int{targeting.MaxRegions, targeting.MaxInterests, targeting.MaxAudiences, targeting.MaxTaxonomy, targeting.MaxKeywords}, "as the document writes them, with commas")
	for _, bad := range []string{"!?", "🎸"} {
		require.Error(t, targeting.CheckKeyword(campaign.Keyword{MatchType: campaign.MatchBroad, Value: bad}), bad)
	}
}
