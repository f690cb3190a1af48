package postgres_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/internal/testenv"
	"gavel/ranking"
	"gavel/ranking/postgres"
)

const day = "2026-11-23"

func open(t testing.TB) *sqlx.DB {
	t.Helper()
	db := sqlx.MustConnect("postgres", testenv.Postgres(t))
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	db.MustExec(`INSERT INTO ad_accounts (id, name, country, currency) OVERRIDING SYSTEM VALUE VALUES (9, 'a', 'US', 'USD')`)
	return db
}

// impressionID names impression n.
func impressionID(n int64) (id uuid.UUID) {
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	return id
}

// post records an event of impression n, which is also the id of its ad, so long ago.
func post(t testing.TB, db sqlx.Execer, n int64, kind string, ago time.Duration) {
	t.Helper()
	var served []byte
	if kind == "IMPRESSION" {
		served = make([]byte, ranking.ServedSize)
		binary.BigEndian.PutUint64(served, uint64(n))
	}
	_, err := db.Exec(`INSERT INTO events (day, impression_id, kind, outcome, price_nanos, charge_nanos, free_nanos, lease_id,
		ad_account_id, campaign_id, ad_group_id, ad_id, accepted_at, posted_at, node_id, served, posted_xid)
		VALUES ($1, $2, $3, 'BILLED', 0, 0, 0, 1, 9, 8, 7, $4, now(), now() - $5 * interval '1 microsecond', $2, $6, pg_current_xact_id()::text::bigint)`,
		day, impressionID(n), kind, n, ago.Microseconds(), served)
	require.NoError(t, err)
}

func convert(t testing.TB, db sqlx.Execer, n int64, eventID, name string, goal bool) {
	t.Helper()
	_, err := db.Exec(`INSERT INTO conversions (ad_account_id, event_id, event_name, action_source, event_time, goal, kind, matched_by, day, impression_id,
		campaign_id, ad_group_id, ad_id) VALUES (9, $1, $2, 'web', now(), $3, 'CLICK', 'CLICK_ID', $4, $5, 8, 7, $6)`, eventID, name, goal, day, impressionID(n), n)
	require.NoError(t, err)
}

// tally is what a trainer that reads learns of each impression.
type tally struct{ shown, clicked, late, clicks, converted, lateConverted int }

type account map[campaign.AdID]*tally

func (a account) take(t testing.TB, o ranking.Observed) {
	t.Helper()
	at := func(ob ranking.Observation) *tally {
		require.Equal(t, uint64(ob.Item.AdID), binary.BigEndian.Uint64(ob.Served[:]), "what was served belongs to the ad")
		require.Equal(t, ranking.Item{AdID: ob.Item.AdID, AdGroupID: 7, CampaignID: 8, AdAccountID: 9}, ob.Item)
		if a[ob.Item.AdID] == nil {
			a[ob.Item.AdID] = &tally{}
		}
		return a[ob.Item.AdID]
	}
	count := func(ob ranking.Observation, all, positive, late *int) {
		switch {
		case ob.Late:
			require.True(t, ob.Positive)
			*late++
		case ob.Positive:
			*positive++
			fallthrough
		default:
			*all++
		}
	}
	for _, ob := range o.Clicks {
		x := at(ob)
		count(ob, &x.shown, &x.clicked, &x.late)
	}
	for _, ob := range o.Conversions {
		x := at(ob)
		count(ob, &x.clicks, &x.converted, &x.lateConverted)
	}
}

var windows = ranking.Windows{Click: time.Minute, Conversion: 2 * time.Minute}

// TestEveryImpressionAndEveryClickIsLearnedOnceWhateverCommitsWhen: transactions that began long ago commit after younger ones, clicks come
// before their impressions and long after them, a reader reads in between, a few rows at a time. At the end every impression was learned
// once, and every click and every first conversion was a positive once: with its cause, or as a correction of it.
func TestEveryImpressionAndEveryClickIsLearnedOnceWhateverCommitsWhen(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) { // one after the other: the oldest transaction under way is that of the whole server
		everyImpressionOnce(t, seed)
	}
}

func everyImpressionOnce(t *testing.T, seed uint64) {
	t.Helper()
	db := open(t)
	store := postgres.New(db)
	r := rand.New(rand.NewPCG(seed, 1))
	var cursor ranking.Cursor
	learned := account{}
	want := map[int64]*tally{} // shown, clicked and converted only
	read := func(limit int) bool {
		o, err := store.Read(t.Context(), cursor, windows, limit)
		require.NoError(t, err)
		learned.take(t, o)
		cursor = o.Cursor
		return o.More
	}
	var under []*sqlx.Tx // under way
	begin := func() *sqlx.Tx {
		tx, err := db.BeginTxx(context.WithoutCancel(t.Context()), nil)
		require.NoError(t, err)
		return tx
	}
	end := func(i int) {
		require.NoError(t, under[i].Commit())
		under = append(under[:i], under[i+1:]...)
	}
	type todo struct {
		n    int64
		what string
	}
	var waiting []todo
	next := int64(0)
	for range 700 {
		switch k := r.IntN(10); {
		case k < 1 && len(under) < 4:
			under = append(under, begin())
		case k < 3 && len(under) > 0:
			end(r.IntN(len(under)))
		case k < 4:
			db.MustExec(`UPDATE events SET posted_at = posted_at - interval '20 seconds'`) // time passes
			read(1 + r.IntN(30))
		case k < 7 || len(waiting) < 10: // a new impression, its events to come in any order
			next++
			x := &tally{shown: 1}
			want[next] = x
			if next%2 == 0 {
				post(t, db, next, "IMPRESSION", time.Duration(r.Int64N(int64(4*time.Minute))))
			} else {
				waiting = append(waiting, todo{next, "IMPRESSION"})
			}
			if r.IntN(2) == 0 {
				x.clicked, x.clicks = 1, 1
				waiting = append(waiting, todo{next, "CLICK"})
			}
		default:
			i := r.IntN(len(waiting))
			w := waiting[i]
			waiting = append(waiting[:i], waiting[i+1:]...)
			var to sqlx.Execer = db
			if len(under) > 0 && r.IntN(3) > 0 {
				to = under[r.IntN(len(under))]
			}
			ago := time.Duration(r.Int64N(int64(4 * time.Minute)))
			if w.what != "CONVERSION" {
				post(t, to, w.n, w.what, ago)
				if w.what == "CLICK" && r.IntN(2) == 0 {
					want[w.n].converted = 1
					for range 1 + r.IntN(2) {
						waiting = append(waiting, todo{w.n, "CONVERSION"})
					}
				}
				continue
			}
			convert(t, to, w.n, uuid.NewString(), "checkout", true)
			convert(t, to, w.n, uuid.NewString(), "page_visit", false)
		}
	}
	for _, w := range waiting {
		if w.what == "CONVERSION" {
			convert(t, db, w.n, uuid.NewString(), "signup", true)
		} else {
			post(t, db, w.n, w.what, 5*time.Minute)
		}
	}
	for len(under) > 0 {
		end(0)
	}
	db.MustExec(`UPDATE events SET posted_at = now() - interval '1 hour'`)
	require.Eventually(t, func() bool { // until no transaction of another test is under way
		for read(7) {
		}
		return len(learned) == len(want) && cursor.Impressions == cursor.Conversions
	}, 20*time.Second, 10*time.Millisecond)
	corrections := 0
	for n, w := range want {
		got := learned[campaign.AdID(n)]
		require.NotNil(t, got, "impression %d", n)
		require.Equal(t, w.shown, got.shown, "impression %d: %+v", n, got)
		require.Equal(t, w.clicked, got.clicked+got.late, "impression %d: %+v", n, got)
		if n%2 == 0 {
			require.Equal(t, w.clicks, got.clicks, "impression %d: %+v", n, got)
			require.Equal(t, w.converted, got.converted+got.lateConverted, "impression %d: %+v", n, got)
		} else { // a click whose impression was recorded after its window is nothing to the conversion model
			require.LessOrEqual(t, got.clicks, w.clicks)
			require.LessOrEqual(t, got.converted+got.lateConverted, w.converted)
		}
		corrections += got.late + got.lateConverted
	}
	require.Positive(t, corrections, "the test must have late ones")
	db.MustExec(`UPDATE events SET posted_at = now()`)
	again := cursor
	require.False(t, read(1000))
	require.GreaterOrEqual(t, cursor.Impressions, again.Impressions)
}

// TestAClickWithinItsWindowIsLearnedWithItsImpressionAndALaterOneCorrectsIt also says when.
func TestAClickWithinItsWindowIsLearnedWithItsImpressionAndALaterOneCorrectsIt(t *testing.T) {
	t.Parallel()
	db := open(t)
	store := postgres.New(db)
	var cursor ranking.Cursor
	read := func() (o ranking.Observed) {
		t.Helper()
		require.Eventually(t, func() bool {
			var err error
			o, err = store.Read(t.Context(), cursor, windows, 100)
			require.NoError(t, err)
			return len(o.Clicks) > 0
		}, 20*time.Second, 10*time.Millisecond)
		cursor = o.Cursor
		return o
	}
	post(t, db, 1, "IMPRESSION", 3*time.Minute)
	post(t, db, 2, "IMPRESSION", 2*time.Minute)
	post(t, db, 2, "CLICK", time.Minute)
	post(t, db, 3, "IMPRESSION", 30*time.Second) // its window is open
	post(t, db, 3, "CLICK", 0)
	o := read()
	require.Len(t, o.Clicks, 2)
	require.False(t, o.Clicks[0].Positive)
	require.True(t, o.Clicks[1].Positive)
	require.False(t, o.Clicks[1].Late)
	post(t, db, 1, "CLICK", 0)
	o = read()
	require.Len(t, o.Clicks, 1)
	require.Equal(t, campaign.AdID(1), o.Clicks[0].Item.AdID)
	require.True(t, o.Clicks[0].Late)
	db.MustExec(`UPDATE events SET posted_at = posted_at - interval '1 minute'`)
	o = read()
	require.Len(t, o.Clicks, 1)
	require.Equal(t, campaign.AdID(3), o.Clicks[0].Item.AdID)
	require.True(t, o.Clicks[0].Positive)
	require.False(t, o.Clicks[0].Late)
}

// TestATransactionIsReadAsAWhole: however many rows it has, a read comes past it.
func TestATransactionIsReadAsAWhole(t *testing.T) {
	t.Parallel()
	db := open(t)
	tx := db.MustBegin()
	for n := range int64(20) {
		post(t, tx, 1+n, "IMPRESSION", 3*time.Minute)
	}
	require.NoError(t, tx.Commit())
	post(t, db, 21, "IMPRESSION", 3*time.Minute)
	store := postgres.New(db)
	var cursor ranking.Cursor
	var sizes []int
	require.Eventually(t, func() bool {
		o, err := store.Read(t.Context(), cursor, windows, 5)
		require.NoError(t, err)
		cursor = o.Cursor
		if len(o.Clicks) > 0 {
			sizes = append(sizes, len(o.Clicks))
		}
		return len(sizes) == 2
	}, 20*time.Second, 10*time.Millisecond)
	require.Equal(t, []int{20, 1}, sizes)
}

func TestACursorAheadOfTheDatabaseIsToldNotGuessedAt(t *testing.T) {
	t.Parallel()
	_, err := postgres.New(open(t)).Read(t.Context(), ranking.Cursor{Clicks: 1 << 60}, windows, 10)
	require.ErrorIs(t, err, postgres.ErrCursorAhead)
}
