package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"gavel/campaign"
	"gavel/targeting"
)

// ErrUsersIncomplete says that Redis does not hold everybody's memberships: it was emptied and is being filled again.
var ErrUsersIncomplete = errors.New("memberships are incomplete")

const (
	// windowDays is the window of frequency caps in UTC days, today included: 31 of them cover any rolling 30 days.
	windowDays = 31
	dayLength  = 24 * time.Hour
)

// Users reads and counts what is kept of users. It is safe for concurrent use.
type Users struct {
	client goredis.UniversalClient
	now    func() time.Time
}

// NewUsers returns a Users. The caller keeps the client and closes it.
func NewUsers(client goredis.UniversalClient, now func() time.Time) *Users {
	return &Users{client: client, now: now}
}

// LoadUser returns what is known of a user, in one round trip and within the deadline of ctx. After an error nothing is known:
// ErrUsersIncomplete, ErrDamaged, or whatever kept Redis from answering.
func (u *Users) LoadUser(ctx context.Context, userHash int64) (targeting.UserState, error) {
	pipe := u.client.Pipeline()
	members, views := pipe.Get(ctx, keyAudiences(userHash)), pipe.HGetAll(ctx, keyViews(userHash))
	// Asked last: if the mark is there now, the memberships before it were read from a complete set.
	mark := pipe.Get(ctx, keyUsers)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, goredis.Nil) {
		return targeting.UserState{}, fmt.Errorf("load user: %w", err)
	}
	// Exec reports one error of several: a missing key must not hide a refused one.
	for _, cmd := range []goredis.Cmder{members, views, mark} {
		if err := cmd.Err(); err != nil && !errors.Is(err, goredis.Nil) {
			return targeting.UserState{}, fmt.Errorf("load user: %w", err)
		}
	}
	if mark.Val() == "" {
		return targeting.UserState{}, fmt.Errorf("load user: %w", ErrUsersIncomplete)
	}
	var state targeting.UserState
	var err error
	if members.Val() != "" {
		if state.Audiences, err = parseMembers(members.Val(), mark.Val()); err != nil {
			return targeting.UserState{}, fmt.Errorf("load user: %w", err)
		}
	}
	state.Views, err = countViews(views.Val(), dayOf(u.now())-windowDays+1)
	if err != nil {
		return targeting.UserState{}, fmt.Errorf("load user: %w", err)
	}
	return state, nil
}

// Impression is one view of an ad by a user.
type Impression struct {
	UserHash  int64
	AdGroupID campaign.AdGroupID
	At        time.Time
}

// RecordImpressions counts impressions in one round trip. It counts whatever it is given, so each impression must come once.
// After an error some may be counted; counting them again shows the user less, never more.
func (u *Users) RecordImpressions(ctx context.Context, impressions []Impression) error {
	oldest := dayOf(u.now()) - windowDays + 1
	counts := map[int64]map[string]int{}
	for _, imp := range impressions {
		day := dayOf(imp.At)
		if day < oldest {
			continue
		}
		if counts[imp.UserHash] == nil {
			counts[imp.UserHash] = map[string]int{}
		}
		counts[imp.UserHash][viewField(imp.AdGroupID, day)]++
	}
	if len(counts) == 0 {
		return nil
	}
	const keep = windowDays * int64(dayLength/time.Second)
	calls := make([]call, 0, len(counts))
	for user, fields := range counts {
		args := []any{oldest, keep}
		for field, n := range fields {
			args = append(args, field, n)
		}
		calls = append(calls, call{keyViews(user), args})
	}
	if err := runAll(ctx, u.client, impressionsScript, calls); err != nil {
		return fmt.Errorf("record impressions: %w", err)
	}
	return nil
}

// dayOf is the UTC day of t, counted from 1970-01-01.
func dayOf(t time.Time) int64 {
	seconds := t.Unix()
	const day = int64(dayLength / time.Second)
	if seconds < 0 {
		return (seconds+1)/day - 1
	}
	return seconds / day
}

func viewField(id campaign.AdGroupID, day int64) string {
	return strconv.FormatInt(int64(id), 10) + ":" + strconv.FormatInt(day, 10)
}

// countViews sums the fields of a user's views from the oldest day on.
func countViews(fields map[string]string, oldest int64) (map[campaign.AdGroupID]int, error) {
	if len(fields) == 0 {
		return nil, nil
	}
	views := make(map[campaign.AdGroupID]int, len(fields))
	for field, value := range fields {
		group, day, isCount := strings.Cut(field, ":")
		if !isCount {
			continue // "swept"
		}
		id, err1 := strconv.ParseInt(group, 10, 64)
		d, err2 := strconv.ParseInt(day, 10, 64)
		n, err3 := strconv.Atoi(value)
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, fmt.Errorf("views %q = %q: %w", field, value, ErrDamaged)
		}
		if d >= oldest {
			views[campaign.AdGroupID(id)] += n
		}
	}
	return views, nil
}
