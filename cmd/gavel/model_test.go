package main

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/ranking"
	models "gavel/ranking/postgres"
)

// credited is what a conversion was attributed to: kind and ad.
func (p *program) credited(t *testing.T, eventID string) (to string) {
	t.Helper()
	db, err := openDatabase(t.Context(), p.DatabaseURL, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	require.NoError(t, db.GetContext(t.Context(), &to, `SELECT concat_ws(' ', kind, ad_id) FROM conversions WHERE event_id = $1`, eventID))
	return to
}

func (p *program) model(t *testing.T) (m nodeModel) {
	t.Helper()
	require.NoError(t, json.Unmarshal(do(t, http.MethodGet, p.AdminURL+"/model", "", "").body, &m))
	return m
}

// TestModelCommands goes through list, show and use beside a running server, which follows.
func TestModelCommands(t *testing.T) {
	t.Parallel()
	p := startDev(t)
	databaseURL := "--database-url=" + p.DatabaseURL
	require.Equal(t, ranking.Default().Version, p.model(t).Version)
	require.Eventually(t, func() bool { return p.model(t).Trainer.Leading }, 10*time.Second, 20*time.Millisecond)
	epoch := p.model(t).Trainer.Epoch
	require.Positive(t, epoch)

	db, err := openDatabase(t.Context(), p.DatabaseURL, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	trained, err := ranking.NewTrainer(ranking.DefaultParams())
	require.NoError(t, err)
	for i, version := range []string{"m1", "m2", "m3"} {
		published := ranking.Published{Number: int64(i + 1), Version: version, Metrics: []byte(`{"click":{"examples":7}}`), Body: trained.Snapshot(version).Append(nil)}
		if version == "m3" {
			published.Body, published.Refused = nil, "calibration is off"
		}
		require.NoError(t, models.New(db).Save(t.Context(), epoch, ranking.Saved{Published: published.Number}, published))
	}
	using := func(version string) {
		t.Helper()
		require.Eventually(t, func() bool { return p.model(t).Version == version }, 10*time.Second, 50*time.Millisecond)
	}
	using("m2")
	out, _, err := command(t, "model", "list", databaseURL)
	require.NoError(t, err)
	require.Contains(t, out, "refused: calibration is off")
	out, _, err = command(t, "model", "show", "m1", databaseURL)
	require.NoError(t, err)
	var shown storedModel
	require.NoError(t, json.Unmarshal([]byte(out), &shown))
	require.Equal(t, int64(7), shown.Report.Click.Examples)
	_, _, err = command(t, "model", "use", "m1", databaseURL)
	require.NoError(t, err)
	using("m1")
	for _, bad := range []string{"m3", "m9"} {
		_, _, err = command(t, "model", "use", bad, databaseURL)
		require.ErrorIs(t, err, models.ErrUnknownModel)
	}
	_, _, err = command(t, "model", "use", "newest", databaseURL)
	require.NoError(t, err)
	using("m2")
	metrics := string(do(t, http.MethodGet, p.AdminURL+"/metrics", "", "").body)
	require.Contains(t, metrics, "\ngavel_model_age_seconds ")
	require.Contains(t, metrics, "\ngavel_model_refused")
	p.stop(t)
}
