package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"gavel/campaign"
	index "gavel/targeting/redis"
)

type benchAudiencesCmd struct {
	Members  int  `default:"1000000" help:"Memberships in all."`
	Lists    int  `default:"2" help:"Lists; every user is in each."`
	PartSize int  `default:"8" placeholder:"MIB" help:"Size of a part of an upload."`
	JSON     bool `name:"json" help:"Print the figures as JSON."`
}

// audienceRow are the figures of a run.
type audienceRow struct {
	Members int `json:"members"`
	Users   int `json:"users"`
	Lists   int `json:"lists"`
	// SentSeconds is until the server had all parts, DoneSeconds until all members were in Redis.
	SentSeconds   float64 `json:"sent_s"`
	DoneSeconds   float64 `json:"done_s"`
	UploaderBytes int64   `json:"uploader_rss_bytes"`
	ServerBytes   int64   `json:"server_rss_bytes"`
	// RedisPerMember is the growth of Redis' used_memory for each membership.
	RedisPerMember float64 `json:"redis_bytes_per_member"`
	PerUser        float64 `json:"redis_bytes_per_user"`
	// RefillSeconds is from FLUSHALL until the memberships are complete again, from Postgres.
	RefillSeconds float64 `json:"refill_s"`
	// ReplaceSeconds is a REPLACE of one list by as many users.
	ReplaceSeconds float64 `json:"replace_s"`
	// LoadP50 and LoadP99 are of reading one user, lists and counters, in one round trip.
	LoadP50 int64 `json:"load_user_p50_ns"`
	LoadP99 int64 `json:"load_user_p99_ns"`
}

// benchServer is a `gavel dev` as a process of its own, so that its memory is its own.
type benchServer struct {
	access
	cmd    *exec.Cmd
	exited chan struct{}
	dir    string
}

// Run measures.
func (c benchAudiencesCmd) Run(ctx context.Context, w world) (err error) {
	if c.Lists < 1 || c.Members < c.Lists {
		return errors.New("--members must be at least --lists, and that at least 1")
	}
	s, err := startBenchServer(ctx, w.stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	client, err := index.Open(s.RedisURL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	row := audienceRow{Users: c.Members / c.Lists, Lists: c.Lists}
	row.Members = row.Users * c.Lists
	if err := c.measure(ctx, w, s, client, &row); err != nil {
		return err
	}
	if c.JSON {
		e := json.NewEncoder(w.stdout)
		e.SetIndent("", "  ")
		return e.Encode([]audienceRow{row})
	}
	return row.print(w.stdout)
}

func (c benchAudiencesCmd) measure(ctx context.Context, w world, s *benchServer, client goredis.UniversalClient, row *audienceRow) error {
	before, err := usedMemory(ctx, client)
	if err != nil {
		return err
	}
	lists := make([]string, c.Lists)
	for i := range lists {
		if lists[i], err = s.newList(ctx, i); err != nil {
			return err
		}
		took, err := c.upload(ctx, w, s, lists[i], row)
		if err != nil {
			return err
		}
		row.DoneSeconds += took.Seconds()
	}
	after, err := usedMemory(ctx, client)
	if err != nil {
		return err
	}
	row.RedisPerMember = float64(after-before) / float64(row.Members)
	row.PerUser = float64(after-before) / float64(row.Users)
	fmt.Fprintf(w.stderr, "%.1f bytes a membership in Redis; FLUSHALL\n", row.RedisPerMember)
	start := time.Now()
	// Not to wait for Redis to free the memory: that is no part of filling it.
	if err := client.FlushAllAsync(ctx).Err(); err != nil {
		return fmt.Errorf("flush redis: %w", err)
	}
	users := index.NewUsers(client, time.Now)
	if err := untilComplete(ctx, users, c.Lists, row.Users); err != nil {
		return err
	}
	row.RefillSeconds = time.Since(start).Seconds()
	fmt.Fprintf(w.stderr, "memberships complete again after %.1f s; now REPLACE\n", row.RefillSeconds)
	if row.LoadP50, row.LoadP99, err = timeLoads(ctx, users, row.Users); err != nil {
		return err
	}
	took, err := c.upload(ctx, w, s, lists[0], row, "--replace")
	if err != nil {
		return err
	}
	row.ReplaceSeconds = took.Seconds()
	row.ServerBytes = peakMemory(s.cmd.Process.Pid)
	return nil
}

// upload runs `gavel audience upload` as a process, with the hashes of the users as its standard input.
func (c benchAudiencesCmd) upload(ctx context.Context, w world, s *benchServer, list string, row *audienceRow, flags ...string) (time.Duration, error) {
	args := append([]string{"audience", "upload", "--url", s.AdsURL, "--account", s.AdAccountID, "--list", list, "--part-size", strconv.Itoa(c.PartSize)}, flags...)
	cmd := exec.CommandContext(ctx, os.Args[0], append(args, "-")...) //nolint:gosec // this program
	cmd.Env = append(os.Environ(), "GAVEL_KEY="+s.AdvertiserKey)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, w.stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, fmt.Errorf("upload: %w", err)
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("upload: %w", err)
	}
	written := writeHashes(in, row.Users)
	sent := time.Since(start)
	if len(flags) == 0 {
		row.SentSeconds += sent.Seconds()
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		row.UploaderBytes = max(row.UploaderBytes, peakMemory(cmd.Process.Pid))
		select {
		case err := <-done:
			if err != nil {
				return 0, fmt.Errorf("upload: %w", err)
			}
			if written != nil {
				return 0, fmt.Errorf("write ids: %w", written)
			}
			fmt.Fprint(w.stderr, out.String())
			return time.Since(start), nil
		case <-tick.C:
		}
	}
}

// benchUser is the id of a user.
func benchUser(i int) string { return "user-" + strconv.Itoa(i) }

// writeHashes writes the SHA-256 of users, one a line.
func writeHashes(to io.WriteCloser, users int) error {
	out := bufio.NewWriterSize(to, 1<<20)
	line := make([]byte, 2*sha256.Size+1)
	line[len(line)-1] = '\n'
	for i := range users {
		sum := sha256.Sum256([]byte(benchUser(i)))
		hex.Encode(line, sum[:])
		if _, err := out.Write(line); err != nil {
			return errors.Join(err, to.Close())
		}
	}
	return errors.Join(out.Flush(), to.Close())
}

// untilComplete waits until a user in the middle has all lists again.
func untilComplete(ctx context.Context, users *index.Users, lists, of int) error {
	for {
		state, err := users.LoadUser(ctx, campaign.UserHash(benchUser(of/2)))
		switch {
		case err == nil && len(state.Lists) == lists:
			return nil
		case err != nil && !errors.Is(err, index.ErrUsersIncomplete):
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// timeLoads reads users one after the other.
func timeLoads(ctx context.Context, users *index.Users, of int) (p50, p99 int64, err error) {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same users in every run
	took := make([]int64, 5000)
	for i := range took {
		user := campaign.UserHash(benchUser(r.IntN(of)))
		start := time.Now()
		if _, err := users.LoadUser(ctx, user); err != nil {
			return 0, 0, err
		}
		took[i] = time.Since(start).Nanoseconds()
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*99/100], nil
}

func usedMemory(ctx context.Context, client goredis.UniversalClient) (int64, error) {
	info, err := client.Info(ctx, "memory").Result()
	if err != nil {
		return 0, fmt.Errorf("ask redis for its memory: %w", err)
	}
	_, rest, _ := strings.Cut(info, "used_memory:")
	text, _, _ := strings.Cut(rest, "\r\n")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("redis does not tell its memory: %w", err)
	}
	return n, nil
}

// peakMemory is the most memory that a process has had, in bytes; 0 where Linux is not there to ask.
func peakMemory(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	line, _, _ := strings.Cut(rest, "\n")
	kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(line, "kB")), 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}

func (r audienceRow) print(w io.Writer) error {
	_, err := fmt.Fprintf(w, `%d memberships: %d users in %d lists
  sent in                 %.0f s, in Redis after %.0f s (%.0f a second)
  most memory, uploader   %.0f MiB
  most memory, server     %.0f MiB
  Redis                   %.1f bytes a membership, %.1f a user
  FLUSHALL to complete    %.0f s
  a list replaced in      %.0f s
  a user read in          %.0f µs (p50), %.0f µs (p99)
`, r.Members, r.Users, r.Lists, r.SentSeconds, r.DoneSeconds, float64(r.Members)/r.DoneSeconds, mib(r.UploaderBytes), mib(r.ServerBytes),
		r.RedisPerMember, r.PerUser, r.RefillSeconds, r.ReplaceSeconds, float64(r.LoadP50)/1e3, float64(r.LoadP99)/1e3)
	return err
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func startBenchServer(ctx context.Context, log io.Writer) (*benchServer, error) {
	dir, err := os.MkdirTemp("", "gavel-bench-")
	if err != nil {
		return nil, fmt.Errorf("make temporary directory: %w", err)
	}
	s := &benchServer{dir: dir, exited: make(chan struct{})}
	ready := filepath.Join(dir, "ready.json")
	s.cmd = exec.CommandContext(ctx, os.Args[0], "dev", "--ready-file", ready) //nolint:gosec // this program
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(os.Interrupt) }
	s.cmd.Stderr = log
	if err := s.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the server: %w", err), os.RemoveAll(dir))
	}
	go func() { _ = s.cmd.Wait(); close(s.exited) }() // it is interrupted in the end
	err = untilReady(ctx, func(context.Context) error {
		text, err := os.ReadFile(ready)
		if err != nil {
			return err
		}
		return json.Unmarshal(text, &s.access)
	})
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// stop ends the server as Ctrl-C would.
func (s *benchServer) stop() error {
	_ = s.cmd.Process.Signal(os.Interrupt) // it may be gone
	select {
	case <-s.exited:
	case <-time.After(30 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
	return os.RemoveAll(s.dir)
}

// newList creates a customer list.
func (s *benchServer) newList(ctx context.Context, i int) (string, error) {
	var list struct {
		ID string `json:"id"`
	}
	c := client{base: s.AdsURL, key: s.AdvertiserKey, http: http.Client{Timeout: callTimeout}}
	body := map[string]any{"name": fmt.Sprintf("list %d", i), "list_type": campaign.ListOfHashes}
	err := c.post(ctx, "/v5/ad_accounts/"+s.AdAccountID+"/customer_lists", body, &list)
	return list.ID, err
}
