package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"gavel/campaign"
)

// membershipGrace is how long, in seconds, a user without audiences is remembered as such: long enough that an indexer that was
// succeeded cannot bring older memberships back.
const membershipGrace = 24 * 3600

// SetMembers replaces the audiences of users. generation is the one of all memberships that they belong to.
func (s *Store) SetMembers(ctx context.Context, epoch int64, generation string, users map[int64][]campaign.AudienceID) error {
	if len(users) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	calls := make([]call, 0, len(users))
	for user, audiences := range users {
		keep := 0
		if len(audiences) == 0 {
			keep = membershipGrace
		}
		calls = append(calls, call{keyAudiences(user), []any{epoch, formatMembers(generation, epoch, audiences), keep}})
	}
	if err := runAll(ctx, s.client, memberScript, calls); err != nil {
		return fmt.Errorf("set memberships: %w", err)
	}
	return nil
}

// BeginUsers starts a generation of memberships: until CompleteUsers of the same, nobody's audiences are known.
func (s *Store) BeginUsers(ctx context.Context, epoch int64, generation string) error {
	return s.users(ctx, epoch, "begin", generation)
}

// CompleteUsers says that the memberships of a generation are all written. It returns targeting.ErrGeneration if Redis has
// been emptied since they were begun.
func (s *Store) CompleteUsers(ctx context.Context, epoch int64, generation string) error {
	return s.users(ctx, epoch, "complete", generation)
}

func (s *Store) users(ctx context.Context, epoch int64, step, generation string) error {
	if err := run(ctx, s.client, usersScript, []string{keyMeta, keyUsers}, epoch, step, generation).Err(); err != nil {
		return fmt.Errorf("%s memberships: %w", step, sentinel(err))
	}
	return nil
}

func formatMembers(generation string, epoch int64, audiences []campaign.AudienceID) string {
	var b strings.Builder
	b.WriteString(generation + " " + strconv.FormatInt(epoch, 10) + " ")
	for i, id := range audiences {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(int64(id), 10))
	}
	return b.String()
}

// parseMembers reads what formatMembers wrote, if it belongs to the generation; nobody is a member by an older one.
func parseMembers(value, generation string) ([]campaign.AudienceID, error) {
	got, rest, ok := strings.Cut(value, " ")
	_, list, ok2 := strings.Cut(rest, " ")
	if !ok || !ok2 {
		return nil, fmt.Errorf("memberships %q: %w", value, ErrDamaged)
	}
	if got != generation || list == "" {
		return nil, nil
	}
	audiences := make([]campaign.AudienceID, 0, strings.Count(list, ",")+1)
	for text := range strings.SplitSeq(list, ",") {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("memberships %q: %w", value, ErrDamaged)
		}
		audiences = append(audiences, campaign.AudienceID(id))
	}
	return audiences, nil
}
