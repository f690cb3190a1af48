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
	// Serving returns up to limit ads that may be served, those after an id, in order of their ids; none at the end.
	Serving(ctx context.Context, after campaign.AdID, limit int) ([]campaign.ServingAd, error)
	// AllMembers calls each for every user who is in an audience, in one snapshot. audiences is valid during the call only.
	AllMembers(ctx context.Context, each func(user int64, audiences []campaign.AudienceID) error) error
}

// Store holds the index: targeting/redis.Store. Methods that take an epoch return targeting.ErrStale if a later one has claimed
// the index, and targeting.ErrGeneration if what they change is not there any more.
type Store interface {
	// Claim makes epoch the writer. What an indexer of another source has left is not adopted. It may be repeated.
	Claim(ctx context.Context, epoch int64, source string) error
	State(ctx context.Context) (targeting.StoreState, error)

	// Stage writes up to batchSize ads into a generation that is not published, and returns how many were new to it.
	Stage(ctx context.Context, epoch int64, generation string, ads []campaign.ServingAd) (added int, err error)
	// Publish makes a staged generation the one that nodes load.
	Publish(ctx context.Context, epoch int64, generation string, ads int, builtAt time.Time) error
	// Discard deletes all other generations.
	Discard(ctx context.Context, epoch int64) error
	// Apply changes up to batchSize ads of the published generation and returns the number of the change.
	Apply(ctx context.Context, epoch int64, generation string, upserts []campaign.ServingAd, removals []campaign.AdID) (seq int64, err error)
	// TakeRebuildRequest clears the wish of a node for a rebuild.
	TakeRebuildRequest(ctx context.Context) error

	MemberStore
	Reader
}

// MemberStore holds memberships.
type MemberStore interface {
	// BeginUsers starts a generation of memberships: until CompleteUsers, nobody's audiences are known.
	BeginUsers(ctx context.Context, epoch int64, generation string) error
	// SetMembers replaces the audiences of users.
	SetMembers(ctx context.Context, epoch int64, generation string, users map[int64][]campaign.AudienceID) error
	// CompleteUsers returns targeting.ErrGeneration if the store was emptied since BeginUsers.
	CompleteUsers(ctx context.Context, epoch int64, generation string) error
}

// Reader is what Verify needs of the store. Both return targeting.ErrGeneration if no generation is published.
type Reader interface {
	// IDs lists the ads of the published generation, sorted.
	IDs(ctx context.Context) ([]campaign.AdID, error)
	// Different returns those of ads that the published generation does not hold exactly so.
	Different(ctx context.Context, ads []campaign.ServingAd) ([]campaign.AdID, error)
}

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
