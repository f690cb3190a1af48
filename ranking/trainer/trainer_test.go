package trainer_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/internal/testenv"
	"gavel/ranking"
	"gavel/ranking/postgres"
	"gavel/ranking/trainer"
)

var params = ranking.Params{ClickBits: 16, ConversionBits: 12, Alpha: 0.1, Beta: 1, L1: 0.1, L2: 1, HalfLife: 50_000}

// world is a database whose feed has two ads: men click the first, women the second.
type world struct {
	*testing.T
	db    *sqlx.DB
	store *postgres.Store
	rand  *rand.Rand
}

func setup(t *testing.T) *world {
	t.Helper()
	db := sqlx.MustConnect("postgres", testenv.Postgres(t))
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return &world{T: t, db: db, store: postgres.New(db), rand: rand.New(rand.NewPCG(1, 2))}
}

var log = slog.New(slog.DiscardHandler)

func (w *world) trainer(p ranking.Params) *trainer.Trainer {
	return trainer.New(trainer.Config{
		Store: w.store, Params: p, Windows: ranking.Windows{Click: time.Minute, Conversion: time.Minute}, Interval: time.Hour, Batch: 500, Log: log,
	})
}

var genders = [2]string{"male", "female"}

// The click rates of the ads, by gender: what nobody has told the model.
var truth = [2][2]float64{{0.16, 0.02}, {0.02, 0.16}}

func item(ad int) ranking.Item {
	return ranking.Item{AdID: campaign.AdID(1 + ad), AdGroupID: campaign.AdGroupID(11 + ad), CampaignID: campaign.CampaignID(21 + ad), AdAccountID: 31, Objective: campaign.Awareness, BillableEvent: campaign.BillImpression}
}

func features(gender int) ranking.Features {
	c := ranking.Context{Placement: "BROWSE", Country: "US", Gender: genders[gender], Age: 30}
	return c.Features()
}

// predicted is what a node says.
func predicted(s *ranking.Snapshot, ad, gender int) float64 {
	f, it := features(gender), item(ad)
	sc := s.Scorer(&f)
	return sc.PCTR(&it)
}

const insertSQL = `INSERT INTO events (day, impression_id, kind, outcome, price_nanos, charge_nanos, free_nanos, lease_id, ad_account_id, campaign_id, ad_group_id, ad_id,
	accepted_at, posted_at, node_id, served, posted_xid)
	SELECT '2026-11-23', u, $5, 'BILLED', 0, 0, 0, 1, 31, ad + 20, ad + 10, ad, now(), now() - $3 * interval '1 second', u, nullif(s, ''), pg_current_xact_id()::text::bigint
	FROM unnest($1::uuid[], $2::bigint[], $4::bytea[]) AS n (u, ad, s)`

// show posts n impressions that became so old, and their clicks that did.
func (w *world) show(n int, old, clicksOld time.Duration) {
	w.Helper()
	var ids, clicked []uuid.UUID
	var ads, clickedAds []int64
	var served, none [][]byte
	for range n {
		ad, gender := w.rand.IntN(2), w.rand.IntN(2)
		it := item(ad)
		s := ranking.Served{Features: features(gender), PCTR: 0.01, Placement: "BROWSE", Objective: it.Objective, BillableEvent: it.BillableEvent}
		b := s.Encode()
		var id uuid.UUID
		for i := range id {
			id[i] = byte(w.rand.Uint32())
		}
		ids, ads, served = append(ids, id), append(ads, int64(1+ad)), append(served, b[:])
		if w.rand.Float64() < truth[ad][gender] {
			clicked, clickedAds, none = append(clicked, id), append(clickedAds, int64(1+ad)), append(none, nil)
		}
	}
	w.post(ids, ads, old, served, "IMPRESSION")
	w.post(clicked, clickedAds, clicksOld, none, "CLICK")
}

func (w *world) post(ids []uuid.UUID, ads []int64, old time.Duration, served [][]byte, kind string) {
	w.Helper()
	_, err := w.db.Exec(insertSQL, pq.Array(texts(ids)), pq.Array(ads), int64(old.Seconds()), pq.Array(served), kind)
	require.NoError(w, err)
}

// learnAll steps until everything that is decided is learned: other tests' transactions hold the horizon back for moments.
func (w *world) learnAll(t *trainer.Trainer, impressions int64) {
	w.Helper()
	require.Eventually(w, func() bool {
		_, err := t.Step(w.Context())
		require.NoError(w, err)
		return t.Status().Report.Click.Examples >= impressions
	}, 20*time.Second, 5*time.Millisecond)
}

func (w *world) saved() ranking.Saved {
	w.Helper()
	v, err := w.store.Load(w.Context())
	require.NoError(w, err)
	return v
}

// TestFromImpressionsAndClicksToWhatANodePredicts is the way of learning as a whole, from a cold start.
func TestFromImpressionsAndClicksToWhatANodePredicts(t *testing.T) {
	t.Parallel()
	w := setup(t)
	node := trainer.NewFollower(w.store, log)
	require.NoError(t, node.Poll(t.Context()))
	require.Equal(t, ranking.Default().Version, node.Current().Version, "nothing was learned yet")
	cold := predicted(node.Current(), 0, 0)
	require.InDelta(t, cold, predicted(node.Current(), 1, 0), 1e-9)

	tr := w.trainer(params)
	more, err := tr.Step(t.Context())
	require.NoError(t, err)
	require.False(t, more)
	require.True(t, tr.Status().Leading)
	require.Empty(t, tr.Status().Version, "no snapshot of nothing")

	for range 10 {
		w.show(2000, 3*time.Minute, 150*time.Second)
	}
	w.learnAll(tr, 20_000)
	require.Empty(t, tr.Status().RefusedWhy)
	require.NoError(t, node.Poll(t.Context()))
	require.Equal(t, tr.Status().Version, node.Current().Version)
	for ad := range 2 {
		for gender := range 2 {
			was, is := cold-truth[ad][gender], predicted(node.Current(), ad, gender)-truth[ad][gender]
			require.Less(t, abs(is), 0.03, "ad %d, %s", ad, genders[gender])
			require.Less(t, abs(is), abs(was)+0.01)
		}
	}
	loads := node.Status().Loads
	require.NoError(t, node.Poll(t.Context()))
	require.Equal(t, loads, node.Status().Loads, "the same snapshot is not fetched twice")

	w.show(300, 3*time.Minute, 0) // recorded together: the clicks are in time whatever their age
	w.show(10, 0, 0)              // their window is open
	w.learnAll(tr, 20_300)
	require.Equal(t, int64(20_300), tr.Status().Report.Click.Examples)
}

// TestACrashBetweenBatchesResumesBitEqual: what a trainer had learned and not saved is learned again by the next one, which comes to the
// same bits as one that never crashed.
func TestACrashBetweenBatchesResumesBitEqual(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.show(1500, 3*time.Minute, 2*time.Minute)
	steady, broken := &cut{Store: w.store}, &cut{Store: w.store}
	first := w.on(steady)
	w.learnAll(first, 1500)
	before := w.saved()
	require.NotEmpty(t, before.State)
	w.show(1500, 3*time.Minute, 2*time.Minute)
	w.learnAll(first, 3000)
	want := w.saved()
	require.NoError(t, first.Leave(t.Context()))

	back := func() { // to where the first had saved once
		w.db.MustExec(`DELETE FROM model_snapshots WHERE number > $1`, before.Published)
		w.db.MustExec(`UPDATE model_trainer SET impressions = $1, clicks = $2, clicked = $3, conversions = $4, state = $5, state_checksum = sha256($5), published = $6`,
			before.Cursor.Impressions, before.Cursor.Clicks, before.Cursor.Clicked, before.Cursor.Conversions, before.State, before.Published)
	}
	back()
	second := w.on(broken)
	broken.before = errors.New("the process dies before it saves")
	require.Eventually(t, func() bool {
		_, err := second.Step(t.Context())
		return errors.Is(err, broken.before)
	}, 20*time.Second, 5*time.Millisecond)
	require.Equal(t, before.Cursor, w.saved().Cursor)
	broken.before = nil
	_, err := second.Step(t.Context())
	require.NoError(t, err)
	require.Equal(t, want.State, w.saved().State, "it did not die, and goes back to what is saved")
	require.NoError(t, second.Leave(t.Context()))

	back()
	third := w.on(broken)
	broken.after = errors.New("the answer is lost")
	_, err = third.Step(t.Context())
	require.ErrorIs(t, err, broken.after)
	broken.after = nil
	w.learnAll(third, 0)
	_, err = third.Step(t.Context())
	require.NoError(t, err)
	got := w.saved()
	require.Equal(t, want.State, got.State, "bit for bit")
	require.Equal(t, want.Published, got.Published, "and saved once")
	require.Equal(t, w.body(want.Published), w.body(got.Published))
}

// cut is a store whose saves can be lost, or their answers.
type cut struct {
	*postgres.Store
	before, after error
}

func (c *cut) Save(ctx context.Context, epoch int64, v ranking.Saved, p ranking.Published) error {
	if c.before != nil {
		return c.before
	}
	return errors.Join(c.Store.Save(ctx, epoch, v, p), c.after)
}

func (w *world) on(s *cut) *trainer.Trainer {
	return trainer.New(trainer.Config{
		Store: s, Params: params, Windows: ranking.Windows{Click: time.Minute, Conversion: time.Minute}, Interval: time.Hour, Batch: 1 << 20, Log: log,
	})
}

func (w *world) body(number int64) (b []byte) {
	w.Helper()
	require.NoError(w, w.db.Get(&b, `SELECT body FROM model_snapshots WHERE number = $1`, number))
	require.NotEmpty(w, b)
	return b
}

func TestOfTwoTrainersOneLeadsAndTheOtherTakesOver(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.show(500, 3*time.Minute, 2*time.Minute)
	a, b := w.trainer(params), w.trainer(params)
	w.learnAll(a, 500)
	_, err := b.Step(t.Context())
	require.NoError(t, err)
	require.False(t, b.Status().Leading)
	require.Zero(t, b.Status().Clicks)

	// a is cut off and does not know; its term runs out, and b goes on where it was.
	w.db.MustExec(`UPDATE model_trainer SET lead_until = now() - interval '1 second'`)
	w.show(500, 3*time.Minute, 2*time.Minute)
	w.learnAll(b, 1000)
	require.True(t, b.Status().Leading)
	require.Greater(t, b.Status().Epoch, a.Status().Epoch)
	want := w.saved()
	err = w.store.Save(t.Context(), a.Status().Epoch, ranking.Saved{Published: 77}, ranking.Published{Number: 77, Version: "m77", Metrics: []byte("{}"), Body: []byte("x")})
	require.ErrorIs(t, err, postgres.ErrStale)
	require.Equal(t, want, w.saved(), "nothing of an earlier lead is written")
	_, err = a.Step(t.Context())
	require.NoError(t, err)
	require.False(t, a.Status().Leading)
}

// TestABadSnapshotIsRefusedAndTheLastGoodOneStays: a model that learns nothing is fine until there are clicks enough to judge it by.
func TestABadSnapshotIsRefusedAndTheLastGoodOneStays(t *testing.T) {
	t.Parallel()
	w := setup(t)
	stuck := params
	stuck.Alpha, stuck.HalfLife = 1e-9, 1e6 // so that enough clicks are recent
	tr := w.trainer(stuck)
	node := trainer.NewFollower(w.store, log)
	w.show(200, 3*time.Minute, 2*time.Minute)
	w.learnAll(tr, 200)
	require.NoError(t, node.Poll(t.Context()))
	require.Equal(t, "m1", node.Current().Version)

	w.show(15_000, 3*time.Minute, 2*time.Minute)
	w.learnAll(tr, 15_200)
	require.Contains(t, tr.Status().RefusedWhy, "calibration")
	require.NotZero(t, tr.Status().Refused)
	require.NoError(t, node.Poll(t.Context()))
	require.Equal(t, "m1", node.Current().Version)
	list, err := w.store.Models(t.Context(), "")
	require.NoError(t, err)
	require.Contains(t, list[0].Refused, "calibration", "the reason is kept")
	require.ErrorIs(t, w.store.Pin(t.Context(), list[0].Version), postgres.ErrUnknownModel, "nobody can have it used")
}

// TestANodeKeepsItsModelWhateverTheStoreSays: damaged bytes, a name that is not its own, a database that is gone.
func TestANodeKeepsItsModelWhateverTheStoreSays(t *testing.T) {
	t.Parallel()
	w := setup(t)
	publish := func(n int64, version string, body []byte) {
		w.db.MustExec(`INSERT INTO model_snapshots (number, version, metrics, checksum, body) VALUES ($1, $2, '{}', sha256($3), $3)`, n, version, body)
	}
	model := func(version string) []byte {
		tr, err := ranking.NewTrainer(params)
		require.NoError(t, err)
		return tr.Snapshot(version).Append(nil)
	}
	node := trainer.NewFollower(w.store, log)
	publish(1, "m1", model("m1"))
	require.NoError(t, node.Poll(t.Context()))
	good := node.Current()
	require.Equal(t, "m1", good.Version)

	publish(2, "m2", append(model("m2"), 0))
	require.ErrorIs(t, node.Poll(t.Context()), ranking.ErrDamaged)
	publish(3, "m3", model("m9"))
	require.ErrorContains(t, node.Poll(t.Context()), "calls itself")
	publish(4, "m4", model("m4"))
	w.db.MustExec(`UPDATE model_snapshots SET checksum = sha256('x') WHERE number = 4`)
	require.ErrorIs(t, node.Poll(t.Context()), postgres.ErrDamaged)
	require.Error(t, node.Poll(t.Context()), "it stays wrong while it is the newest")
	require.Equal(t, int64(3), node.Status().Refused, "and is not fetched again")
	require.Same(t, good, node.Current())

	publish(5, "m5", model("m5"))
	require.NoError(t, node.Poll(t.Context()))
	require.NoError(t, node.Status().Err)
	require.Equal(t, "m5", node.Current().Version)
	require.NoError(t, w.store.Pin(t.Context(), "m1"))
	require.NoError(t, node.Poll(t.Context()))
	require.Equal(t, "m1", node.Current().Version, "rolled back")
	require.NoError(t, w.store.Pin(t.Context(), ""))
	require.NoError(t, node.Poll(t.Context()))
	require.Equal(t, "m5", node.Current().Version)

	gone := sqlx.MustConnect("postgres", testenv.Postgres(t))
	require.NoError(t, gone.Close())
	away := &switched{Source: w.store}
	node = trainer.NewFollower(away, log)
	require.NoError(t, node.Poll(t.Context()))
	good = node.Current()
	away.Source = postgres.New(gone)
	require.Error(t, node.Poll(t.Context()))
	require.Same(t, good, node.Current())
	require.Error(t, node.Status().Err)
	away.Source = w.store
	require.NoError(t, node.Poll(t.Context()))
	require.NoError(t, node.Status().Err)
}

type switched struct{ trainer.Source }

// TestOldSnapshotsAreDeletedButNotTheOneInUse keeps the table small.
func TestOldSnapshotsAreDeletedButNotTheOneInUse(t *testing.T) {
	t.Parallel()
	w := setup(t)
	epoch, ok, err := w.store.Lead(t.Context(), uuid.New(), time.Minute)
	require.NoError(t, err)
	require.True(t, ok)
	for n := int64(1); n <= 2*postgres.Keep; n++ {
		p := ranking.Published{Number: n, Version: "m" + string(rune('A'+n)), Metrics: []byte("{}"), Body: []byte("x")}
		if n%5 == 0 {
			p.Refused, p.Body = "bad", nil
		}
		require.NoError(t, w.store.Save(t.Context(), epoch, ranking.Saved{Published: n}, p))
		if n == 1 {
			require.NoError(t, w.store.Pin(t.Context(), p.Version))
		}
	}
	list, err := w.store.Models(t.Context(), "")
	require.NoError(t, err)
	good := 0
	for _, p := range list {
		if p.Refused == "" {
			good++
		}
	}
	require.Equal(t, postgres.Keep+1, good)
	require.True(t, list[len(list)-1].Pinned)
}

// TestTheyRunAndStop: both halves as a node runs them.
func TestTheyRunAndStop(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.show(100, 3*time.Minute, 2*time.Minute)
	ctx, stop := context.WithCancel(t.Context())
	tr := trainer.New(trainer.Config{Store: w.store, Params: params, Windows: ranking.Windows{Click: time.Minute, Conversion: time.Minute}, Interval: 20 * time.Millisecond, Log: log})
	node := trainer.NewFollower(w.store, log)
	done := make(chan error, 2)
	go func() { done <- tr.Run(ctx) }()
	go func() { done <- node.Run(ctx) }()
	require.Eventually(t, func() bool { return node.Current().Version != ranking.Default().Version }, 20*time.Second, 10*time.Millisecond)
	stop()
	require.NoError(t, <-done)
	require.NoError(t, <-done)
	_, ok, err := w.store.Lead(t.Context(), uuid.New(), time.Minute)
	require.NoError(t, err)
	require.True(t, ok, "a trainer that stops gives the lead up")
}

func texts(ids []uuid.UUID) (list []string) {
	for _, id := range ids {
		list = append(list, id.String())
	}
	return list
}

func abs(x float64) float64 { return max(x, -x) }
