package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"gavel/targeting"
	"gavel/targeting/indexer"
	index "gavel/targeting/redis"
)

// nodeTries is how often a node is compared again, because the index went on while it was asked.
const nodeTries = 5

type indexVerifyCmd struct {
	databaseFlag
	redisFlag
	nodeFlag
	JSON bool `name:"json" help:"Print the report as JSON."`
}

// indexReport is what `gavel index verify --json` prints.
type indexReport struct {
	OK bool `json:"ok"`
	indexer.Report
	// Node is what a node serves; NodeDiffers says that it is not what Redis holds of the same change.
	Node        *nodeIndex `json:"node,omitempty"`
	NodeDiffers bool       `json:"node_differs"`
}

// Run verifies.
func (c indexVerifyCmd) Run(ctx context.Context, w world) (err error) {
	db, client, err := openBoth(ctx, w, c.databaseFlag, c.redisFlag)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close(), db.Close()) }()
	var r indexReport
	r.Report, err = indexer.Verify(ctx, indexer.VerifyConfig{
		Source: db, Bounds: modelBounds(),
		Boot: func(ctx context.Context) (targeting.Snapshot, error) { return index.Load(ctx, client, modelBounds()) },
	})
	if err != nil {
		return err
	}
	if err := c.verifyNode(ctx, client, &r); err != nil {
		return err
	}
	r.OK = r.Report.OK() && !r.NodeDiffers
	if c.JSON {
		err = printJSON(w, r)
	} else {
		printIndexReport(w, r)
	}
	if !r.OK {
		return errors.Join(err, errUnclean)
	}
	return err
}

// verifyNode holds the digest of a node's ads against that of what Redis holds of the same change.
func (c indexVerifyCmd) verifyNode(ctx context.Context, client goredis.UniversalClient, r *indexReport) (err error) {
	for try := 1; ; try++ {
		if r.Node, err = c.get(ctx, true); err != nil || r.Node == nil {
			return err
		}
		s, err := index.LoadAt(ctx, client, modelBounds(), r.Node.Seq)
		switch {
		case err == nil && s.Generation == r.Node.Generation:
			r.NodeDiffers = formatDigest(indexer.Digest(s.Index)) != r.Node.Digest
			return nil
		case err != nil && !errors.Is(err, targeting.ErrGeneration):
			return err
		case try == nodeTries: // it has had the time to load what is published
			r.NodeDiffers = true
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func printIndexReport(w world, r indexReport) {
	fmt.Fprintf(w.stdout, "Postgres has %d ads, of which %d cannot be served; Redis has %d\n", r.Source, r.Refused, r.Store)
	for _, id := range r.StoreDiffers {
		fmt.Fprintf(w.stdout, "DIFFERS ad %d\n", id)
	}
	for _, name := range r.TablesDiffer {
		fmt.Fprintf(w.stdout, "DIFFERS %s\n", name)
	}
	if r.Node != nil {
		fmt.Fprintf(w.stdout, "the node has %d ads at change %d, digest %s\n", r.Node.Ads, r.Node.Seq, r.Node.Digest)
	}
	if r.NodeDiffers {
		fmt.Fprintln(w.stdout, "DIFFERS the node from what Redis has of that change")
	}
	if r.OK {
		fmt.Fprintln(w.stdout, "equal")
	}
}

type indexRebuildCmd struct {
	redisFlag
	Timeout time.Duration `default:"5m" help:"How long to wait for the new index."`
	JSON    bool          `name:"json" help:"Print the new index as JSON."`
}

const (
	// leaderWait is how long a leader may take to answer: it looks twice a second, and rebuilds what is there at most every 10 s.
	leaderWait = 20 * time.Second
	// rebuildTick is how often a rebuild is looked at.
	rebuildTick = 200 * time.Millisecond
	// rebuildReason is what the index is rebuilt for.
	rebuildReason = "asked by gavel index rebuild"
)

var errNoLeader = errors.New("no leader answered: is a node running, and with the same REDIS_URL? The wish stays for an hour")

// Run asks for a rebuild and waits until another generation is published.
func (c indexRebuildCmd) Run(ctx context.Context, w world) (err error) {
	client, err := c.open(w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	before, err := index.Describe(ctx, client)
	if err != nil {
		return err
	}
	if err := index.NewStore(client).RequestRebuild(ctx, rebuildReason); err != nil {
		return err
	}
	start := time.Now()
	now, err := c.await(ctx, w, client, before.Generation, start)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(w, now)
	}
	fmt.Fprintf(w.stdout, "rebuilt: generation %s, %d ads, %d refused, after %.1f s\n", now.Generation, now.Ads, now.Refused, time.Since(start).Seconds())
	return nil
}

// await returns once another generation is published. How far the leader is goes to standard error.
func (c indexRebuildCmd) await(ctx context.Context, w world, client goredis.UniversalClient, before string, start time.Time) (index.Description, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	tick := time.NewTicker(rebuildTick)
	defer tick.Stop()
	taken, said := false, ""
	for {
		now, err := index.Describe(ctx, client)
		if err == nil {
			taken = taken || now.Rebuild == "" || now.Progress != ""
			switch {
			case now.Generation != "" && now.Generation != before:
				return now, nil
			case !taken && time.Since(start) > leaderWait:
				return now, errNoLeader
			case now.Progress != said:
				said = now.Progress
				fmt.Fprintf(w.stderr, "%5.1f s  %s\n", time.Since(start).Seconds(), said)
			}
		}
		select {
		case <-ctx.Done():
			if err == nil && !taken {
				return now, errNoLeader
			}
			return now, errors.Join(fmt.Errorf("no new index after %v: %w", time.Since(start).Round(time.Second), ctx.Err()), err)
		case <-tick.C:
		}
	}
}
