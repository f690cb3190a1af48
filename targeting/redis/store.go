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
	// MaxBatch is the most ads of one entry of the log, and the most of what one call of a script takes.
	MaxBatch = 500
	// callTimeout bounds one call to Redis.
	callTimeout = 5 * time.Second
	// progressTTL is how long what a leader says of its work is believed.
	progressTTL = 10 * time.Second
)

// Store writes the index. Every method is fenced: it returns targeting.ErrStale once a later epoch has claimed the index. It is safe for
// concurrent use, except where a method says otherwise.
type Store struct {
	client goredis.UniversalClient
}

// NewStore returns a store. The caller keeps the client and closes it.
func NewStore(client goredis.UniversalClient) *Store { return &Store{client: client} }

// run calls a script within callTimeout.
func (s *Store) run(ctx context.Context, script *goredis.Script, keys []string, args ...any) *goredis.Cmd {
	return run(ctx, s.client, script, keys, args...)
}

// Claim makes epoch the writer of the index. source names the database that the caller reads: what another database's indexer
// has left is never adopted. Claiming again changes nothing.
func (s *Store) Claim(ctx context.Context, epoch int64, source string) error {
	if err := run(ctx, s.client, claimScript, []string{keyMeta, keyUsers}, epoch, source).Err(); err != nil {
		return fmt.Errorf("claim index: %w", sentinel(err))
	}
	return nil
}

// State reads where the index stands, and looks whether all that belongs to it is there.
func (s *Store) State(ctx context.Context) (targeting.StoreState, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	runID, err := s.runID(ctx)
	if err != nil {
		return targeting.StoreState{}, err
	}
	pipe := s.client.TxPipeline() // one moment: a checkpoint may be published
	meta := pipe.HMGet(ctx, keyMeta, "schema", "generation", "seq", "base_seq", "log_bytes", "run_id")
	manifest, rebuild, users := pipe.Get(ctx, keyManifest), pipe.Get(ctx, keyRebuild), pipe.Get(ctx, keyUsers)
	_, _ = pipe.Exec(ctx) // each command has its own error
	for _, cmd := range []goredis.Cmder{meta, manifest, rebuild, users} {
		if err := cmd.Err(); err != nil && !isAnswer(err) || cmd == meta && err != nil {
			return targeting.StoreState{}, fmt.Errorf("read index state: %w", err)
		}
	}
	m := texts(meta.Val())
	st := targeting.StoreState{
		Schema: m[0], Readable: m[0] == schema, Generation: m[1], Seq: number(m[2]), BaseSeq: number(m[3]), LogBytes: number(m[4]),
		Rebuild: rebuild.Val(), Users: users.Val(),
	}
	st.Restarted = st.Generation != "" && m[5] != runID
	if st.Generation == "" || !st.Readable {
		return st, nil
	}
	err = s.inspect(ctx, &st, manifest.Val())
	return st, err
}

// inspect looks at the manifest, the blobs and the log without reading all of them.
func (s *Store) inspect(ctx context.Context, st *targeting.StoreState, text string) error {
	m, err := decodeManifest(text)
	if err != nil {
		st.Damage = err.Error()
		return nil //nolint:nilerr // it is what was looked for
	}
	if m.Generation != st.Generation || m.BaseSeq != st.BaseSeq {
		st.Damage = fmt.Sprintf("the manifest is of change %d of generation %s", m.BaseSeq, m.Generation)
		return nil
	}
	st.Ads, st.Bounds = int64(m.Ads), m.bounds()
	missing, err := missingBlob(ctx, s.client, m)
	if err != nil {
		return err
	}
	if missing != "" {
		st.Damage = "blob " + missing + " is not there"
		return nil
	}
	st.Damage, err = s.inspectLog(ctx, st)
	return err
}

// inspectLog says what is wrong with the log. Entries that were appended since the state was read are as good.
func (s *Store) inspectLog(ctx context.Context, st *targeting.StoreState) (string, error) {
	pipe := s.client.TxPipeline()
	last := pipe.XRevRangeN(ctx, keyLog(st.Generation), "+", "-", 1)
	length := pipe.XLen(ctx, keyLog(st.Generation))
	_, err := pipe.Exec(ctx)
	if _, answered := errors.AsType[goredis.Error](err); answered {
		return "the log is none: " + err.Error(), nil
	}
	if err != nil {
		return "", fmt.Errorf("look at the log: %w", err)
	}
	seq := int64(0)
	if entries := last.Val(); len(entries) > 0 {
		text, _, _ := strings.Cut(entries[0].ID, "-")
		seq = number(text)
	}
	if needed := st.Seq > st.BaseSeq; needed && seq < st.Seq || length.Val() < st.Seq-st.BaseSeq {
		return fmt.Sprintf("the log has %d entries up to change %d, it should have those from %d to %d", length.Val(), seq, st.BaseSeq+1, st.Seq), nil
	}
	return "", nil
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

// Discard deletes the logs of all generations but the published one.
func (s *Store) Discard(ctx context.Context, epoch int64) error {
	all, err := s.client.SMembers(ctx, keyGenerations).Result()
	if err != nil {
		return fmt.Errorf("list generations: %w", err)
	}
	for _, generation := range all {
		err := sentinel(s.run(ctx, discardScript, []string{keyMeta, keyGenerations, keyLog(generation)}, epoch, generation).Err())
		if err != nil && !errors.Is(err, targeting.ErrGeneration) {
			return fmt.Errorf("discard generation: %w", err)
		}
	}
	return nil
}

// Refuse notes which ads cannot be served and why; "" for one that can again. anew forgets all that was noted before.
func (s *Store) Refuse(ctx context.Context, epoch int64, anew bool, ads map[campaign.AdID]string) error {
	pairs := make([]any, 0, 2*len(ads))
	for id, why := range ads {
		pairs = append(pairs, int64(id), why)
	}
	for {
		n := min(len(pairs), 2*MaxBatch)
		args := append([]any{epoch, 0}, pairs[:n]...)
		if anew {
			args[1] = 1
		}
		if err := s.run(ctx, refuseScript, []string{keyMeta, keyRefused}, args...).Err(); err != nil {
			return fmt.Errorf("note refused ads: %w", sentinel(err))
		}
		if pairs, anew = pairs[n:], false; len(pairs) == 0 {
			return nil
		}
	}
}

// Refused returns the ads that were noted as refused, and why.
func (s *Store) Refused(ctx context.Context) (map[campaign.AdID]string, error) {
	fields, err := s.client.HGetAll(ctx, keyRefused).Result()
	if err != nil {
		return nil, fmt.Errorf("read refused ads: %w", err)
	}
	ads := make(map[campaign.AdID]string, len(fields))
	for id, why := range fields {
		ads[campaign.AdID(number(id))] = why
	}
	return ads, nil
}

// Progress says to whoever waits for a rebuild how far it is. It goes by itself.
func (s *Store) Progress(ctx context.Context, text string) error {
	if err := s.client.Set(ctx, keyProgress, text, progressTTL).Err(); err != nil {
		return fmt.Errorf("say progress: %w", err)
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

// isAnswer reports whether Redis has refused a command, or found nothing; other errors say that it has not answered.
func isAnswer(err error) bool {
	_, answered := errors.AsType[goredis.Error](err)
	return answered
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
