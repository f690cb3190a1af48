package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

const (
	// blobTTL is how long a chunk lives that no manifest was published with: what a writer leaves that died or was succeeded goes
	// by itself. It is far longer than writing an index takes.
	blobTTL = time.Hour
	// writeWindow and readWindow are how many chunks are under way at once: enough to keep a connection busy, few enough to leave
	// Redis to others in between.
	writeWindow, readWindow = 4, 16
	// chunkTimeout bounds one window of chunks.
	chunkTimeout = 10 * time.Second
)

var errReplaced = errors.New("index was replaced while it was read")

// writeBlob writes the bytes under a name that was never used before. They go away by themselves unless keepBlobs follows.
func (s *Store) writeBlob(ctx context.Context, epoch int64, name string, data []byte, ads int) (blob, error) {
	b := blob{Name: name, Bytes: len(data), Checksum: checksum(data), Ads: ads}
	if err := b.validate(); err != nil {
		return b, fmt.Errorf("write blob: %w", err)
	}
	if err := s.run(ctx, registerScript, []string{keyMeta, keyBlobs}, epoch, name, b.chunks()).Err(); err != nil {
		return b, fmt.Errorf("register blob: %w", sentinel(err))
	}
	n := 0
	for window := range slices.Chunk(data, writeWindow*chunkBytes) {
		if err := writeChunks(ctx, s.client, name, n, window); err != nil {
			return b, fmt.Errorf("write blob: %w", err)
		}
		n += writeWindow
	}
	return b, nil
}

func writeChunks(ctx context.Context, client goredis.UniversalClient, name string, n int, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, chunkTimeout)
	defer cancel()
	pipe := client.Pipeline()
	for chunk := range slices.Chunk(data, chunkBytes) {
		pipe.Set(ctx, keyChunk(name, n), chunk, blobTTL)
		n++
	}
	_, err := pipe.Exec(ctx)
	return err
}

// keepBlobs takes the time limit from the chunks of a published manifest.
func (s *Store) keepBlobs(ctx context.Context, m *manifest) error {
	ctx, cancel := context.WithTimeout(ctx, chunkTimeout)
	defer cancel()
	pipe := s.client.Pipeline()
	for _, b := range m.blobs() {
		for n := range b.chunks() {
			pipe.Persist(ctx, keyChunk(b.Name, n))
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("keep blobs: %w", err)
	}
	return nil
}

// missingBlob names a blob of the manifest of which a chunk is not there, "" if all are.
func missingBlob(ctx context.Context, client goredis.UniversalClient, m *manifest) (string, error) {
	pipe, blobs := client.Pipeline(), m.blobs()
	found := make([]*goredis.IntCmd, len(blobs))
	for i, b := range blobs {
		keys := make([]string, b.chunks())
		for n := range keys {
			keys[n] = keyChunk(b.Name, n)
		}
		found[i] = pipe.Exists(ctx, keys...)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return "", fmt.Errorf("look for blobs: %w", err)
	}
	for i, b := range blobs {
		if found[i].Val() != int64(b.chunks()) {
			return b.Name, nil
		}
	}
	return "", nil
}

// readBlob returns the bytes of a blob, or ErrDamaged if they are not there as they were written.
func readBlob(ctx context.Context, client goredis.UniversalClient, b blob) ([]byte, error) {
	data := make([]byte, 0, b.Bytes)
	for from := 0; from < b.chunks(); from += readWindow {
		var err error
		if data, err = readChunks(ctx, client, b, from, min(from+readWindow, b.chunks()), data); err != nil {
			return nil, fmt.Errorf("read blob %s: %w", b.Name, err)
		}
	}
	if len(data) != b.Bytes || checksum(data) != b.Checksum {
		return nil, fmt.Errorf("read blob %s: checksum: %w", b.Name, ErrDamaged)
	}
	return data, nil
}

func readChunks(ctx context.Context, client goredis.UniversalClient, b blob, from, to int, data []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, chunkTimeout)
	defer cancel()
	pipe := client.Pipeline()
	chunks := make([]*goredis.StringCmd, 0, to-from)
	for n := from; n < to; n++ {
		chunks = append(chunks, pipe.Get(ctx, keyChunk(b.Name, n)))
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for _, c := range chunks {
		err := c.Err()
		_, answered := errors.AsType[goredis.Error](err)
		switch {
		case errors.Is(err, goredis.Nil):
			return nil, fmt.Errorf("a chunk is missing: %w", ErrDamaged)
		case answered && goredis.HasErrorPrefix(err, "WRONGTYPE"):
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		case err != nil:
			return nil, err
		case len(data)+len(c.Val()) > b.Bytes:
			return nil, fmt.Errorf("a chunk is too long: %w", ErrDamaged)
		}
		data = append(data, c.Val()...)
	}
	return data, nil
}

// Sweep deletes every blob that does not belong to the published manifest, also those that an indexer has left half written. It
// must not run beside Publish or Checkpoint of the same epoch, whose blobs are not published yet.
func (s *Store) Sweep(ctx context.Context, epoch int64) error {
	answer, err := s.run(ctx, blobsScript, []string{keyMeta, keyBlobs, keyManifest}, epoch).StringSlice()
	if err != nil {
		return fmt.Errorf("list blobs: %w", sentinel(err))
	}
	published := map[string]bool{}
	if m, err := decodeManifest(answer[0]); err == nil { // a damaged one is of no use to anybody
		if err := s.keepBlobs(ctx, m); err != nil { // whoever has published them may have died before it did
			return err
		}
		for _, b := range m.blobs() {
			published[b.Name] = true
		}
	}
	var gone []any
	for i := 1; i+1 < len(answer); i += 2 {
		name := answer[i]
		chunks, _ := strconv.Atoi(answer[i+1]) // registerScript was given a number
		if published[name] {
			continue
		}
		if err := deleteBlob(ctx, s.client, name, min(chunks, maxBlobBytes/chunkBytes)); err != nil {
			return fmt.Errorf("delete blob: %w", err)
		}
		gone = append(gone, name)
	}
	for names := range slices.Chunk(gone, MaxBatch) {
		args := append([]any{epoch}, names...)
		if err := s.run(ctx, forgetScript, []string{keyMeta, keyBlobs}, args...).Err(); err != nil {
			return fmt.Errorf("forget blobs: %w", sentinel(err))
		}
	}
	return nil
}

func deleteBlob(ctx context.Context, client goredis.UniversalClient, name string, chunks int) error {
	ctx, cancel := context.WithTimeout(ctx, chunkTimeout)
	defer cancel()
	keys := make([]string, chunks)
	for n := range keys {
		keys[n] = keyChunk(name, n)
	}
	for part := range slices.Chunk(keys, MaxBatch) {
		if err := client.Unlink(ctx, part...).Err(); err != nil { // the memory goes in the background
			return err
		}
	}
	return nil
}
