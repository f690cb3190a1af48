package campaign_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/campaign"
)

func TestWeekHours(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	require.Equal(t, 0, campaign.HourOfWeek(time.Date(2026, 11, 23, 0, 59, 59, 0, time.UTC), time.UTC), "a Monday")
	require.Equal(t, 167, campaign.HourOfWeek(time.Date(2026, 11, 29, 23, 0, 0, 0, time.UTC), time.UTC), "a Sunday")
	require.Equal(t, 0, campaign.HourOfWeek(time.Date(2026, 11, 29, 23, 0, 0, 0, time.UTC), berlin), "there it is Monday already")

	var every campaign.WeekHours
	require.True(t, every.IsZero())
	require.True(t, every.Has(99))
	some := every.With(0).With(64).With(167)
	require.True(t, some.Has(0) && some.Has(64) && some.Has(167))
	require.False(t, some.Has(1))
}

func TestWeekHoursAsText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var h campaign.WeekHours
		for _, hour := range rapid.SliceOf(rapid.IntRange(0, 167)).Draw(t, "hours") {
			h = h.With(hour)
		}
		raw, err := json.Marshal(h)
		require.NoError(t, err)
		require.Len(t, raw, 44)
		var back campaign.WeekHours
		require.NoError(t, json.Unmarshal(raw, &back))
		require.Equal(t, h, back)
	})
	var h campaign.WeekHours
	for _, bad := range []string{`""`, `"0"`, `"x00000000000000000000000000000000000000000"`, `7`} {
		require.Error(t, json.Unmarshal([]byte(bad), &h), bad)
	}
	raw, err := json.Marshal(campaign.ServingAd{})
	require.NoError(t, err)
	require.NotContains(t, string(raw), "hours")
}
