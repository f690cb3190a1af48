package journal

import (
	"fmt"
	"syscall"
	"time"

	"gavel/event"
)

// measureEvery is how often the disk is asked for its free space, and for room for the next segment if there was none.
const measureEvery = 100 * time.Millisecond

// Full implements event.Journal: it is one atomic load. Room that comes back is noticed within measureEvery.
func (j *Journal) Full() error {
	if err := j.full.Load(); err != nil {
		return *err
	}
	return nil
}

// measure finds out whether the journal is full.
func (j *Journal) measure() {
	if err := j.room(); err != nil {
		err = fmt.Errorf("%w: %w", event.ErrFull, err)
		j.full.Store(&err)
		return
	}
	j.full.Store(nil)
}

// room returns nil while more may be admitted.
func (j *Journal) room() error {
	if held := j.disk.held(); j.maxBytes > 0 && held >= j.maxBytes {
		return fmt.Errorf("journal holds %d of %d bytes", held, j.maxBytes)
	}
	var s syscall.Statfs_t
	if err := syscall.Statfs(j.disk.dir, &s); err != nil {
		return fmt.Errorf("ask the disk for its free space: %w", err)
	}
	// Before the spare segment is made: a try that fails takes from others, for a moment, all that is left.
	free := int64(s.Bavail) * int64(s.Bsize) //nolint:unconvert // the type differs between systems
	if free < j.reserve {
		return fmt.Errorf("disk has only %d bytes free, and %d must stay", free, j.reserve)
	}
	if err := j.disk.needSpare(); err != nil {
		return fmt.Errorf("disk has no room for the next segment: %w", err)
	}
	return nil
}

// watch measures until Close.
func (j *Journal) watch() {
	t := time.NewTicker(measureEvery)
	defer t.Stop()
	for {
		select {
		case <-j.stop:
			return
		case <-t.C:
			j.measure()
		}
	}
}
