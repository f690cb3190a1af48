package indexer

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"

	"gavel/campaign"
)

// errNoMembers makes changed users wait for the next check. They cannot be skipped: a fill whose last answer was lost is
// complete, and older than they are.
var errNoMembers = errors.New("memberships are not being written")

// fillBatch is the most users that are read and written while others wait.
const fillBatch = 2000

// members writes memberships: all of them once when the store has none, in a goroutine of its own, and those of changed users
// as they change. Only fill runs in the goroutine; refresh and settled may be called by any, all else by the term's.
type members struct {
	store  MemberStore
	source MemberSource
	log    *slog.Logger
	epoch  int64

	cancel context.CancelFunc // of the running fill, nil if there is none
	filled chan struct{}      // closed when it ends

	mu sync.Mutex
	// generation is the one that is complete or being filled; "" if it is not known, or a fill has failed.
	generation string
	// filling says that a fill is running; changed are the users that were set since it began: its snapshot is older.
	filling bool
	changed map[int64]bool
}

// check adopts the memberships that are complete, or begins to write all of them.
func (m *members) check(ctx context.Context, complete string, newGeneration func() string) error {
	m.mu.Lock()
	filling, generation := m.filling, m.generation
	if !filling && complete != "" && (generation == "" || generation == complete) {
		m.generation = complete
		m.mu.Unlock()
		return nil
	}
	m.mu.Unlock()
	if filling {
		return nil
	}
	return m.begin(ctx, newGeneration())
}

// begin starts to write all memberships as a new generation.
func (m *members) begin(ctx context.Context, generation string) error {
	m.stop()
	if err := m.store.BeginUsers(ctx, m.epoch, generation); err != nil {
		return err
	}
	m.mu.Lock()
	m.generation, m.filling, m.changed = generation, true, map[int64]bool{}
	m.mu.Unlock()
	filled := make(chan struct{})
	m.filled = filled
	ctx, m.cancel = context.WithCancel(ctx)
	go func() {
		defer close(filled)
		err := m.fill(ctx, generation)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.filling, m.changed = false, nil
		if err != nil {
			m.generation = "" // check begins again
			if ctx.Err() == nil {
				m.log.Warn("memberships are not written", "error", err)
			}
		}
	}()
	return nil
}

// stop ends a fill and waits for it.
func (m *members) stop() {
	if m.cancel != nil {
		m.cancel()
		<-m.filled
		m.cancel = nil
	}
}

// fill writes everybody's memberships and marks them complete.
func (m *members) fill(ctx context.Context, generation string) error {
	users := 0
	var buffer []campaign.Membership
	var lists []campaign.ListID // of all in the buffer, one after the other
	flush := func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		buffer = slices.DeleteFunc(buffer, func(b campaign.Membership) bool { return m.changed[b.User] })
		err := m.store.SetMembers(ctx, m.epoch, generation, buffer)
		users += len(buffer)
		buffer, lists = buffer[:0], lists[:0]
		return err
	}
	err := m.source.AllMembers(ctx, func(user int64, of []campaign.ListID) error {
		from := len(lists)
		lists = append(lists, of...)
		buffer = append(buffer, campaign.Membership{User: user, Lists: lists[from:]})
		if len(buffer) < fillBatch {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	if err := flush(); err != nil {
		return err
	}
	if err := m.store.CompleteUsers(ctx, m.epoch, generation); err != nil {
		return err
	}
	m.log.Info("memberships are complete", "generation", generation, "users", users)
	return nil
}

// refresh writes what users, who are sorted, are members of now. The lock is held from reading to writing, so that nobody who reads
// earlier writes later, and a fill neither overtakes them nor writes over them.
func (m *members) refresh(ctx context.Context, users []int64) error {
	for part := range slices.Chunk(users, fillBatch) {
		if err := m.refreshPart(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

func (m *members) refreshPart(ctx context.Context, users []int64) error {
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.generation == "" {
		return errNoMembers
	}
	now, err := m.source.MembersOf(ctx, users)
	if err != nil {
		return err
	}
	if err := m.store.SetMembers(ctx, m.epoch, m.generation, now); err != nil {
		return err
	}
	if m.filling {
		for _, user := range users {
			m.changed[user] = true
		}
	}
	return nil
}

// settled reports whether all memberships are written: while a fill runs, those who have much to change had better wait.
func (m *members) settled() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.generation != "" && !m.filling
}
