package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAnAdForAnInterestIsForAllThatIsPartOfIt: with the taxonomy that is loaded, from the moment that it is.
func TestAnAdForAnInterestIsForAllThatIsPartOfIt(t *testing.T) {
	t.Parallel()
	p := startDev(t)
	asks := func(interest string) string {
		return fmt.Sprintf(`{"placement":"BROWSE","slots":[{"id":"s","position":1}],"user":{"country":"US","interests":[%q]},"explain":true}`, interest)
	}
	const running, ultraTrails, sport = "925056443165", "3111", "3" // of the demo
	adGroups, groupID, adID := p.advert(t, "UTC", map[string]any{"targeting_spec": map[string]any{"INTEREST": []string{running}}})
	p.untilFate(t, asks(ultraTrails), adID, "WON")
	require.Equal(t, "WON", p.fate(t, asks(running), adID))
	require.Equal(t, "INTEREST", p.fate(t, asks(sport), adID), "a parent is not its child")
	require.Equal(t, "INTEREST", p.fate(t, asks("x"), adID))

	a := do(t, http.MethodPatch, p.AdsURL+adGroups, p.OperatorKey, `[{"id":"`+groupID+`","targeting_spec":{"INTEREST":["x"]}}]`)
	require.Equal(t, http.StatusBadRequest, a.status)
	require.Contains(t, string(a.body), `names the interest \"x\", which the taxonomy does not have`)

	file := filepath.Join(t.TempDir(), "interests.csv")
	load := func(text string) {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		_, err := gavel(t, "interests", "load", file, "--database-url", p.DatabaseURL)
		require.NoError(t, err)
	}
	load("id,parent_id,name\nx,,Other\nx1,x,A part of it\n")
	p.untilFate(t, asks(ultraTrails), adID, "INTEREST")
	require.Equal(t, "WON", p.fate(t, asks(running), adID), "what an ad group targets it keeps")
	p.manage(t, http.MethodPatch, adGroups, []any{map[string]any{"id": groupID, "targeting_spec": map[string]any{"INTEREST": []string{"x"}}}})
	p.untilFate(t, asks("x1"), adID, "WON")
	load("id,parent_id,name\n")
	p.untilFate(t, asks("x1"), adID, "INTEREST")
	require.Equal(t, "WON", p.fate(t, asks("x"), adID))
}
