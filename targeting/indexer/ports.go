package indexer

import (
	"context"
	"time"

	"gavel/campaign"
	"gavel/targeting"
)

// Source is the truth: campaign/postgres.Serving.
type Source interface {
	// NextChanges returns up to limit rows of the outbox. Rows that commit later may have lower ids.
	NextChanges(ctx context.Context, limit int) ([]campaign.Change, error)
	// Resolve says what changes mean now; what it returns is at least as new as the changes.
	Resolve(ctx context.Context, changes []campaign.Change) (campaign.Delta, error)
	// Done deletes rows of the outbox.
	Done(ctx context.Context, changes []int64) error
	// Serving returns up to limit ads that may be served, those after an id, in order of their ids; fewer
	// before the end too, but none at the end only.
	Serving(ctx context.Context, after campaign.AdID, limit int) ([]campaign.ServingAd, error)
	// AudienceLists returns the current list of every audience that has one.
	AudienceLists(ctx context.Context) (map[campaign.AudienceID]campaign.ListID, error)
	// Interests returns the taxonomy of interests, in order of the ids.
	Interests(ctx context.Context) ([]campaign.Interest, error)
	MemberSource
	BulkSource
}

// MemberSource says who is in which list. Lists that are being cleaned away are not among them.
type MemberSource interface {
	// MembersOf returns the memberships of each of users, which are sorted, in their order.
	MembersOf(ctx context.Context, users []int64) ([]campaign.Membership, error)
	// AllMembers calls each for every user who is in a list, in the order of users and in one snapshot. lists is valid during the
	// call only.
	AllMembers(ctx context.Context, each func(user int64, lists []campaign.ListID) error) error
}

// Store holds the index: targeting/redis.Store. Methods that take an epoch return targeting.ErrStale if a later one has claimed
// the index, and targeting.ErrGeneration if what they change is not there any more.
type Store interface {
	// Claim makes epoch the writer. What an indexer of another source has left is not adopted. It may be repeated.
	Claim(ctx context.Context, epoch int64, source string) error
	State(ctx context.Context) (targeting.StoreState, error)

	// Publish writes an index as a generation of the publication's name, and makes it the one that nodes load.
	Publish(ctx context.Context, epoch int64, p targeting.Publication, builtAt time.Time) error
	// Checkpoint replaces the segments of the published generation by those of a later snapshot, and shortens the log.
	Checkpoint(ctx context.Context, epoch int64, p targeting.Publication, generation string, seq int64) error
	// Append appends a change to the log of the published generation, in one or more pieces, and returns the number of the last.
	// After an error some may have been appended.
	Append(ctx context.Context, epoch int64, generation string, c targeting.Change) (seq int64, err error)
	// Sweep deletes what no reader needs any more of publications, finished or not. It must not run beside a publication of this indexer.
	Sweep(ctx context.Context, epoch int64) error
	// Discard deletes the logs of other generations.
	Discard(ctx context.Context, epoch int64) error

	// Refuse notes which ads cannot be served and why, "" for one that can again; anew forgets all that was noted before.
	Refuse(ctx context.Context, epoch int64, anew bool, ads map[campaign.AdID]string) error
	// Refused returns what was noted.
	Refused(ctx context.Context) (map[campaign.AdID]string, error)
	// TakeRebuildRequest clears the wish of a node for a rebuild.
	TakeRebuildRequest(ctx context.Context) error
	// Progress says to whoever waits for a rebuild how far it is.
	Progress(ctx context.Context, text string) error

	MemberStore
}

// MemberStore holds memberships.
type MemberStore interface {
	// BeginUsers starts a generation of memberships: until CompleteUsers, nobody's audiences are known.
	BeginUsers(ctx context.Context, epoch int64, generation string) error
	// SetMembers replaces the lists of users, who are in order.
	SetMembers(ctx context.Context, epoch int64, generation string, members []campaign.Membership) error
	// CompleteUsers returns targeting.ErrGeneration if the store was emptied since BeginUsers.
	CompleteUsers(ctx context.Context, epoch int64, generation string) error
}

// Boot makes an index of what the store holds, as a node does that starts: targeting/redis.Load.
type Boot func(ctx context.Context) (targeting.Snapshot, error)

// Lead is the right to write the index.
type Lead struct {
	// Epoch is larger than that of every lead before.
	Epoch int64
	// Lost is closed when the lead is over.
	Lost <-chan struct{}
	// Close gives the lead up.
	Close func()
}

// LeadFunc takes the lead if nobody has it: campaign/postgres.Serving.LeadIndexer. ok is false, without an error, when
// somebody has.
type LeadFunc func(ctx context.Context) (lead Lead, ok bool, err error)
