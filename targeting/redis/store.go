package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"gavel/campaign"
	"gavel/targeting"
)

const (
	// DefaultLogLength is about how many changes the log keeps. A follower that is further behind loads everything anew.
	DefaultLogLength = 10_000
	// MaxBatch is the most ads that one call of Stage or Apply takes.
	MaxBatch = 500
	// callTimeout bounds one call to Redis.
	callTimeout = 5 * time.Second
)

// Store writes the index. Every method is fenced: it returns targeting.ErrStale once a later epoch has claimed the index. It is safe for
// concurrent use.
type Store struct {
	client    goredis.UniversalClient
	logLength int
}

// NewStore returns a store. The caller keeps the client and closes it.
func NewStore(client goredis.UniversalClient) *Store {
	return &Store{client: client, logLength: DefaultLogLength}
}

// WithLogLength returns a store whose log keeps about n changes.
func (s *Store) WithLogLength(n int) *Store { return &Store{client: s.client, logLength: n} }

// Claim makes epoch the writer of the index. source names the database that the caller reads: what another database's indexer
// has left is never adopted. Claiming again changes nothing.
func (s *Store) Claim(ctx context.Context, epoch int64, source string) error {
	if err := run(ctx, s.client, claimScript, []string{keyMeta, keyUsers}, epoch, source).Err(); err != nil {
		return fmt.Errorf("claim index: %w", sentinel(err))
	}
	return nil
}

// State reads where the index stands.
func (s *Store) State(ctx context.Context) (targeting.StoreState, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	runID, err := s.runID(ctx)
	if err != nil {
		return targeting.StoreState{}, err
	}
	pipe := s.client.Pipeline()
	meta := pipe.HMGet(ctx, keyMeta, "schema", "generation", "seq", "ads", "run_id")
	rebuild, users := pipe.Get(ctx, keyRebuild), pipe.Get(ctx, keyUsers)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, goredis.Nil) {
		return targeting.StoreState{}, fmt.Errorf("read index state: %w", err)
	}
	m := texts(meta.Val())
	st := targeting.StoreState{
		Schema: m[0], Readable: m[0] == schema, Generation: m[1], Seq: number(m[2]), Ads: number(m[3]),
		Rebuild: rebuild.Val(), Users: users.Val(),
	}
	st.Restarted = st.Generation != "" && m[4] != runID
	if st.Generation == "" {
		return st, nil
	}
	st.Held, err = s.held(ctx, st.Generation)
	return st, err
}

// held counts the records of a generation.
func (s *Store) held(ctx context.Context, generation string) (int64, error) {
	pipe := s.client.Pipeline()
	lengths := make([]*goredis.IntCmd, segments)
	for n := range segments {
		lengths[n] = pipe.HLen(ctx, keySegment(generation, n))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, fmt.Errorf("count index records: %w", err)
	}
	var held int64
	for _, l := range lengths {
		held += l.Val()
	}
	return held, nil
}

// runID changes when a server of Redis is restarted or another takes its place; "" if the server does not say.
func (s *Store) runID(ctx context.Context) (string, error) {
	cluster, ok := s.client.(*goredis.ClusterClient)
	if !ok {
		return runIDOf(ctx, s.client)
	}
	var mu sync.Mutex
	var ids []string
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, master *goredis.Client) error {
		id, err := runIDOf(ctx, master)
		mu.Lock()
		defer mu.Unlock()
		ids = append(ids, id)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("ask the masters: %w", err)
	}
	slices.Sort(ids)
	return strings.Join(ids, " "), nil
}

func runIDOf(ctx context.Context, client goredis.Cmdable) (string, error) {
	info, err := client.Info(ctx, "server").Result()
	if err != nil {
		if _, answered := errors.AsType[goredis.Error](err); answered {
			return "", nil
		}
		return "", fmt.Errorf("ask redis for its run id: %w", err)
	}
	_, rest, _ := strings.Cut(info, "run_id:")
	id, _, _ := strings.Cut(rest, "\r\n")
	return id, nil
}

// Stage writes ads, at most MaxBatch, into a generation that is not published, and returns how many were new to it.
func (s *Store) Stage(ctx context.Context, epoch int64, generation string, ads []campaign.ServingAd) (added int, err error) {
	b := newBatch(generation, keyMeta, keyGenerations)
	for _, ad := range ads {
		if err := b.put(ad); err != nil {
			return 0, err
		}
	}
	args := append([]any{epoch, generation}, b.args...)
	added, err = run(ctx, s.client, stageScript, b.keys, args...).Int()
	if err != nil {
		return 0, fmt.Errorf("stage ads: %w", sentinel(err))
	}
	return added, nil
}

// Publish makes a staged generation of so many ads the one that nodes load. builtAt is when its reading began.
func (s *Store) Publish(ctx context.Context, epoch int64, generation string, ads int, builtAt time.Time) error {
	runID, err := s.runID(ctx)
	if err != nil {
		return err
	}
	err = run(ctx, s.client, publishScript, []string{keyMeta}, epoch, generation, schema, ads, builtAt.UnixMilli(), runID).Err()
	if err != nil {
		return fmt.Errorf("publish generation: %w", sentinel(err))
	}
	return nil
}

// Apply changes ads of the published generation, at most MaxBatch in all, and appends to its log. It returns the number of the
// change, and targeting.ErrGeneration if the generation is not the published one.
func (s *Store) Apply(ctx context.Context, epoch int64, generation string, upserts []campaign.ServingAd, removals []campaign.AdID) (seq int64, err error) {
	b := newBatch(generation, keyMeta, keyLog(generation))
	for _, ad := range upserts {
		if err := b.put(ad); err != nil {
			return 0, err
		}
	}
	for _, id := range removals {
		b.add(id, "")
	}
	args := append([]any{epoch, generation, s.logLength, strings.Join(b.ids, ",")}, b.args...)
	answer, err := run(ctx, s.client, applyScript, b.keys, args...).Int64Slice()
	if err != nil {
		return 0, fmt.Errorf("apply changes: %w", sentinel(err))
	}
	return answer[0], nil
}

// Discard deletes every generation but the published one, also those that an indexer has left half written.
func (s *Store) Discard(ctx context.Context, epoch int64) error {
	all, err := s.client.SMembers(ctx, keyGenerations).Result()
	if err != nil {
		return fmt.Errorf("list generations: %w", err)
	}
	for _, generation := range all {
		keys := append([]string{keyMeta, keyGenerations}, keysOf(generation)...)
		err := sentinel(run(ctx, s.client, discardScript, keys, epoch, generation).Err())
		if err != nil && !errors.Is(err, targeting.ErrGeneration) {
			return fmt.Errorf("discard generation: %w", err)
		}
	}
	return nil
}

// TakeRebuildRequest clears the wish of a node to have the index rebuilt.
func (s *Store) TakeRebuildRequest(ctx context.Context) error {
	if err := s.client.Del(ctx, keyRebuild).Err(); err != nil {
		return fmt.Errorf("clear rebuild request: %w", err)
	}
	return nil
}

// RequestRebuild asks the indexer to rebuild the index, and says why.
func (s *Store) RequestRebuild(ctx context.Context, reason string) error {
	return requestRebuild(ctx, s.client, reason)
}

func requestRebuild(ctx context.Context, client goredis.UniversalClient, reason string) error {
	if err := client.SetNX(ctx, keyRebuild, reason, time.Hour).Err(); err != nil {
		return fmt.Errorf("request rebuild: %w", err)
	}
	return nil
}

// batch collects the arguments of a script that writes records.
type batch struct {
	generation string
	keys       []string
	at         map[int]int // segment → its index into keys, from 1
	args       []any
	ids        []string
}

func newBatch(generation string, keys ...string) *batch {
	return &batch{generation: generation, keys: keys, at: map[int]int{}}
}

func (b *batch) put(ad campaign.ServingAd) error {
	record, err := Encode(ad)
	if err != nil {
		return err
	}
	b.add(ad.AdID, record)
	return nil
}

func (b *batch) add(id campaign.AdID, record string) {
	n := segmentOf(id)
	if b.at[n] == 0 {
		b.keys = append(b.keys, keySegment(b.generation, n))
		b.at[n] = len(b.keys)
	}
	b.ids = append(b.ids, idText(id))
	b.args = append(b.args, b.at[n], idText(id), record)
}

// IDs lists the ads of the published generation, sorted.
func (s *Store) IDs(ctx context.Context) ([]campaign.AdID, error) {
	generation, err := s.client.HGet(ctx, keyMeta, "generation").Result()
	if err != nil {
		return nil, fmt.Errorf("find published generation: %w", orGeneration(err))
	}
	var ids []campaign.AdID
	for n := range segments {
		fields, err := s.client.HKeys(ctx, keySegment(generation, n)).Result()
		if err != nil {
			return nil, fmt.Errorf("list index records: %w", err)
		}
		for _, f := range fields {
			id, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("list index records: field %q: %w", f, ErrDamaged)
			}
			ids = append(ids, campaign.AdID(id))
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// Different returns those of ads whose record in the published generation is missing or not exactly theirs.
func (s *Store) Different(ctx context.Context, ads []campaign.ServingAd) ([]campaign.AdID, error) {
	generation, err := s.client.HGet(ctx, keyMeta, "generation").Result()
	if err != nil {
		return nil, fmt.Errorf("find published generation: %w", orGeneration(err))
	}
	ids := make([]campaign.AdID, len(ads))
	for i, ad := range ads {
		ids[i] = ad.AdID
	}
	records, err := readRecords(ctx, s.client, generation, ids)
	if err != nil {
		return nil, err
	}
	var different []campaign.AdID
	for _, ad := range ads {
		want, err := Encode(ad)
		if err != nil {
			return nil, err
		}
		if records[ad.AdID] != want {
			different = append(different, ad.AdID)
		}
	}
	return different, nil
}

func orGeneration(err error) error {
	if errors.Is(err, goredis.Nil) {
		return targeting.ErrGeneration
	}
	return err
}

// readRecords returns the records of ids that exist.
func readRecords(ctx context.Context, client goredis.UniversalClient, generation string, ids []campaign.AdID) (map[campaign.AdID]string, error) {
	fields := map[int][]string{}
	for _, id := range ids {
		fields[segmentOf(id)] = append(fields[segmentOf(id)], idText(id))
	}
	pipe := client.Pipeline()
	answers := map[int]*goredis.SliceCmd{}
	for n, f := range fields {
		answers[n] = pipe.HMGet(ctx, keySegment(generation, n), f...)
	}
	if len(answers) == 0 {
		return nil, nil
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	records := make(map[campaign.AdID]string, len(ids))
	for n, answer := range answers {
		for i, v := range answer.Val() {
			if record, ok := v.(string); ok {
				id, _ := strconv.ParseInt(fields[n][i], 10, 64) // idText made it
				records[campaign.AdID(id)] = record
			}
		}
	}
	return records, nil
}

// texts turns the answer of HMGET into strings, "" for what is missing.
func texts(values []any) []string {
	list := make([]string, len(values))
	for i, v := range values {
		list[i], _ = v.(string)
	}
	return list
}

// number reads what a script wrote, which is never negative; 0 for anything else.
func number(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return max(n, 0)
}
