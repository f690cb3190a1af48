package postgres_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
)

func TestAdScheduleIsKeptAndServed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.account("Asia/Tokyo")
	c := b.campaign(a.ID)
	g := b.adGroup(c, func(in *campaign.AdGroupInput) {
		in.AdSchedule = campaign.Some([]campaign.ScheduleInput{{Day: campaign.Some("MONDAY"), StartHour: campaign.Some[int64](9), EndHour: campaign.Some[int64](17)}})
	})
	b.ad(g)
	hours := func() campaign.WeekHours {
		stored, err := b.svc.AdGroup(t.Context(), a.ID, g.ID)
		require.NoError(t, err)
		served, err := b.serving.Serving(t.Context(), 0, 10)
		require.NoError(t, err)
		require.Equal(t, stored.Hours, served[0].Hours)
		return stored.Hours
	}
	require.Equal(t, campaign.WeekHours{0x1fe00}, hours())
	b.drain()
	results, err := b.svc.UpdateAdGroups(t.Context(), a.ID, items(campaign.AdGroupUpdate{ID: g.ID, AdGroupInput: campaign.AdGroupInput{AdSchedule: campaign.Null[[]campaign.ScheduleInput]()}}))
	require.True(t, written(b, results, err).Hours.IsZero())
	require.Equal(t, []change{{"AD_GROUP", int64(g.ID)}}, b.drain())
	require.True(t, hours().IsZero())
	require.Equal(t, 1, b.count(`SELECT count(*) FROM ad_groups WHERE ad_schedule IS NULL`))
	for _, bad := range []string{"", "0", "000000000000000000000000000000000000000000", "ffffffffffffffffffffffffffffffffffffffffff", "X00000000000000000000000000000000000000001"} {
		_, err := b.db.ExecContext(t.Context(), `UPDATE ad_groups SET ad_schedule = $1`, bad)
		require.Error(t, err, bad)
	}
}
