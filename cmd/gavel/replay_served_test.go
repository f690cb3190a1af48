package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAServedDecisionIsExplainedAndReplayed: what a page was decided by can be read a moment later, and is decided again to the bit.
func TestAServedDecisionIsExplainedAndReplayed(t *testing.T) {
	t.Parallel()
	p := startDev(t)
	var pg page
	explain := woman27[:len(woman27)-1] + `,"explain":true}`
	require.Eventually(t, func() bool { pg = p.ask(t, explain); return len(pg.Ads) == 2 }, 10*time.Second, 10*time.Millisecond)
	var told struct {
		AuctionID string `json:"auction_id"`
		Versions  struct {
			Model string `json:"model"`
			Rules string `json:"rules"`
		} `json:"versions"`
		Winners []struct {
			AdID string `json:"ad_id"`
		} `json:"winners"`
		NotMatched []struct {
			ReasonName string `json:"reason_name"`
		} `json:"not_matched"`
	}
	url := p.AdsURL + "/v1/auctions/" + pg.AuctionID
	require.Eventually(t, func() bool {
		a := do(t, http.MethodGet, url, p.FeedKey, "")
		return a.status == http.StatusOK && json.Unmarshal(a.body, &told) == nil
	}, 10*time.Second, 20*time.Millisecond)
	require.Equal(t, pg.AuctionID, told.AuctionID)
	require.NotEmpty(t, told.Versions.Model)
	require.NotEmpty(t, told.Versions.Rules)
	require.Len(t, told.Winners, 2)
	require.Equal(t, pg.Ads[0].AdID, told.Winners[0].AdID)
	require.Len(t, told.NotMatched, len(pg.Explain.Considered)-4, "what did not match is told too")
	require.Equal(t, http.StatusUnauthorized, do(t, http.MethodGet, url, "", "").status)
	require.Equal(t, http.StatusForbidden, do(t, http.MethodGet, url, p.OperatorKey, "").status, "a key that may not explain")

	file := filepath.Join(t.TempDir(), "one.rec")
	for _, args := range [][]string{{"replay", pg.AuctionID, "--database-url", p.DatabaseURL, "--save", file}, {"replay", file}} {
		var out bytes.Buffer
		require.NoError(t, run(t.Context(), args, benchWorld(&out)), out.String())
	}
}
