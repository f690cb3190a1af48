package postgres_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/campaign/postgres"
	"gavel/internal/fault"
)

// uploader is an audience with what its members should be.
type uploader struct {
	*bundle
	account  campaign.AdAccountID
	audience campaign.AudienceID
}

func newUploader(t *testing.T) *uploader {
	t.Helper()
	b := setup(t)
	a := b.account("UTC")
	list, err := b.svc.CreateCustomerList(t.Context(), a.ID, campaign.Item[campaign.CustomerListInput]{Input: campaign.CustomerListInput{
		Name: campaign.Some("buyers"), ListType: campaign.Some("USER_ID"),
	}})
	require.NoError(t, err)
	return &uploader{bundle: b, account: a.ID, audience: list.ID}
}

func (u *uploader) create(operation string) campaign.UploadID {
	u.Helper()
	up, err := u.svc.CreateUpload(u.Context(), u.account, u.audience, items(campaign.UploadInput{Operation: campaign.Some(operation)})[0])
	require.NoError(u, err)
	return up.ID
}

func (u *uploader) part(id campaign.UploadID, n int, users ...string) error {
	_, err := u.svc.PutPart(u.Context(), u.account, u.audience, id, n, strings.NewReader(strings.Join(users, "\n")))
	return err
}

func (u *uploader) run(id campaign.UploadID) {
	u.Helper()
	up, err := u.svc.RunUpload(u.Context(), u.account, u.audience, id)
	require.NoError(u, err)
	require.Equal(u, campaign.UploadRunning, up.State)
}

// upload sends users in two parts and runs the upload.
func (u *uploader) upload(operation string, users ...string) campaign.UploadID {
	u.Helper()
	id := u.create(operation)
	require.NoError(u, u.part(id, 1, users[:len(users)/2]...))
	require.NoError(u, u.part(id, 2, users[len(users)/2:]...))
	u.run(id)
	return id
}

// work does all that is to be done and returns the pieces.
func (u *uploader) work() (pieces []campaign.Bulk) {
	u.Helper()
	for {
		piece, ok, err := u.serving.NextBulk(u.Context())
		require.NoError(u, err)
		if !ok {
			return pieces
		}
		require.True(u, slices.IsSorted(piece.Users))
		require.NoError(u, u.serving.BulkDone(u.Context(), piece))
		pieces = append(pieces, piece)
	}
}

// members are the users of the current list; the size of the audience must be their number.
func (u *uploader) members() []int64 {
	u.Helper()
	lists, err := u.serving.AudienceLists(u.Context())
	require.NoError(u, err)
	var members []int64
	require.NoError(u, u.serving.AllMembers(u.Context(), func(user int64, in []campaign.ListID) error {
		if slices.Contains(in, lists[u.audience]) {
			members = append(members, user)
		}
		return nil
	}))
	a, err := u.svc.Audience(u.Context(), u.account, u.audience)
	require.NoError(u, err)
	require.Equal(u, int64(len(members)), a.Size)
	return members
}

func names(from, to int) (users []string) {
	for i := from; i < to; i++ {
		users = append(users, fmt.Sprintf("u%d", i))
	}
	return users
}

func hashes(users []string) []int64 {
	list := make([]int64, len(users))
	for i, user := range users {
		list[i] = campaign.UserHash(user)
	}
	return sorted(list)
}

func (u *uploader) state(id campaign.UploadID) campaign.Upload {
	u.Helper()
	up, _, err := u.svc.Upload(u.Context(), u.account, u.audience, id)
	require.NoError(u, err)
	return up
}

func TestUploads(t *testing.T) {
	t.Parallel()
	u := newUploader(t)
	u.drain()
	// More than one piece, and some of them twice.
	id := u.upload(campaign.AddUsers, append(names(0, 40_000), "u0", "u39999")...)
	require.Empty(t, u.members(), "nothing changes before it is worked on")
	pieces := u.work()
	require.Len(t, pieces, 3)
	var touched []int64
	for _, p := range pieces {
		touched = append(touched, p.Users...)
	}
	require.Equal(t, hashes(names(0, 40_000)), touched, "each user once, in order")
	require.Equal(t, touched, u.members())
	done := u.state(id)
	require.Equal(t, campaign.UploadSucceeded, done.State)
	require.Equal(t, []int64{40_002, 40_002, 40_002}, []int64{done.Records, done.Valid, done.Done})
	require.Empty(t, u.drain(), "nothing goes through the outbox")

	u.upload(campaign.RemoveUsers, append(names(0, 10), "nobody")...)
	u.work()
	require.Equal(t, hashes(names(10, 40_000)), u.members())

	u.upload(campaign.AddUsers, names(5, 20)...)
	u.upload(campaign.RemoveUsers, names(7, 8)...) // in the order in which they were run
	u.work()
	require.Equal(t, hashes(append(names(5, 7), names(8, 40_000)...)), u.members())
	a, err := u.svc.Audience(t.Context(), u.account, u.audience)
	require.NoError(t, err)
	require.Equal(t, []int64{4, 40_017, 12}, []int64{a.Batches, a.Added, a.Removed})
	var left int
	require.NoError(t, u.db.Get(&left, `SELECT count(*) FROM list_upload_slices`))
	require.Zero(t, left)
}

func TestAListIsReplacedInOneStep(t *testing.T) {
	t.Parallel()
	u := newUploader(t)
	u.upload(campaign.AddUsers, names(0, 100)...)
	u.work()
	before, err := u.serving.AudienceLists(t.Context())
	require.NoError(t, err)
	u.drain()
	u.upload(campaign.ReplaceUsers, names(50, 20_050)...)
	var pieces int
	for {
		piece, ok, err := u.serving.NextBulk(t.Context())
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, hashes(names(0, 100)), u.members(), "the list stays what it is until all is written")
		require.Empty(t, u.drain())
		require.NoError(t, u.serving.BulkDone(t.Context(), piece))
		if pieces++; piece.Last {
			break
		}
	}
	require.Equal(t, 2, pieces)
	require.Equal(t, hashes(names(50, 20_050)), u.members())
	require.Equal(t, []change{{"AUDIENCE", int64(u.audience)}}, u.drain())

	require.Empty(t, u.work(), "the old list stays for a minute")
	old := before[u.audience]
	inOld := func() (n int) {
		require.NoError(t, u.db.Get(&n, `SELECT count(*) FROM list_members WHERE list_id = $1`, old))
		return n
	}
	require.Equal(t, 100, inOld())
	_, err = u.db.ExecContext(t.Context(), `UPDATE old_lists SET retired_at = retired_at - interval '2 minutes'`)
	require.NoError(t, err)
	// Nor while the index may not have been told of a change of lists; being told begins the minute again.
	_, err = u.db.ExecContext(t.Context(), `INSERT INTO outbox (entity, entity_id) VALUES ('AUDIENCE', $1)`, int64(u.audience))
	require.NoError(t, err)
	require.Empty(t, u.work())
	changes, err := u.serving.NextChanges(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, changes, 1)
	require.NoError(t, u.serving.Done(t.Context(), []int64{changes[0].ID}))
	require.Empty(t, u.work())
	_, err = u.db.ExecContext(t.Context(), `UPDATE old_lists SET retired_at = retired_at - interval '2 minutes'`)
	require.NoError(t, err)
	piece, ok, err := u.serving.NextBulk(t.Context())
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, campaign.Bulk{List: old, Users: hashes(names(0, 100)), Through: hashes(names(0, 100))[99], Last: true}, piece)
	members, err := u.serving.MembersOf(t.Context(), hashes([]string{"u1", "u60"}))
	require.NoError(t, err)
	for _, m := range members {
		require.NotContains(t, m.Lists, old, "what is being cleaned away is not read any more")
	}
	require.Equal(t, 100, inOld(), "rows go after the index has what is left")
	require.NoError(t, u.serving.BulkDone(t.Context(), piece))
	require.Zero(t, inOld())
	require.Empty(t, u.work())
}

// TestAnUploadGoesOnWhereverItWasLeft loses answers and changes workers.
func TestAnUploadGoesOnWhereverItWasLeft(t *testing.T) {
	t.Parallel()
	u := newUploader(t)
	r := rand.New(rand.NewPCG(3, 4))
	want := map[string]bool{}
	for range 6 {
		operation := []string{campaign.AddUsers, campaign.RemoveUsers, campaign.ReplaceUsers}[r.IntN(3)]
		from := r.IntN(20_000)
		users := names(from, from+1+r.IntN(40_000))
		if operation == campaign.ReplaceUsers {
			clear(want)
		}
		for _, user := range users {
			if operation == campaign.RemoveUsers {
				delete(want, user)
			} else {
				want[user] = true
			}
		}
		u.upload(operation, users...)
	}
	second := postgres.NewServing(u.db)
	t.Cleanup(func() { require.NoError(t, second.Close()) })
	workers := []*postgres.Serving{u.serving, second}
	var held []campaign.Bulk
	for {
		w := workers[r.IntN(2)]
		piece, ok, err := w.NextBulk(t.Context())
		require.NoError(t, err)
		if !ok {
			break
		}
		switch r.IntN(4) {
		case 0: // it dies before the piece is done
			held = append(held, piece)
			continue
		case 1: // one that believed itself dead comes back
			if len(held) > 0 {
				_ = w.BulkDone(context.Background(), held[len(held)-1])
			}
		}
		_ = w.BulkDone(t.Context(), piece)
	}
	var users []string
	for user := range want {
		users = append(users, user)
	}
	require.Equal(t, hashes(users), u.members())
}

func TestPartsMayBeSentAgain(t *testing.T) {
	t.Parallel()
	u := newUploader(t)
	id := u.create(campaign.AddUsers)
	require.NoError(t, u.part(id, 2, "b"))
	require.NoError(t, u.part(id, 1, "x", strings.Repeat("y", 200)))
	require.NoError(t, u.part(id, 1, "a"), "it replaces what was sent before")
	require.NoError(t, u.part(id, 1, "a"))
	_, parts, err := u.svc.Upload(t.Context(), u.account, u.audience, id)
	require.NoError(t, err)
	require.Len(t, parts, 2)
	require.Equal(t, []int64{1, 1}, []int64{parts[0].Bytes, parts[1].Records})
	u.run(id)
	u.run(id) // once is enough
	require.NoError(t, u.part(id, 1, "a"), "it is there")
	require.ErrorIs(t, u.part(id, 1, "c"), campaign.ErrUploadStarted)
	u.work()
	require.Equal(t, hashes([]string{"a", "b"}), u.members())

	id = u.create(campaign.AddUsers)
	require.NoError(t, u.part(id, 2, "b"))
	_, err = u.svc.RunUpload(t.Context(), u.account, u.audience, id)
	require.Equal(t, fault.Invalid, fault.From(err).Code)
	require.Equal(t, fault.Invalid, fault.From(u.part(id, 0, "a")).Code)
	require.Equal(t, fault.Invalid, fault.From(u.part(id, campaign.MaxUploadParts+1, "a")).Code)
	other := u.account
	u.account = u.bundle.account("UTC").ID
	require.ErrorIs(t, u.part(id, 1, "a"), campaign.ErrUploadNotFound)
	u.account = other
	_, err = u.svc.RunUpload(t.Context(), u.account, u.audience+1, id)
	require.ErrorIs(t, err, campaign.ErrUploadNotFound)
}

func TestRecordsOfACustomerList(t *testing.T) {
	t.Parallel()
	u := newUploader(t)
	u.drain()
	change := func(operation, records string) (campaign.Audience, error) {
		return u.svc.ChangeCustomerList(t.Context(), u.account, u.audience, campaign.Item[campaign.CustomerListUpdate]{Input: campaign.CustomerListUpdate{
			Operation: campaign.Some(operation), Records: campaign.Some(records),
		}})
	}
	a, err := change("ADD", "u1, u2,u2")
	require.NoError(t, err)
	require.Equal(t, []int64{2, 1, 3}, []int64{a.Size, a.Batches, a.Added})
	require.Len(t, u.drain(), 2)
	a, err = change("REMOVE", "u1")
	require.NoError(t, err)
	require.Equal(t, []int64{1, 2, 1}, []int64{a.Size, a.Batches, a.Removed})
	for _, records := range []string{"", strings.Repeat("x", 200), strings.Repeat("x,", campaign.MaxAudienceUsers+1)} {
		_, err = change("ADD", records)
		require.Equal(t, fault.Invalid, fault.From(err).Code)
	}
	_, err = change("REPLACE", "u1")
	require.Equal(t, fault.Invalid, fault.From(err).Code)
	require.Equal(t, hashes([]string{"u2"}), u.members())
}

func TestUploadsThatWereGivenUpAreForgotten(t *testing.T) {
	t.Parallel()
	u := newUploader(t)
	old, run, fresh, empty := u.create("ADD"), u.create("ADD"), u.create("ADD"), u.create("ADD")
	for _, id := range []campaign.UploadID{old, run, fresh} {
		require.NoError(t, u.part(id, 1, "a", "b"))
	}
	u.run(run)
	_, err := u.db.ExecContext(t.Context(), `UPDATE list_uploads SET updated_at = $1 WHERE id <> $2`, u.now.Add(-8*24*time.Hour), int64(fresh))
	require.NoError(t, err)
	require.NoError(t, u.svc.ForgetUploads(t.Context()))
	for _, id := range []campaign.UploadID{old, empty} {
		_, _, err := u.svc.Upload(t.Context(), u.account, u.audience, id)
		require.ErrorIs(t, err, campaign.ErrUploadNotFound)
	}
	var slices int
	require.NoError(t, u.db.Get(&slices, `SELECT count(DISTINCT upload_id) FROM list_upload_slices`))
	require.Equal(t, 2, slices)
	u.run(fresh)
	u.work()
	require.Equal(t, hashes([]string{"a", "b"}), u.members())
}
