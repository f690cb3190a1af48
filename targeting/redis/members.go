package redis

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/zeebo/xxh3"

	"gavel/campaign"
)

// membershipGrace is how long, in seconds, a bucket without users remembers by whom it was emptied: long enough that an indexer
// that was succeeded cannot bring older memberships back.
const membershipGrace = 24 * 3600

// maxBucketUsers is the most users of a bucket that one call of a script writes.
const maxBucketUsers = 1000

// SetMembers replaces the lists of users, who are in order: neighbours share a bucket and are written together. generation is
// the one of all memberships that they belong to.
func (s *Store) SetMembers(ctx context.Context, epoch int64, generation string, members []campaign.Membership) error {
	if len(members) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	mark := markOf(generation)
	records := make([]byte, 0, 8*len(members)) // of all, one after the other
	var calls []call
	for from := 0; from < len(members); {
		to := from + 1
		for to < len(members) && bucketOf(members[to].User) == bucketOf(members[from].User) && to-from < maxBucketUsers {
			to++
		}
		args := make([]any, 0, 3+2*(to-from))
		args = append(args, epoch, mark, membershipGrace)
		for _, m := range members[from:to] {
			start := len(records)
			records = appendLists(records, m.Lists)
			args = append(args, userField(m.User), records[start:])
		}
		calls = append(calls, call{keyBucket(members[from].User), args})
		from = to
	}
	if err := runAll(ctx, s.client, membersScript, calls); err != nil {
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

// markSize is the length of a mark: 4 bytes of the source, 6 of the generation.
const markSize = 10

// markOf is how a bucket names the generation of its memberships. A generation's source is what comes before its first "-".
func markOf(generation string) string {
	source, _, _ := strings.Cut(generation, "-")
	var b [8 + 8]byte
	binary.BigEndian.PutUint64(b[:], xxh3.HashString(source)<<32)
	binary.BigEndian.PutUint64(b[4:], xxh3.HashString(generation))
	return string(b[:markSize])
}

// bucketOf is the first 20 bits of a user's hash. Of a hundred million users about a hundred share a bucket, which Redis still keeps
// in its compact form (hash-max-listpack-entries 128, -value 64).
func bucketOf(userHash int64) uint64 { return uint64(userHash) >> (64 - bucketBits) }

// userField is the rest of a user's hash, 44 bits in 6 bytes.
func userField(userHash int64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(userHash)&(1<<(64-bucketBits)-1))
	return string(b[2:])
}

// userTag is the hash tag that all keys of a user share: bucketBits of the hash, in hexadecimal digits.
func userTag(userHash int64) string {
	hex := strconv.FormatUint(1<<bucketBits|bucketOf(userHash), 16)
	return "{u:" + hex[1:] + "}"
}
