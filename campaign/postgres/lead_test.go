package postgres_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/campaign/postgres"
)

func TestOneLeadAtATimeWithRisingEpochs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	second := postgres.NewServing(b.db)
	t.Cleanup(func() { require.NoError(t, second.Close()) })

	lead, ok, err := b.serving.LeadIndexer(t.Context())
	require.NoError(t, err)
	require.True(t, ok)
	_, ok, err = second.LeadIndexer(t.Context())
	require.NoError(t, err)
	require.False(t, ok)
	select {
	case <-lead.Lost:
		t.Fatal("lost while it is held")
	default:
	}
	lead.Close()
	lead.Close()
	<-lead.Lost

	next, ok, err := second.LeadIndexer(t.Context())
	require.NoError(t, err)
	require.True(t, ok, "free as soon as Close has returned")
	defer next.Close()
	require.Greater(t, next.Epoch, lead.Epoch)
}

func TestALeadEndsWithItsConnection(t *testing.T) {
	t.Parallel()
	b := setup(t)
	lead, ok, err := b.serving.LeadIndexer(t.Context())
	require.NoError(t, err)
	require.True(t, ok)
	defer lead.Close()
	require.Equal(t, 1, b.count(`SELECT count(pg_terminate_backend(pid)) FROM pg_locks
		WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`))
	select {
	case <-lead.Lost:
	case <-time.After(10 * time.Second):
		t.Fatal("the lead does not notice that its connection is gone")
	}
	next, ok, err := b.serving.LeadIndexer(t.Context())
	require.NoError(t, err)
	require.True(t, ok)
	next.Close()
}

func TestKeys(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.account("UTC")
	feed, feedText, err := b.svc.CreateKey(t.Context(), campaign.KeyInput{Name: "feed", Role: campaign.RoleFeed, MayExplain: true})
	require.NoError(t, err)
	own, ownText, err := b.svc.CreateKey(t.Context(), campaign.KeyInput{Name: "shop", Role: campaign.RoleAdvertiser, AdAccountID: a.ID})
	require.NoError(t, err)
	_, _, err = b.svc.CreateKey(t.Context(), campaign.KeyInput{Name: "x", Role: campaign.RoleAdvertiser, AdAccountID: 5})
	require.ErrorIs(t, err, campaign.ErrAdAccountNotFound)
	require.Zero(t, b.count(`SELECT count(*) FROM api_keys WHERE position(convert_to($1, 'UTF8') IN key_sha256) > 0 OR name LIKE '%gvl_%'`, feedText), "the text is nowhere")

	live, err := b.store.LiveKeys(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[campaign.KeyHash]campaign.Principal{
		campaign.HashKey(feedText): {KeyID: feed.ID, Name: "feed", Role: campaign.RoleFeed, MayExplain: true},
		campaign.HashKey(ownText):  {KeyID: own.ID, Name: "shop", Role: campaign.RoleAdvertiser, AdAccountID: a.ID},
	}, live)
	require.True(t, live[campaign.HashKey(ownText)].MayManage(a.ID))
	require.False(t, live[campaign.HashKey(ownText)].MayManage(a.ID+1))
	require.False(t, live[campaign.HashKey(feedText)].MayManage(a.ID))

	revoked, err := b.svc.RevokeKey(t.Context(), feed.ID)
	require.NoError(t, err)
	require.False(t, revoked.RevokedAt.IsZero())
	_, err = b.svc.RevokeKey(t.Context(), feed.ID)
	require.ErrorIs(t, err, campaign.ErrKeyNotFound)
	live, err = b.store.LiveKeys(t.Context())
	require.NoError(t, err)
	require.Len(t, live, 1)
	keys, err := b.svc.ListKeys(t.Context())
	require.NoError(t, err)
	require.Len(t, keys, 2)
}
