package postgres_test

import (
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"gavel/auction"
	"gavel/auction/postgres"
	"gavel/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, testenv.LeakOptions()...) }

// clock is a clock that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

type bundle struct {
	*postgres.Records
	db    *sqlx.DB
	clock *clock
}

func setup(t *testing.T) bundle {
	t.Helper()
	testenv.Short(t)
	db := sqlx.MustConnect("postgres", testenv.Postgres(t))
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	c := &clock{at: time.Now()}
	return bundle{postgres.NewRecords(db, c.now), db, c}
}

// idOf is an id of version 7 of a time.
func idOf(t *testing.T, at time.Time) uuid.UUID {
	t.Helper()
	id := uuid.Must(uuid.NewV7())
	binary.BigEndian.PutUint32(id[:4], uint32(at.UnixMilli()>>16))
	binary.BigEndian.PutUint16(id[4:6], uint16(at.UnixMilli()))
	return id
}

// partitions are the names of the partitions.
func (b bundle) partitions(t *testing.T) (names []string) {
	t.Helper()
	require.NoError(t, b.db.Select(&names, `SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'auction_records'::regclass ORDER BY 1`))
	return names
}

func TestRecordsAreThereForADayAndThenForgotten(t *testing.T) {
	t.Parallel()
	b := setup(t)
	begin := b.clock.now().Truncate(time.Hour).Add(59 * time.Minute)
	b.clock.at = begin
	early, late := idOf(t, begin), idOf(t, begin.Add(2*time.Minute)) // in two hours, and so in two partitions
	require.NoError(t, b.Save(t.Context(), []uuid.UUID{early, late}, [][]byte{{1, 0, 255}, {2}}))
	require.NoError(t, b.Save(t.Context(), []uuid.UUID{early}, [][]byte{{9}}), "once more is no error")
	data, err := b.Load(t.Context(), early)
	require.NoError(t, err)
	require.Equal(t, []byte{1, 0, 255}, data, "the first stays")
	_, err = b.Load(t.Context(), idOf(t, begin))
	require.ErrorIs(t, err, auction.ErrNotRecorded)
	_, err = b.Load(t.Context(), uuid.New())
	require.ErrorIs(t, err, auction.ErrNotRecorded)

	name := func(at time.Time) string { return "auction_records_" + at.UTC().Format("2006010215") }
	b.clock.move(24 * time.Hour) // to the moment
	_, err = b.Forget(t.Context())
	require.NoError(t, err)
	_, err = b.Load(t.Context(), early)
	require.NoError(t, err, "a day is not over")
	require.Contains(t, b.partitions(t), name(begin))

	b.clock.move(time.Second)
	_, err = b.Load(t.Context(), early)
	require.ErrorIs(t, err, auction.ErrNotRecorded, "a day is over, though the partition is there")
	data, err = b.Load(t.Context(), late)
	require.NoError(t, err)
	require.Equal(t, []byte{2}, data)

	b.clock.move(time.Minute)
	dropped, err := b.Forget(t.Context())
	require.NoError(t, err)
	require.Positive(t, dropped)
	require.NotContains(t, b.partitions(t), name(begin))
	require.Contains(t, b.partitions(t), name(begin.Add(2*time.Minute)))
	require.Contains(t, b.partitions(t), name(b.clock.now().Add(2*time.Hour)), "those to come are made ahead")
	_, err = b.Load(t.Context(), late)
	require.NoError(t, err)
}

func TestWhatIsNotOfNowIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, at := range []time.Duration{-26 * time.Hour, 26 * time.Hour} {
		require.ErrorContains(t, b.Save(t.Context(), []uuid.UUID{idOf(t, b.clock.now().Add(at))}, [][]byte{{1}}), "not about now")
	}
}

// TestManyNodesForgetAndSaveAtOnce: partitions are made and dropped by everybody, while everybody writes.
func TestManyNodesForgetAndSaveAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var wg sync.WaitGroup
	errs := make(chan error, 1000)
	var mu sync.Mutex
	var saved []uuid.UUID
	for range 6 {
		node := postgres.NewRecords(b.db, b.clock.now)
		wg.Go(func() {
			for range 15 {
				id := idOf(t, b.clock.now())
				errs <- node.Save(t.Context(), []uuid.UUID{id}, [][]byte{{3}})
				mu.Lock()
				saved = append(saved, id)
				mu.Unlock()
				_, err := node.Forget(t.Context())
				errs <- err
				b.clock.move(30 * time.Second)
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	for _, id := range saved {
		_, err := b.Load(t.Context(), id)
		require.NoError(t, err)
	}
	b.clock.move(30 * time.Hour)
	_, err := b.Forget(t.Context())
	require.NoError(t, err)
	require.Len(t, b.partitions(t), 3, "this hour and two to come")
}

func TestAPartitionThatIsReadIsDroppedLater(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.Save(t.Context(), []uuid.UUID{idOf(t, b.clock.now())}, [][]byte{{1}}))
	tx, err := b.db.Beginx()
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	_, err = tx.Exec(`SELECT count(*) FROM auction_records`)
	require.NoError(t, err)
	b.clock.move(30 * time.Hour)
	before := b.partitions(t)
	dropped, err := b.Forget(t.Context())
	require.NoError(t, err, "to make partitions waits for nobody")
	require.Zero(t, dropped)
	require.Subset(t, b.partitions(t), before)
	require.NoError(t, tx.Rollback())
	dropped, err = b.Forget(t.Context())
	require.NoError(t, err)
	require.Equal(t, len(before), dropped)
}
