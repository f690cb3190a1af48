package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// maxDescribed is how many refused ads a Description lists.
const maxDescribed = 100

// Description is what of the index is in Redis.
type Description struct {
	// Schema is the version of the layout. Generation is the published one, "" if there is none.
	Schema     string `json:"schema"`
	Generation string `json:"generation"`
	// Seq is the last change of the generation, BaseSeq the last that its segments hold.
	Seq     int64 `json:"seq"`
	BaseSeq int64 `json:"base_seq"`
	// LogEntries are in the log, also those that only nodes which are behind need; LogBytes is about the size of those after BaseSeq.
	LogEntries int64 `json:"log_entries"`
	LogBytes   int64 `json:"log_bytes"`
	// BuiltAt is when the reading for the generation began.
	BuiltAt time.Time `json:"built_at,omitzero"`
	// Epoch is that of the indexer that may write.
	Epoch int64 `json:"epoch"`
	// Ads are in the segments; SegmentBytes is the size of all, and of the tables.
	Ads          int        `json:"ads"`
	MaxCTR       float64    `json:"max_ctr"`
	MaxCVR       float64    `json:"max_cvr"`
	SegmentBytes int64      `json:"segment_bytes"`
	Tables       BlobInfo   `json:"tables"`
	Segments     []BlobInfo `json:"segments"`
	// Blobs is how many blobs there are, also those that wait to be deleted.
	Blobs int64 `json:"blobs"`
	// Refused is how many ads cannot be served; RefusedAds has the first of them, by id, with the reason.
	Refused    int64             `json:"refused"`
	RefusedAds map[string]string `json:"refused_ads"`
	// Users is the generation of memberships that is complete, "" if none is.
	Users string `json:"users"`
	// Rebuild is why a rebuild is wished, Progress how far a running one is; "" if none.
	Rebuild  string `json:"rebuild,omitempty"`
	Progress string `json:"progress,omitempty"`
	// Damage is what is missing or cannot be read, as far as that shows without reading all.
	Damage string `json:"damage,omitempty"`
}

// BlobInfo describes a blob.
type BlobInfo struct {
	Name     string `json:"name"`
	Ads      int    `json:"ads"`
	Bytes    int    `json:"bytes"`
	Checksum string `json:"checksum"`
}

// Describe says what of the index is in Redis. It is for people: it reads little of it, and not in one moment.
func Describe(ctx context.Context, client goredis.UniversalClient) (Description, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	st, err := NewStore(client).State(ctx)
	if err != nil {
		return Description{}, err
	}
	pipe := client.Pipeline()
	meta := pipe.HMGet(ctx, keyMeta, "epoch", "built_ms")
	log, blobs, refused := pipe.XLen(ctx, keyLog(st.Generation)), pipe.HLen(ctx, keyBlobs), pipe.HLen(ctx, keyRefused)
	some, progress := pipe.HScan(ctx, keyRefused, 0, "", maxDescribed), pipe.Get(ctx, keyProgress)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, goredis.Nil) {
		return Description{}, fmt.Errorf("describe index: %w", err)
	}
	fields := texts(meta.Val())
	d := Description{
		Schema: st.Schema, Generation: st.Generation, Seq: st.Seq, BaseSeq: st.BaseSeq, LogEntries: log.Val(), LogBytes: st.LogBytes,
		Epoch: number(fields[0]), Blobs: blobs.Val(), Refused: refused.Val(), RefusedAds: map[string]string{}, Users: st.Users,
		Rebuild: st.Rebuild, Progress: progress.Val(), Damage: st.Damage, Segments: []BlobInfo{},
	}
	if ms := number(fields[1]); ms > 0 && st.Generation != "" {
		d.BuiltAt = time.UnixMilli(ms).UTC()
	}
	pairs, _ := some.Val()
	for i := 0; i+1 < len(pairs) && len(d.RefusedAds) < maxDescribed; i += 2 {
		d.RefusedAds[pairs[i]] = pairs[i+1]
	}
	if st.Generation == "" || !st.Readable {
		return d, nil
	}
	m, err := readManifest(ctx, client)
	if errors.Is(err, ErrDamaged) || errors.Is(err, ErrNoIndex) {
		return d, nil // Damage says so
	}
	if err != nil {
		return d, err
	}
	d.Ads, d.MaxCTR, d.MaxCVR, d.SegmentBytes, d.Tables = m.Ads, m.MaxCTR, m.MaxCVR, m.bytes(), infoOf(m.Tables)
	for _, b := range m.Segments {
		d.Segments = append(d.Segments, infoOf(b))
	}
	return d, nil
}

func infoOf(b blob) BlobInfo {
	return BlobInfo{Name: b.Name, Ads: b.Ads, Bytes: b.Bytes, Checksum: b.Checksum}
}
