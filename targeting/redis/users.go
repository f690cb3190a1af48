package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"gavel/targeting"
)

// ErrUsersIncomplete says that Redis does not hold everybody's memberships: it was emptied and is being filled again.
var ErrUsersIncomplete = errors.New("memberships are incomplete")

// Users reads and counts what is kept of users. It is safe for concurrent use.
type Users struct {
	client goredis.UniversalClient
	now    func() time.Time
}

// NewUsers returns a Users. The caller keeps the client and closes it.
func NewUsers(client goredis.UniversalClient, now func() time.Time) *Users {
	return &Users{client: client, now: now}
}

// bucketMark is the field of a bucket that says which memberships are in it.
const bucketMark = "g"

// LoadUser returns what is known of a user, in one round trip and within the deadline of ctx. After an error nothing is known:
// ErrUsersIncomplete, ErrDamaged, or whatever kept Redis from answering.
func (u *Users) LoadUser(ctx context.Context, userHash int64) (targeting.UserState, error) {
	pipe := u.client.Pipeline()
	lists, views := pipe.HMGet(ctx, keyBucket(userHash), bucketMark, userField(userHash)), pipe.HGetAll(ctx, keyViews(userHash))
	// Asked last: if the mark is there now, the memberships before it were read from a complete set.
	complete := pipe.Get(ctx, keyUsers)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, goredis.Nil) {
		return targeting.UserState{}, fmt.Errorf("load user: %w", err)
	}
	// Exec reports one error of several: a missing key must not hide a refused one.
	for _, err := range [...]error{lists.Err(), views.Err(), complete.Err()} {
		if err != nil && !errors.Is(err, goredis.Nil) {
			return targeting.UserState{}, fmt.Errorf("load user: %w", err)
		}
	}
	if complete.Val() == "" {
		return targeting.UserState{}, fmt.Errorf("load user: %w", ErrUsersIncomplete)
	}
	var state targeting.UserState
	var err error
	values := lists.Val()
	mark, _ := values[0].(string)
	// Nobody is a member by the memberships of an older generation.
	if len(mark) > markSize && mark[:markSize] == markOf(complete.Val()) {
		record, _ := values[1].(string)
		if state.Lists, err = decodeLists(record); err != nil {
			return targeting.UserState{}, fmt.Errorf("load user: %w", err)
		}
	} else if mark != "" && len(mark) <= markSize || mark == "" && values[1] != nil {
		return targeting.UserState{}, fmt.Errorf("load user: bucket of generation %x: %w", mark, ErrDamaged)
	}
	if state.Views, err = countViews(views.Val(), u.now().Add(-window)); err != nil {
		return targeting.UserState{}, fmt.Errorf("load user: %w", err)
	}
	return state, nil
}
