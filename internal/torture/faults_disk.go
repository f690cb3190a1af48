package torture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// The disk of Postgres has room for its data, a gigabyte of WAL and the row; the disk of a journal for a few segments.
	postgresDiskMB = 2048
	journalDiskMB  = 64
	diskFullFor    = 20 * time.Second
	// journalFullWithin is how long a node may still accept with a full disk: it has made room in advance.
	journalFullWithin = time.Minute
	startedFullFor    = 5 * time.Second
	journalFullFor    = 15 * time.Second
	maxUnbilledRow    = 200
)

// diskFaults are what happens to disks.
func diskFaults() []Fault {
	return []Fault{
		{
			Name: "postgres-disk-full", Run: fillPostgresDisk,
			About: fmt.Sprintf("the disk of Postgres, WAL and tables, is full for %v", diskFullFor),
			Setup: func(p *Plan) {
				p.OwnPostgres = true
				p.PostgresDir, p.Err = smallDisk(p, postgresDiskMB)
				p.Limit = max(p.Limit, diskFullFor+time.Minute)
			},
		},
		{
			Name: "journal-disk-full", Run: fillJournalDisk,
			About: fmt.Sprintf("the disk of one node's journal is full for %v", diskFullFor),
			Setup: func(p *Plan) {
				p.JournalDirs[0], p.Err = smallDisk(p, journalDiskMB)
				p.Limit = max(p.Limit, journalFullWithin+diskFullFor+time.Minute)
			},
		},
		{
			Name: "journal-full", Run: fillJournal,
			About: fmt.Sprintf("Postgres is stopped for %v and a journal may hold %d events", journalFullFor, maxUnbilledRow),
			Setup: func(p *Plan) { p.Env["GAVEL_MAX_UNBILLED"] = fmt.Sprint(maxUnbilledRow) },
		},
	}
}

// smallDisk mounts an empty file system of its own, in memory, for the time of the row. It needs root.
func smallDisk(p *Plan, megabytes int) (dir string, err error) {
	const within = 10 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if dir, err = os.MkdirTemp("", "gavel-disk-"); err != nil {
		return "", fmt.Errorf("make mount point: %w", err)
	}
	mount := exec.CommandContext(ctx, "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm,mode=0755", megabytes), "tmpfs", dir) //nolint:gosec // our own folder
	if said, err := mount.CombinedOutput(); err != nil {
		return "", errors.Join(&NotRunError{Reason: fmt.Sprintf("cannot mount a small disk: %v: %s", err, strings.TrimSpace(string(said)))}, os.Remove(dir))
	}
	p.Defer(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		if said, err := exec.CommandContext(ctx, "umount", dir).CombinedOutput(); err != nil { //nolint:gosec // as above
			return fmt.Errorf("unmount %s: %w: %s", dir, err, said)
		}
		return os.Remove(dir)
	})
	return dir, nil
}

// fill takes all the room that is left on the disk of dir. free gives it back.
func fill(dir string) (taken int64, free func() error, err error) {
	f, err := os.OpenFile(filepath.Join(dir, "filler"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, nil, fmt.Errorf("make filler: %w", err)
	}
	taken, err = io.Copy(f, zeros{})
	if !errors.Is(err, syscall.ENOSPC) {
		return taken, nil, errors.Join(fmt.Errorf("fill the disk: %w", orEnded(err)), f.Close(), os.Remove(f.Name()))
	}
	return taken, func() error { return errors.Join(f.Close(), os.Remove(f.Name())) }, nil
}

// zeros is a reader without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func fillPostgresDisk(ctx context.Context, w *World) error {
	taken, free, err := fill(w.Plan.PostgresDir)
	if err != nil {
		return err
	}
	began := time.Now()
	err = Until(ctx, diskFullFor, "Postgres meets the full disk", func(ctx context.Context) bool {
		met := w.DB.TryWrite(ctx)
		if met != nil {
			w.Log("filled with %d MB; after %v Postgres says: %v", taken>>20, time.Since(began).Round(time.Millisecond), met)
		}
		return met != nil
	})
	if err == nil {
		err = Wait(ctx, diskFullFor)
	}
	if err = errors.Join(err, free()); err != nil {
		return err
	}
	// A server that could not write its WAL has ended, and somebody has to start it again.
	const byItself = 3 * time.Second
	if Until(ctx, byItself, "Postgres answers", w.DB.Answers) != nil {
		w.Log("Postgres had ended; started again")
		return restartPostgres(ctx, w)
	}
	return nil
}

// fillJournalDisk leaves a node without room for what it accepts: it refuses events, or stops; it never acknowledges one that the
// disk does not have. Then it is killed and started with the disk still full.
func fillJournalDisk(ctx context.Context, w *World) error {
	n := w.Nodes[0]
	n.MayExit()
	taken, free, err := fill(n.JournalDir)
	if err != nil {
		return err
	}
	began, before := time.Now(), w.Load.Totals().Event5xx
	refused := func() int { return w.Load.Totals().Event5xx - before }
	err = Until(ctx, journalFullWithin, "the node meets the full disk", func(context.Context) bool { return refused() > 0 || !n.Alive() })
	w.Log("filled with %d KB; after %v the node is alive: %v", taken>>10, time.Since(began).Round(time.Millisecond), n.Alive())
	if err = errors.Join(err, Wait(ctx, diskFullFor), n.Kill()); err != nil {
		return errors.Join(err, free())
	}
	err = n.Launch()
	n.MayExit()
	if err = errors.Join(err, Wait(ctx, startedFullFor), free()); err != nil {
		return err
	}
	w.Log("%d events were refused; alive %v after a start with the disk full: %v", refused(), startedFullFor, n.Alive())
	if n.Alive() {
		return n.Ready(ctx)
	}
	return n.Start(ctx)
}

// fillJournal leaves the journals with more than they may hold: events are refused, and come again.
func fillJournal(ctx context.Context, w *World) error {
	before := w.Load.Totals().Event5xx
	if err := postgresStopped(journalFullFor).Run(ctx, w); err != nil {
		return err
	}
	refused := w.Load.Totals().Event5xx - before
	w.Log("%d events were refused", refused)
	if refused == 0 {
		return errors.New("no event was refused: the journals were not full")
	}
	return nil
}
