package handlers

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
)

func (b *v5Bundle) loadInterests() {
	b.Helper()
	_, err := b.svc.ReplaceInterests(b.Context(), []campaign.Interest{
		{ID: "1", Name: "Home"}, {ID: "11", ParentID: "1", Name: "Chairs"}, {ID: "12", ParentID: "1", Name: "Lamps"}, {ID: "a/b", Name: "Slash"},
	})
	require.NoError(b, err)
}

// options is the one object of a list of targeting options.
func (b *v5Bundle) options(key string) map[string]string {
	b.Helper()
	r := b.callList("/v5/resources/targeting/" + key)
	require.Len(b, r, 1)
	return r[0]
}

// callList is call for an answer that is a list of objects of texts.
func (b *v5Bundle) callList(path string) []map[string]string {
	b.Helper()
	status, _, raw := b.send(http.MethodGet, path, "")
	require.Equal(b, http.StatusOK, status, raw)
	var list []map[string]string
	require.NoError(b, json.Unmarshal([]byte(raw), &list), raw)
	return list
}

func TestTargetingOptions(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	require.Equal(t, map[string]string{"female": "female", "male": "male", "unknown": "unknown"}, b.options("GENDER"))
	require.Len(t, b.options("APPTYPE"), 6)
	require.Equal(t, "65+", b.options("AGE_BUCKET?ad_account_id=1&client_id=x")["65+"])
	require.Equal(t, "Germany", b.options("LOCATION")["DE"])
	require.Equal(t, "English", b.options("LOCALE")["en"])
	require.Empty(t, b.options("INTEREST"), "no taxonomy is loaded")
	b.loadInterests()
	require.Equal(t, map[string]string{"1": "Home", "11": "Chairs", "12": "Lamps", "a/b": "Slash"}, b.options("INTEREST"))
	for _, key := range []string{"GEO", "KEYWORD", "AUDIENCE_INCLUDE", "AUDIENCE_EXCLUDE"} {
		r := b.call(http.MethodGet, "/v5/resources/targeting/"+key, "")
		require.Equal(t, http.StatusNotFound, r.status)
		require.Contains(t, r.raw, "no list of values")
	}
	require.Equal(t, http.StatusBadRequest, b.call(http.MethodGet, "/v5/resources/targeting/gender", "").status)
	require.Equal(t, http.StatusForbidden, b.call(http.MethodGet, "/v5/resources/targeting/GENDER", "", "Authorization", "Bearer "+b.feed).status)
}

func TestInterestResource(t *testing.T) {
	t.Parallel()
	b, ref := setupV5(t), readReference(t)
	b.loadInterests()
	const path = "/v5/resources/targeting/interests/"
	got := b.ok(http.MethodGet, path+"1", "")
	require.Equal(t, map[string]any{"id": "1", "name": "Home", "level": 1.0, "child_interests": []any{"11", "12"}}, got)
	ref.like(t, "SingleInterestTargetingOptionResponse", got)
	require.Equal(t, map[string]any{"id": "12", "name": "Lamps", "level": 2.0, "child_interests": []any{}}, b.ok(http.MethodGet, path+"12", ""))
	require.Equal(t, "Slash", b.ok(http.MethodGet, path+"a%2Fb", "")["name"])
	for _, id := range []string{"13", "%00", "%C3%A9", "%20"} {
		require.Equal(t, http.StatusNotFound, b.call(http.MethodGet, path+id, "").status, id)
	}
}
