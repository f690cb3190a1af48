package postgres_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/event"
	"gavel/event/postgres"
	"gavel/internal/money"
	"gavel/internal/testenv"
)

const (
	mine   = campaign.AdAccountID(9)
	theirs = campaign.AdAccountID(10)
	anna   = int64(-5)
	ben    = int64(6)
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

type world struct {
	*testing.T
	db    *sqlx.DB
	store *postgres.Conversions
}

func setup(t *testing.T) *world {
	t.Helper()
	db := sqlx.MustConnect("postgres", testenv.Postgres(t))
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	for _, id := range []campaign.AdAccountID{mine, theirs} {
		db.MustExec(`INSERT INTO ad_accounts (id, name, country, currency) OVERRIDING SYSTEM VALUE VALUES ($1, 'a', 'DE', 'EUR')`, int64(id))
	}
	return &world{T: t, db: db, store: postgres.NewConversions(db)}
}

// event records an event of an ad so long before noon, on the day of a zone that is hours ahead, and returns its impression.
func (w *world) event(account campaign.AdAccountID, ad int64, kind event.Kind, user int64, ago time.Duration, ahead time.Duration) uuid.UUID {
	w.Helper()
	at := noon.Add(-ago)
	id := event.NewImpressionID(at)
	w.db.MustExec(`INSERT INTO events (day, impression_id, kind, outcome, price_nanos, charge_nanos, free_nanos, lease_id, ad_account_id, campaign_id, ad_group_id, ad_id,
		user_hash, accepted_at, node_id) VALUES ($1, $2, $3, 'BILLED', 0, 0, 0, 1, $4, 8, 7, $5, nullif($6, 0), $7, $2)`,
		at.Add(ahead).Format("2006-01-02"), id, string(kind), int64(account), ad, user, at)
	return id
}

func conversion(id string, users ...int64) event.Conversion {
	return event.Conversion{EventID: id, Name: "checkout", Source: "web", At: noon, UserHashes: users}
}

// credited records a conversion and returns the ad that it was credited to, 0 for none.
func (w *world) credited(account campaign.AdAccountID, c event.Conversion) (ad int64, kind event.Kind, by string) {
	w.Helper()
	receipts, err := w.store.Record(w.Context(), account, []event.Conversion{c})
	require.NoError(w, err)
	require.Len(w, receipts, 1)
	require.False(w, receipts[0].Duplicate)
	require.NoError(w, w.db.QueryRowx(`SELECT coalesce(ad_id, 0), coalesce(kind, ''), coalesce(matched_by, '') FROM conversions WHERE ad_account_id = $1 AND event_id = $2`,
		int64(account), c.EventID).Scan(&ad, &kind, &by))
	require.Equal(w, kind, receipts[0].CreditedTo)
	return ad, kind, by
}

func TestAConversionIsCreditedToItsClickElseToTheUsersLastClickElseToALastView(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	type events func(w *world) uuid.UUID // returns a click id
	for name, c := range map[string]struct {
		events  events
		users   []int64
		optOut  bool
		account campaign.AdAccountID
		ad      int64
		kind    event.Kind
		by      string
	}{
		"nothing": {func(*world) uuid.UUID { return uuid.Nil }, []int64{anna}, false, mine, 0, "", ""},
		"the click id goes before a later click of the user": {func(w *world) uuid.UUID {
			w.event(mine, 2, event.Click, anna, time.Minute, 0)
			return w.event(mine, 1, event.Click, ben, time.Hour, 0)
		}, []int64{anna}, false, mine, 1, event.Click, "CLICK_ID"},
		"a day that is ahead of UTC":  {func(w *world) uuid.UUID { return w.event(mine, 1, event.Click, 0, time.Hour, 14*time.Hour) }, nil, false, mine, 1, event.Click, "CLICK_ID"},
		"a day that is behind of UTC": {func(w *world) uuid.UUID { return w.event(mine, 1, event.Click, 0, 9*time.Hour, -11*time.Hour) }, nil, false, mine, 1, event.Click, "CLICK_ID"},
		"an impression is no click":   {func(w *world) uuid.UUID { return w.event(mine, 1, event.Impression, 0, time.Hour, 0) }, nil, false, mine, 0, "", ""},
		"a click of another account": {func(w *world) uuid.UUID {
			w.event(theirs, 2, event.Click, anna, time.Minute, 0)
			return w.event(theirs, 1, event.Click, anna, time.Hour, 0)
		}, []int64{anna}, false, mine, 0, "", ""},
		"a click id that is too old": {func(w *world) uuid.UUID { return w.event(mine, 1, event.Click, 0, 31*day, 0) }, nil, false, mine, 0, "", ""},
		"the last click of the user": {func(w *world) uuid.UUID {
			w.event(mine, 1, event.Click, anna, 29*day, 0)
			w.event(mine, 2, event.Click, anna, 2*day, 0)
			w.event(mine, 3, event.Click, ben, time.Hour, 0)
			w.event(mine, 4, event.Viewable, anna, time.Minute, 0)
			w.event(mine, 5, event.Click, anna, -time.Hour, 0) // after the conversion
			return uuid.New()
		}, []int64{anna}, false, mine, 2, event.Click, "EXTERNAL_ID"},
		"any of the user's ids": {func(w *world) uuid.UUID {
			w.event(mine, 1, event.Viewable, anna, time.Minute, 0)
			w.event(mine, 2, event.Click, ben, day, 0)
			return uuid.Nil
		}, []int64{anna, ben}, false, mine, 2, event.Click, "EXTERNAL_ID"},
		"the last view within a day": {func(w *world) uuid.UUID {
			w.event(mine, 1, event.Viewable, anna, 25*time.Hour, 0)
			w.event(mine, 2, event.Viewable, anna, 23*time.Hour, 0)
			w.event(mine, 3, event.Impression, anna, time.Hour, 0) // nobody could see it
			return uuid.Nil
		}, []int64{anna}, false, mine, 2, event.Viewable, "EXTERNAL_ID"},
		"a view that is too old": {func(w *world) uuid.UUID { w.event(mine, 1, event.Viewable, anna, 25*time.Hour, 0); return uuid.Nil }, []int64{anna}, false, mine, 0, "", ""},
		"opted out":              {func(w *world) uuid.UUID { return w.event(mine, 1, event.Click, anna, time.Hour, 0) }, []int64{anna}, true, mine, 0, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := setup(t)
			v := conversion("e", c.users...)
			v.ClickID, v.OptOut = c.events(w), c.optOut
			ad, kind, by := w.credited(c.account, v)
			require.Equal(t, c.ad, ad)
			require.Equal(t, c.kind, kind)
			require.Equal(t, c.by, by)
		})
	}
}

func TestAConversionIsCountedOnce(t *testing.T) {
	t.Parallel()
	w := setup(t)
	value, items := money.Micros(72_390_000), int64(3)
	a, b, other := conversion("a"), conversion("b"), conversion("a")
	a.Value, a.NumItems = &value, &items
	b.Value, b.Currency = &value, "USD"
	other.Name = "signup"
	list := []event.Conversion{b, a, a, other}
	receipts, err := w.store.Record(t.Context(), mine, list)
	require.NoError(t, err)
	require.Equal(t, []event.Receipt{{}, {}, {Duplicate: true}, {}}, receipts)
	receipts, err = w.store.Record(t.Context(), mine, list)
	require.NoError(t, err)
	require.Equal(t, []event.Receipt{{Duplicate: true}, {Duplicate: true}, {Duplicate: true}, {Duplicate: true}}, receipts)
	receipts, err = w.store.Record(t.Context(), theirs, list[:1])
	require.NoError(t, err)
	require.Equal(t, []event.Receipt{{}}, receipts, "another account's ids are its own")
	var worth string
	require.NoError(t, w.db.Get(&worth, `SELECT string_agg(concat_ws(' ', event_id, event_name, value_micros, currency, num_items, goal), ', ' ORDER BY event_id, event_name)
		FROM conversions WHERE ad_account_id = $1`, int64(mine)))
	require.Equal(t, "a checkout 72390000 EUR 3 t, a signup t, b checkout 72390000 USD t", worth)
}

// TestNothingOfTheUserIsKept holds the table's columns: a new one must say why it is no personal data.
func TestNothingOfTheUserIsKept(t *testing.T) {
	t.Parallel()
	w := setup(t)
	var columns []string
	require.NoError(t, w.db.Select(&columns, `SELECT column_name FROM information_schema.columns WHERE table_name = 'conversions' ORDER BY ordinal_position`))
	require.Equal(t, []string{
		"ad_account_id", "event_id", "event_name", "action_source", "event_time", "value_micros", "currency", "num_items", "goal",
		"kind", "matched_by", "day", "impression_id", "campaign_id", "ad_group_id", "ad_id", "received_at", "posted_xid",
	}, columns)
}
