package redis_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/targeting/redis"
)

func TestRecordIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	ad := anAd(7, 1000)
	ad.Keywords = []campaign.Keyword{{MatchType: campaign.MatchBroad, Value: "red <shoes>"}}
	record, err := redis.Encode(ad)
	require.NoError(t, err)
	got, err := redis.Decode(7, record)
	require.NoError(t, err)
	ad.Targeting = []byte(`{"LOCATION":["US"]}`)
	require.Equal(t, ad, got)

	ad.StartTime = ad.StartTime.In(time.FixedZone("", 3600))
	again, err := redis.Encode(ad)
	require.NoError(t, err)
	require.Equal(t, record, again, "one ad has one record")
}

func TestAnyDamageIsFound(t *testing.T) {
	t.Parallel()
	record, err := redis.Encode(anAd(7, 1000))
	require.NoError(t, err)
	for i := range record {
		for _, b := range []byte{record[i] ^ 1, 0, 'x'} {
			if b == record[i] {
				continue
			}
			_, err := redis.Decode(7, record[:i]+string([]byte{b})+record[i+1:])
			require.ErrorIs(t, err, redis.ErrDamaged, "byte %d", i)
		}
		_, err := redis.Decode(7, record[:i])
		require.ErrorIs(t, err, redis.ErrDamaged, "cut at %d", i)
	}
	_, err = redis.Decode(8, record)
	require.ErrorIs(t, err, redis.ErrDamaged, "the record of another ad")
}

func FuzzRecord(f *testing.F) {
	record, err := redis.Encode(anAd(7, 1000))
	require.NoError(f, err)
	f.Add(int64(7), record)
	f.Add(int64(7), record[:16]+"{}")
	f.Add(int64(0), "")
	f.Add(int64(-1), strings.Repeat("0", 16))
	f.Fuzz(func(t *testing.T, id int64, record string) {
		ad, err := redis.Decode(campaign.AdID(id), record)
		if err != nil {
			require.ErrorIs(t, err, redis.ErrDamaged)
			require.Zero(t, ad.AdID)
			// What has a good checksum and is no ad is damage as well.
			_, err = redis.Decode(campaign.AdID(id), redis.Sign(campaign.AdID(id), record))
			if err != nil {
				require.ErrorIs(t, err, redis.ErrDamaged)
			}
			return
		}
		again, err := redis.Encode(ad)
		require.NoError(t, err)
		_, err = redis.Decode(campaign.AdID(id), again)
		require.NoError(t, err)
	})
}
