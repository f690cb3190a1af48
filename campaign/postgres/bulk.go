package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"gavel/campaign"
)

// bulkBatch is about how many members one transaction writes: enough to be worth it, few enough that nobody waits for it.
const bulkBatch = 16 << 10

// bulk is what the worker on uploads remembers between two pieces, only to be faster.
type bulk struct {
	mu sync.Mutex
	// users are those of slices of an upload that are read already, sorted and with duplicates, up to and with slice.
	upload campaign.UploadID
	users  []int64
	slice  int

	cleaned     campaign.ListID
	cleanedUpTo sql.NullInt64
	turn        int
}

// Of each audience the upload that was run first; of those the one that has waited longest for its next piece.
const nextUploadSQL = `
SELECT u.id, u.audience_id, u.operation, u.list_id, u.through_user FROM list_uploads u
WHERE u.state = 'RUNNING' AND NOT EXISTS (
    SELECT 1 FROM list_uploads o WHERE o.state = 'RUNNING' AND o.audience_id = u.audience_id AND (o.run_at, o.id) < (u.run_at, u.id))
ORDER BY u.updated_at, u.id LIMIT 1`

const lockRunningUploadSQL = `
SELECT id, audience_id, operation, list_id, through_user FROM list_uploads WHERE id = $1 AND state = 'RUNNING' FOR NO KEY UPDATE`

const nextSliceSQL = `
SELECT slice, users FROM list_upload_slices WHERE upload_id = $1
AND slice = (SELECT min(slice) FROM list_upload_slices WHERE upload_id = $1 AND slice >= $2)`

const lockListSQL = `SELECT list_id FROM audiences WHERE id = $1 FOR NO KEY UPDATE`

const writeMembersSQL = `
INSERT INTO list_members (user_hash, list_id) SELECT unnest($2::bigint[]), $1 ON CONFLICT DO NOTHING`

const dropMembersSQL = `DELETE FROM list_members WHERE list_id = $1 AND user_hash = ANY ($2)`

const growListSQL = `UPDATE list_uploads SET list_size = list_size + $2 WHERE id = $1`

type runningRow struct {
	ID         int64         `db:"id"`
	AudienceID int64         `db:"audience_id"`
	Operation  string        `db:"operation"`
	ListID     sql.NullInt64 `db:"list_id"`
	Through    sql.NullInt64 `db:"through_user"`
}

// NextBulk does the next piece of work on the members of lists: it writes some of the records of an upload that is running, or finds
// some members of a replaced list. ok is false when there is nothing to do. The piece comes again until BulkDone; whoever does
// that first writes its users to the index.
func (s *Serving) NextBulk(ctx context.Context) (b campaign.Bulk, ok bool, err error) {
	s.bulk.mu.Lock()
	defer s.bulk.mu.Unlock()
	s.bulk.turn++
	// Lists are cleaned away when nothing is uploaded, and now and then when something always is.
	if s.bulk.turn%8 == 0 {
		if b, ok, err = s.nextCleaning(ctx); ok || err != nil {
			return b, ok, err
		}
	}
	var u runningRow
	err = s.get(ctx, &u, nextUploadSQL)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return s.nextCleaning(ctx)
	case err != nil:
		return b, false, fmt.Errorf("find upload: %w", err)
	}
	b, err = s.nextPiece(ctx, u)
	if err == nil && len(b.Users) > 0 {
		err = s.inTx(ctx, func(t session) error { return t.writePiece(ctx, u, b.Users) })
	}
	return b, err == nil, err
}

// nextPiece reads the next records of an upload, in the order of users.
func (s *Serving) nextPiece(ctx context.Context, u runningRow) (campaign.Bulk, error) {
	w := &s.bulk
	if w.upload != campaign.UploadID(u.ID) {
		w.upload, w.users, w.slice = campaign.UploadID(u.ID), nil, -1
		if u.Through.Valid {
			w.slice = campaign.SliceOf(u.Through.Int64) - 1
		}
	}
	if u.Through.Valid {
		at, found := slices.BinarySearch(w.users, u.Through.Int64)
		for found && at < len(w.users) && w.users[at] == u.Through.Int64 {
			at++
		}
		w.users = w.users[at:]
	}
	last := false
	for len(w.users) < bulkBatch && !last {
		var err error
		if last, err = s.nextSlice(ctx, u); err != nil {
			w.upload = 0 // what was read is in doubt
			return campaign.Bulk{}, err
		}
	}
	n := min(len(w.users), bulkBatch)
	for n < len(w.users) && w.users[n] == w.users[n-1] {
		n++
	}
	b := campaign.Bulk{Upload: w.upload, Records: int64(n), Last: last && n == len(w.users)}
	if n > 0 {
		b.Users, b.Through = slices.Compact(slices.Clone(w.users[:n])), w.users[n-1]
	}
	return b, nil
}

// nextSlice reads another slice. last says that there was none.
func (s *Serving) nextSlice(ctx context.Context, u runningRow) (last bool, err error) {
	w := &s.bulk
	var rows []struct {
		Slice int    `db:"slice"`
		Users []byte `db:"users"`
	}
	if err := s.list(ctx, &rows, nextSliceSQL, u.ID, w.slice+1); err != nil {
		return false, fmt.Errorf("read slice: %w", err)
	}
	if len(rows) == 0 {
		return true, nil
	}
	more := []int64{}
	for _, r := range rows {
		w.slice = r.Slice
		if more, err = unpackUsers(more, r.Users); err != nil {
			return false, fmt.Errorf("slice %d of upload %d: %w", r.Slice, u.ID, err)
		}
	}
	slices.Sort(more)
	if u.Through.Valid {
		more = slices.DeleteFunc(more, func(user int64) bool { return user <= u.Through.Int64 })
	}
	w.users = append(slices.Clone(w.users), more...)
	return false, nil
}

// errOvertaken says that somebody else works on the upload.
var errOvertaken = errors.New("somebody else works on this upload")

// lockRunning locks an upload that is where it was when it was read.
func (s session) lockRunning(ctx context.Context, id int64, through sql.NullInt64) (runningRow, error) {
	var now runningRow
	err := s.get(ctx, &now, lockRunningUploadSQL, id)
	if errors.Is(err, sql.ErrNoRows) || err == nil && now.Through != through {
		return now, errOvertaken
	}
	return now, err
}

// writePiece makes users members of the list, or makes them leave it. It may be done again.
func (s session) writePiece(ctx context.Context, u runningRow, users []int64) error {
	if _, err := s.lockRunning(ctx, u.ID, u.Through); err != nil {
		return fmt.Errorf("lock upload: %w", err)
	}
	if u.Operation == campaign.ReplaceUsers {
		n, err := s.exec(ctx, writeMembersSQL, u.ListID.Int64, pq.Array(users))
		if err == nil {
			_, err = s.exec(ctx, growListSQL, u.ID, n)
		}
		return err
	}
	var list int64
	if err := s.get(ctx, &list, lockListSQL, u.AudienceID); err != nil {
		return fmt.Errorf("lock audience: %w", err)
	}
	query, sign := writeMembersSQL, int64(1)
	if u.Operation == campaign.RemoveUsers {
		query, sign = dropMembersSQL, -1
	}
	n, err := s.exec(ctx, query, list, pq.Array(users))
	if err == nil && n > 0 {
		_, err = s.exec(ctx, resizeAudienceSQL, u.AudienceID, sign*n)
	}
	return err
}

const moveUploadSQL = `
UPDATE list_uploads SET through_user = $2, done = done + $3, updated_at = clock_timestamp()
WHERE id = $1 AND state = 'RUNNING' AND (through_user IS NULL OR through_user < $2)`

const finishUploadSQL = `
UPDATE list_uploads SET state = 'SUCCEEDED', done = valid, updated_at = now() WHERE id = $1 RETURNING records, list_size`

const dropSlicesSQL = `DELETE FROM list_upload_slices WHERE upload_id = $1`

const retireListSQL = `INSERT INTO old_lists (list_id) SELECT list_id FROM audiences WHERE id = $1`

const switchListSQL = `UPDATE audiences SET list_id = $2, size = $3, updated_at = now() WHERE id = $1`

const dropCleanedSQL = `DELETE FROM list_members WHERE list_id = $1 AND user_hash = ANY ($2)`

const dropOldListSQL = `DELETE FROM old_lists WHERE list_id = $1`

// BulkDone says that the index has what NextBulk returned. With the last piece of a replacement its list becomes the current one.
func (s *Serving) BulkDone(ctx context.Context, b campaign.Bulk) error {
	if b.Upload == 0 {
		return s.cleaningDone(ctx, b)
	}
	return s.inTx(ctx, func(t session) error {
		if len(b.Users) > 0 {
			n, err := t.exec(ctx, moveUploadSQL, int64(b.Upload), b.Through, b.Records)
			if err != nil {
				return fmt.Errorf("move upload: %w", err)
			}
			if n == 0 {
				return errOvertaken
			}
		}
		if !b.Last {
			return nil
		}
		return t.finish(ctx, int64(b.Upload))
	})
}

func (s session) finish(ctx context.Context, id int64) error {
	var u runningRow
	if err := s.get(ctx, &u, lockRunningUploadSQL, id); err != nil {
		if errors.Is(err, sql.ErrNoRows) {
			return errOvertaken
		}
		return fmt.Errorf("lock upload: %w", err)
	}
	var before int64
	if err := s.get(ctx, &before, lockListSQL, u.AudienceID); err != nil {
		return fmt.Errorf("lock audience: %w", err)
	}
	var done struct {
		Records int64 `db:"records"`
		Size    int64 `db:"list_size"`
	}
	if err := s.get(ctx, &done, finishUploadSQL, id); err != nil {
		return fmt.Errorf("finish upload: %w", err)
	}
	var counted audienceRow
	if err := s.get(ctx, &counted, countRecordsSQL, u.AudienceID, u.Operation, done.Records); err != nil {
		return fmt.Errorf("count records: %w", err)
	}
	if _, err := s.exec(ctx, dropSlicesSQL, id); err != nil {
		return fmt.Errorf("drop slices: %w", err)
	}
	if u.Operation != campaign.ReplaceUsers {
		return nil
	}
	if _, err := s.exec(ctx, retireListSQL, u.AudienceID); err != nil {
		return fmt.Errorf("retire list: %w", err)
	}
	if _, err := s.exec(ctx, switchListSQL, u.AudienceID, u.ListID.Int64, done.Size); err != nil {
		return fmt.Errorf("switch list: %w", err)
	}
	if _, err := s.exec(ctx, changedSQL, campaign.EntityAudience, pq.Array([]int64{u.AudienceID})); err != nil {
		return fmt.Errorf("tell the indexer: %w", err)
	}
	return nil
}

// CleanAfter is how long after it was replaced a list is cleaned away: nodes that still go by it by then must not tell who is in it.
const CleanAfter = time.Minute

// A list is not cleaned before the index has been told of the one that took its place, nor soon after: see doneSQL.
const nextOldListSQL = `
UPDATE old_lists SET cleaning = true WHERE list_id = (
    SELECT list_id FROM old_lists WHERE retired_at < now() - $1 * interval '1 second'
        AND NOT EXISTS (SELECT FROM outbox WHERE entity = 'AUDIENCE')
    ORDER BY retired_at, list_id LIMIT 1)
RETURNING list_id`

const membersOfListSQL = `
SELECT user_hash FROM list_members WHERE list_id = $1 AND ($2::bigint IS NULL OR user_hash > $2) ORDER BY user_hash LIMIT $3`

// nextCleaning finds members of a list that was replaced. Nobody reads them as such any more.
func (s *Serving) nextCleaning(ctx context.Context) (b campaign.Bulk, ok bool, err error) {
	var list int64
	err = s.get(ctx, &list, nextOldListSQL, CleanAfter.Seconds())
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return b, false, nil
	case err != nil:
		return b, false, fmt.Errorf("find replaced list: %w", err)
	}
	w := &s.bulk
	if w.cleaned != campaign.ListID(list) {
		w.cleaned, w.cleanedUpTo = campaign.ListID(list), sql.NullInt64{}
	}
	b.List = campaign.ListID(list)
	// From where the last piece ended: before that there are only rows that are gone and that a search would have to pass.
	if err := s.list(ctx, &b.Users, membersOfListSQL, list, w.cleanedUpTo, bulkBatch); err != nil {
		return b, false, fmt.Errorf("read replaced list: %w", err)
	}
	if b.Last = len(b.Users) < bulkBatch; len(b.Users) > 0 {
		b.Through = b.Users[len(b.Users)-1]
	}
	return b, true, nil
}

func (s *Serving) cleaningDone(ctx context.Context, b campaign.Bulk) error {
	err := s.inTx(ctx, func(t session) error {
		if _, err := t.exec(ctx, dropCleanedSQL, int64(b.List), pq.Array(b.Users)); err != nil {
			return fmt.Errorf("drop members: %w", err)
		}
		if !b.Last {
			return nil
		}
		if _, err := t.exec(ctx, dropOldListSQL, int64(b.List)); err != nil {
			return fmt.Errorf("drop list: %w", err)
		}
		return nil
	})
	s.bulk.mu.Lock()
	defer s.bulk.mu.Unlock()
	if err == nil && len(b.Users) > 0 && s.bulk.cleaned == b.List {
		s.bulk.cleanedUpTo = sql.NullInt64{Int64: b.Through, Valid: true}
	}
	return err
}

// inTx runs f in a transaction.
func (s *Serving) inTx(ctx context.Context, f func(t session) error) error {
	return s.inTxOf(ctx, nil, f)
}

func (s *Serving) inTxOf(ctx context.Context, options *sql.TxOptions, f func(t session) error) error {
	tx, err := s.db.BeginTxx(ctx, options)
	if err != nil {
		return fmt.Errorf("begin: %w", coded(err))
	}
	if err := f(session{statements: s.statements, tx: tx, own: map[string]*sqlx.Stmt{}}); err != nil {
		_ = tx.Rollback() // the error of f is the one that says something
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", coded(err))
	}
	return nil
}
