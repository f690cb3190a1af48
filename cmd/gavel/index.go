package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	campaigns "gavel/campaign/postgres"
	"gavel/targeting"
	"gavel/targeting/indexer"
	index "gavel/targeting/redis"
)

type indexCmd struct {
	Status  indexStatusCmd  `cmd:"" help:"Show what of the index is in Redis, and how far the outbox is behind."`
	Verify  indexVerifyCmd  `cmd:"" help:"Compare Postgres with Redis, and with a node; exit status 1 on a difference."`
	Rebuild indexRebuildCmd `cmd:"" help:"Have the leader rebuild the index from Postgres, and wait for it."`
}

// redisFlag is the Redis that the tools work on.
type redisFlag struct {
	RedisURL string `name:"redis-url" env:"REDIS_URL" required:"" help:"Redis, as a URL."`
}

func (f redisFlag) open(w world) (goredis.UniversalClient, error) {
	goredis.SetLogger(redisLog{slog.New(slog.DiscardHandler)})
	client, err := index.Open(f.RedisURL)
	if err != nil {
		return nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	return client, nil
}

// nodeFlag is a node whose replica is looked at too.
type nodeFlag struct {
	Admin string `placeholder:"URL" help:"Admin listener of a node, for example http://127.0.0.1:9090: look at its replica too."`
}

const (
	// indexNodeTimeout bounds the answer of a node, which makes a digest of all its ads.
	indexNodeTimeout = time.Minute
	// maxNodeAnswer is the most bytes of it that are read.
	maxNodeAnswer = 1 << 20
)

// nodeIndex is the targeting index of a node as /index on its admin listener shows it.
type nodeIndex struct {
	// Generation and Seq say up to which change of which generation Ads are current; Digest is that of these ads, if it was asked for.
	Generation string `json:"generation"`
	Seq        int64  `json:"seq"`
	Ads        int    `json:"ads"`
	Digest     string `json:"digest,omitempty"`
	Bytes      int64  `json:"bytes"`
	// LagMS is how long ago the replica was last known to be equal to Redis, -1 if never.
	LagMS    int64     `json:"lag_ms"`
	LoadedAt time.Time `json:"loaded_at,omitzero"`
	LoadMS   int64     `json:"load_ms"`
	Loads    int       `json:"loads"`
	Error    string    `json:"error,omitempty"`

	Leading     bool   `json:"leading"`
	Epoch       int64  `json:"epoch,omitempty"`
	Applied     int64  `json:"applied"`
	OldestMS    int64  `json:"oldest_ms"`
	Rebuilds    int64  `json:"rebuilds"`
	Checkpoints int64  `json:"checkpoints"`
	LeaderError string `json:"leader_error,omitempty"`
}

// showIndex is the page /index.
func (n *node) showIndex(_ context.Context, query url.Values) any {
	s, x := n.follower.Status(), n.indexer.Status()
	v := nodeIndex{
		Generation: s.Generation, Seq: s.Seq, Ads: s.Ads, LagMS: s.LagMS, LoadedAt: s.LoadedAt.UTC(), LoadMS: s.LoadMS, Loads: s.Loads,
		Leading: x.Leading, Epoch: x.Epoch, Applied: x.Applied, OldestMS: x.OldestMS, Rebuilds: x.Rebuilds, Checkpoints: x.Checkpoints,
	}
	if s.Err != nil {
		v.Error = s.Err.Error()
	}
	if x.Err != nil {
		v.LeaderError = x.Err.Error()
	}
	if snapshot, ok := n.follower.Snapshot(); ok {
		v.Generation, v.Seq, v.Ads, v.Bytes = snapshot.Generation, snapshot.Seq, snapshot.Index.Len(), snapshot.Index.Bytes()
		if query.Get("digest") == "1" {
			v.Digest = formatDigest(indexer.Digest(snapshot.Index))
		}
	}
	return v
}

func formatDigest(digest uint64) string { return fmt.Sprintf("%016x", digest) }

// get asks the node, nil if none was given.
func (f nodeFlag) get(ctx context.Context, digest bool) (*nodeIndex, error) {
	if f.Admin == "" {
		return nil, nil
	}
	address := strings.TrimRight(f.Admin, "/") + "/index"
	if digest {
		address += "?digest=1"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("--admin: %w", err)
	}
	client := &http.Client{Timeout: indexNodeTimeout}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the node: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the node answers %s: is %s its admin listener?", resp.Status, f.Admin)
	}
	var v nodeIndex
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxNodeAnswer)).Decode(&v); err != nil {
		return nil, fmt.Errorf("read the node's answer: %w", err)
	}
	return &v, nil
}

type indexStatusCmd struct {
	databaseFlag
	redisFlag
	nodeFlag
	JSON bool `name:"json" help:"Print it as JSON."`
}

// indexStatus is what `gavel index status --json` prints.
type indexStatus struct {
	Index index.Description `json:"index"`
	// Waiting are the rows of the outbox that are not in the index yet, OldestMS how long the oldest has waited.
	Waiting  int64      `json:"outbox_waiting"`
	OldestMS int64      `json:"outbox_oldest_ms"`
	Node     *nodeIndex `json:"node,omitempty"`
}

// Run shows the index.
func (c indexStatusCmd) Run(ctx context.Context, w world) (err error) {
	db, client, err := openBoth(ctx, w, c.databaseFlag, c.redisFlag)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close(), db.Close()) }()
	var s indexStatus
	if s.Index, err = index.Describe(ctx, client); err != nil {
		return err
	}
	waiting, oldest, err := db.Waiting(ctx)
	if err != nil {
		return err
	}
	s.Waiting, s.OldestMS = waiting, oldest.Milliseconds()
	if s.Node, err = c.get(ctx, true); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(w, s)
	}
	printIndexStatus(w, s)
	return nil
}

func printIndexStatus(w world, s indexStatus) {
	d := s.Index
	p := func(format string, args ...any) { fmt.Fprintf(w.stdout, format+"\n", args...) }
	if d.Generation == "" {
		p("no index: none was built yet, or Redis was emptied")
	} else {
		p("generation %s, built %s, schema %s, epoch %d", d.Generation, d.BuiltAt.Format(time.RFC3339), d.Schema, d.Epoch)
		p("  change %d; segments hold change %d", d.Seq, d.BaseSeq)
		p("  %d ads in %d segments, %s in %d blobs; tables %s", d.Ads, len(d.Segments), megabytes(d.SegmentBytes), d.Blobs, megabytes(int64(d.Tables.Bytes)))
		p("  log %d entries; %s after the segments", d.LogEntries, megabytes(d.LogBytes))
		p("  ordered for a click probability of at most %g, and %g of a conversion after it", d.MaxCTR, d.MaxCVR)
		for _, b := range d.Segments {
			p("  segment %-44s %8d ads %10s  %s", b.Name, b.Ads, megabytes(int64(b.Bytes)), b.Checksum)
		}
	}
	p("outbox %d waiting, the oldest for %d ms", s.Waiting, s.OldestMS)
	p("users %s", orNone(d.Users, "incomplete: nobody's audiences are known"))
	p("refused %d ads", d.Refused)
	for id, why := range d.RefusedAds {
		p("  ad %s: %s", id, why)
	}
	for name, text := range map[string]string{"DAMAGED": d.Damage, "rebuild wished:": d.Rebuild, "at work:": d.Progress} {
		if text != "" {
			p("%s %s", name, text)
		}
	}
	if n := s.Node; n != nil {
		p("node at change %d of %s: %d ads, %s, %d ms behind, loaded in %d ms, digest %s", n.Seq, n.Generation, n.Ads, megabytes(n.Bytes), n.LagMS, n.LoadMS, n.Digest)
		if n.Leading {
			p("  leads with epoch %d: %d changes applied, %d rebuilds, %d checkpoints", n.Epoch, n.Applied, n.Rebuilds, n.Checkpoints)
		}
		if text := n.Error + n.LeaderError; text != "" {
			p("  error: %s", text)
		}
	}
}

func megabytes(n int64) string { return strconv.FormatFloat(float64(n)/1e6, 'f', 2, 64) + " MB" }

func orNone(text, none string) string {
	if text == "" {
		return none
	}
	return text
}

// openBoth opens Postgres and Redis for a tool.
func openBoth(ctx context.Context, w world, d databaseFlag, r redisFlag) (*servingDB, goredis.UniversalClient, error) {
	db, err := d.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	client, err := r.open(w)
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return &servingDB{campaigns.NewServing(db), db}, client, nil
}

// serving is embedded under a name that is not that of its method Serving.
type serving = campaigns.Serving

// servingDB is a Serving that closes its database.
type servingDB struct {
	*serving
	db io.Closer
}

// Close closes both.
func (s *servingDB) Close() error { return errors.Join(s.serving.Close(), s.db.Close()) }

func printJSON(w world, v any) error {
	e := json.NewEncoder(w.stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// modelBounds order the index: the candidates of an auction are its first ads that match. With ranking.MaxCTR and MaxCVR no ad beyond
// them could be worth more than the bound of the last; but these are many times what is common, so hundreds of ads that pay per click
// would stand before any that pays per impression. These are high, and common.
func modelBounds() targeting.Bounds { return targeting.Bounds{MaxCTR: 0.02, MaxCVR: 0.05} }
