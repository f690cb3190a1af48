package postgres_test

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/internal/fault"
)

// createOne is a create as handlers do it: it writes a campaign and answers with its id.
func createOne(account campaign.AdAccountID, runs *atomic.Int64) func(context.Context, *campaign.Service) (campaign.Answer, error) {
	return func(ctx context.Context, s *campaign.Service) (campaign.Answer, error) {
		runs.Add(1)
		results, err := s.CreateCampaigns(ctx, account, items(campaign.CampaignInput{Name: campaign.Some("c"), Objective: campaign.Some(campaign.Awareness)}))
		if err != nil {
			return campaign.Answer{}, err
		}
		return campaign.Answer{Status: 200, Body: []byte(strconv.FormatInt(int64(results[0].Value.ID), 10))}, nil
	}
}

func TestOneKeyOneCreate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a, other := b.account("UTC"), b.account("UTC")
	var runs atomic.Int64
	once := func(account campaign.AdAccountID, key string, input byte) (campaign.Answer, error) {
		return b.svc.Once(t.Context(), account, key, [32]byte{input}, createOne(account, &runs))
	}
	first, err := once(a.ID, "k", 1)
	require.NoError(t, err)
	again, err := once(a.ID, "k", 1)
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.Equal(t, int64(1), runs.Load())

	_, err = once(a.ID, "k", 2)
	require.ErrorIs(t, err, campaign.ErrKeyReused)
	elsewhere, err := once(other.ID, "k", 2)
	require.NoError(t, err, "a key is the account's own")
	require.NotEqual(t, first, elsewhere)
	_, err = once(a.ID, "", 1)
	require.NoError(t, err)
	require.Equal(t, int64(3), runs.Load(), "without a key every call creates")
	require.Equal(t, 3, b.count(`SELECT count(*) FROM campaigns`))

	b.now = time.Now().Add(25 * time.Hour)
	require.NoError(t, b.svc.ForgetAnswers(t.Context()))
	require.Zero(t, b.count(`SELECT count(*) FROM idempotency_keys`))
}

func TestConcurrentDuplicatesGetOneAnswer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.account("UTC")
	var runs atomic.Int64
	answers := make([]string, 16)
	atOnce(len(answers), func(i int) {
		answer, err := b.svc.Once(t.Context(), a.ID, "k", [32]byte{1}, createOne(a.ID, &runs))
		if err != nil {
			t.Errorf("once: %v", err)
		}
		answers[i] = string(answer.Body)
	})
	require.Equal(t, int64(1), runs.Load())
	require.NotEmpty(t, answers[0])
	for _, answer := range answers {
		require.Equal(t, answers[0], answer)
	}
	require.Equal(t, 1, b.count(`SELECT count(*) FROM campaigns`))
}

func TestAFailedCreateLeavesTheKeyFree(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.account("UTC")
	var runs atomic.Int64
	create := createOne(a.ID, &runs)
	b.drain()

	broken := errors.New("broken")
	_, err := b.svc.Once(t.Context(), a.ID, "k", [32]byte{1}, func(ctx context.Context, s *campaign.Service) (campaign.Answer, error) {
		_, err := create(ctx, s)
		require.NoError(t, err)
		return campaign.Answer{}, broken
	})
	require.ErrorIs(t, err, broken)
	refused, err := b.svc.Once(t.Context(), a.ID, "k", [32]byte{2}, func(ctx context.Context, s *campaign.Service) (campaign.Answer, error) {
		_, err := create(ctx, s)
		return campaign.Answer{Status: 400, Body: []byte("no")}, err
	})
	require.NoError(t, err)
	require.Equal(t, campaign.Answer{Status: 400, Body: []byte("no")}, refused)
	require.Zero(t, b.count(`SELECT count(*) FROM campaigns`), "what was written was rolled back with the key")
	require.Empty(t, b.drain())

	_, err = b.svc.Once(t.Context(), a.ID, "k", [32]byte{3}, create)
	require.NoError(t, err)
	require.Equal(t, 1, b.count(`SELECT count(*) FROM campaigns`))

	_, err = b.svc.Once(t.Context(), a.ID, "bad\x00key", [32]byte{3}, create)
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
}
