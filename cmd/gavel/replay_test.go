package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"gavel/auction/record"
	"gavel/internal/replaybench"
)

// recordFile writes n records of a random market; change may change the record with the given number.
func recordFile(t *testing.T, n int, change func(i int, r *record.Record)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "auctions.rec")
	f, err := os.Create(path)
	require.NoError(t, err)
	out, err := record.NewWriter(f)
	require.NoError(t, err)
	m := replaybench.NewMarket()
	for i := range n {
		var r record.Record
		m.Make(1, uint64(i), &r)
		change(i, &r)
		require.NoError(t, out.Write(record.Append(nil, &r)))
	}
	require.NoError(t, out.Close())
	require.NoError(t, f.Close())
	return path
}

func TestReplayOfAFile(t *testing.T) {
	t.Parallel()
	const n = 2*chunkRecords + 7
	for _, workers := range []string{"1", "3"} {
		var out bytes.Buffer
		require.NoError(t, run(t.Context(), []string{"replay", recordFile(t, n, func(int, *record.Record) {}), "--workers", workers}, benchWorld(&out)))
		require.Contains(t, out.String(), fmt.Sprintf("%d replayed, %d equal, 0 different; ", n, n))

		out.Reset()
		path := recordFile(t, n, func(i int, r *record.Record) {
			if i%100 == 99 {
				r.Fates[2].Bid++
			}
		})
		require.ErrorIs(t, run(t.Context(), []string{"replay", path, "--workers", workers}, benchWorld(&out)), errUnclean)
		require.Contains(t, out.String(), fmt.Sprintf("%d replayed, %d equal, 5 different; ", n, n-5))
		require.Contains(t, out.String(), "record 100, decided by gavel bench:\n  ad ")
	}
}

func TestReplayRefuses(t *testing.T) {
	t.Parallel()
	whole, err := os.ReadFile(recordFile(t, 600, func(int, *record.Record) {}))
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "cut.rec")
	require.NoError(t, os.WriteFile(path, whole[:len(whole)/2], 0o600))
	var out bytes.Buffer
	require.ErrorIs(t, run(t.Context(), []string{"replay", path}, benchWorld(&out)), record.ErrTruncated)
	require.Contains(t, out.String(), "0 different", "what could be read was replayed")
	for _, args := range [][]string{{"README"}, {"config.go"}, {uuid.NewString(), "--database-url", ""}, {path, "--workers", "-1"}, {path, "--save", "x"}, {}} {
		require.Error(t, run(t.Context(), append([]string{"replay"}, args...), benchWorld(&out)), args)
	}
}

func TestBenchReplay(t *testing.T) {
	t.Parallel()
	var files []int64
	for range 2 {
		var out bytes.Buffer
		require.NoError(t, run(t.Context(), []string{"bench", "replay", "--decisions", "4500", "--seed", "3", "--json"}, benchWorld(&out)))
		var rows []replayRow
		require.NoError(t, json.Unmarshal(out.Bytes(), &rows))
		require.NotEmpty(t, rows)
		for _, r := range rows {
			require.Equal(t, 4500, r.Equal)
			require.Zero(t, r.Different)
			require.Positive(t, r.PerS)
			files = append(files, r.FileBytes)
		}
	}
	for _, size := range files {
		require.Equal(t, files[0], size, "the same seed, the same file")
	}
	require.Error(t, run(t.Context(), []string{"bench", "replay", "--decisions", "0"}, benchWorld(&bytes.Buffer{})))
}

// TestAnAuctionFromRequestToReplay: a page that was asked to explain is recorded, explained by its id, and replayed from the database and
// from a file.
func TestAnAuctionFromRequestToReplay(t *testing.T) {
	t.Parallel()
	p := startDev(t)
	a := do(t, http.MethodPost, p.AdsURL+"/v1/ads", p.FeedKey, demoRequest)
	require.Equal(t, http.StatusOK, a.status, string(a.body))
	var page struct {
		AuctionID string `json:"auction_id"`
		Ads       []struct {
			AdID string `json:"ad_id"`
		}
	}
	require.NoError(t, json.Unmarshal(a.body, &page))
	require.Eventually(t, func() bool {
		a = do(t, http.MethodGet, p.AdsURL+"/v1/auctions/"+page.AuctionID, p.FeedKey, "")
		return a.status == http.StatusOK
	}, 10*time.Second, 20*time.Millisecond, "%s", a.body)
	var e record.Explanation
	require.NoError(t, json.Unmarshal(a.body, &e))
	require.Equal(t, page.AuctionID, e.AuctionID)
	require.Len(t, e.Winners, len(page.Ads))
	for i, w := range e.Winners {
		require.Equal(t, page.Ads[i].AdID, w.AdID)
		require.GreaterOrEqual(t, w.PriceNanos, w.Inputs.FloorNanos)
		require.LessOrEqual(t, w.PriceNanos, w.Inputs.EffectiveBidNanos)
		require.InDelta(t, 1, w.Inputs.Propensity, 0)
	}
	require.NotEmpty(t, e.Candidates)

	var out bytes.Buffer
	saved := filepath.Join(t.TempDir(), "one.rec")
	require.NoError(t, run(t.Context(), []string{"replay", page.AuctionID, "--database-url", p.DatabaseURL, "--save", saved}, benchWorld(&out)))
	require.Equal(t, "1 replayed, 1 equal, 0 different\n", out.String())
	out.Reset()
	require.NoError(t, run(t.Context(), []string{"replay", saved}, benchWorld(&out)))
	require.Contains(t, out.String(), "1 replayed, 1 equal, 0 different")
	require.ErrorContains(t, run(t.Context(), []string{"replay", uuid.Must(uuid.NewV7()).String(), "--database-url", p.DatabaseURL}, benchWorld(&out)), "no record of this auction")
	require.Contains(t, string(do(t, http.MethodGet, p.AdminURL+"/metrics", "", "").body), `gavel_auctions_recorded_total{fate="kept"`)
}
