package handlers

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	records "gavel/auction/postgres"
	"gavel/auction/record"
	"gavel/campaign"
	"gavel/internal/replaybench"
)

func TestAuctionsAreExplained(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	store := records.NewRecords(b.db, time.Now)
	s := &AuctionServer{Records: store, Ratio: 0.01, Timeout: time.Minute}
	b.app.Get("/v1/auctions/:"+auctionParam, Authenticate(b.ring, campaign.RoleFeed, campaign.RoleOperator), s.Get)
	may := b.newKey(campaign.KeyInput{Name: "explains", Role: campaign.RoleFeed, MayExplain: true})
	require.NoError(t, b.ring.Refresh(t.Context()))
	var r record.Record
	replaybench.NewMarket().Make(1, 2, &r)
	r.AuctionID = uuid.Must(uuid.NewV7())
	require.NoError(t, store.Save(t.Context(), []uuid.UUID{r.AuctionID}, [][]byte{record.Append(nil, &r)}))

	get := func(id, key string) reply {
		return b.call(http.MethodGet, "/v1/auctions/"+id, "", "Authorization", "Bearer "+key)
	}
	got := get(r.AuctionID.String(), may)
	require.Equal(t, http.StatusOK, got.status, got.raw)
	want, err := json.Marshal(record.Explain(&r))
	require.NoError(t, err)
	require.JSONEq(t, string(want), got.raw)

	for _, id := range []string{"1", "x", r.AuctionID.String() + "0", "{" + r.AuctionID.String() + "}", "urn:uuid:" + r.AuctionID.String(), strings.ReplaceAll(r.AuctionID.String(), "-", "")} {
		got := get(id, may)
		require.Equal(t, http.StatusBadRequest, got.status, id)
		require.Contains(t, got.raw, `"auction_id"`)
	}
	for _, id := range []string{uuid.Must(uuid.NewV7()).String(), uuid.NewString(), uuid.Nil.String()} {
		got := get(id, may)
		require.Equal(t, http.StatusNotFound, got.status, id)
		require.Contains(t, got.raw, "those that were asked to explain are recorded, and 1 % of all others")
	}
	require.Equal(t, http.StatusForbidden, get(r.AuctionID.String(), b.feed).status, "a key that may not explain")
	require.Equal(t, http.StatusForbidden, get(r.AuctionID.String(), b.advertiser).status)
	require.Equal(t, http.StatusUnauthorized, get(r.AuctionID.String(), "nobody").status)

	_, err = b.db.Exec(`UPDATE auction_records SET record = 'damaged'`)
	require.NoError(t, err)
	got = get(r.AuctionID.String(), may)
	require.Equal(t, http.StatusInternalServerError, got.status)
	require.Contains(t, got.raw, `"internal error"`)
	s.Records = gone{}
	require.Equal(t, http.StatusServiceUnavailable, get(r.AuctionID.String(), may).status)
}

// gone is a store that cannot be reached.
type gone struct{}

func (gone) Load(context.Context, uuid.UUID) ([]byte, error) { return nil, context.DeadlineExceeded }
