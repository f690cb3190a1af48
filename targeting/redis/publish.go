package redis

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"gavel/campaign"
	"gavel/targeting"
)

// Publish writes an index as a new generation, with an empty log, and makes it the one that nodes load. Its name is the
// publication's. builtAt is when the reading for it began.
func (s *Store) Publish(ctx context.Context, epoch int64, p targeting.Publication, builtAt time.Time) error {
	runID, err := s.runID(ctx) // now: a restart while it is written has lost a part of it
	if err != nil {
		return err
	}
	m, err := s.write(ctx, epoch, p, nil)
	if err != nil {
		return err
	}
	m.Generation = p.Name
	text, err := m.encode()
	if err != nil {
		return err
	}
	err = s.run(ctx, publishScript, []string{keyMeta, keyManifest, keyGenerations}, epoch, p.Name, schema, text, builtAt.UnixMilli(), runID).Err()
	if err != nil {
		return fmt.Errorf("publish generation: %w", sentinel(err))
	}
	return s.keepBlobs(ctx, m)
}

// Checkpoint writes those segments of a snapshot of the published generation that its manifest has not, and gives the generation
// a manifest with all of them. Then it takes from the log what the manifest before did not need either, so that nodes which are
// a little behind go on. It returns targeting.ErrGeneration if meanwhile another generation or manifest was published.
func (s *Store) Checkpoint(ctx context.Context, epoch int64, p targeting.Publication, generation string, seq int64) error {
	before, err := readManifest(ctx, s.client)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if before.Generation != generation || before.BaseSeq > seq {
		return fmt.Errorf("checkpoint: change %d of %s is published: %w", before.BaseSeq, before.Generation, targeting.ErrGeneration)
	}
	logBytes, err := s.client.HGet(ctx, keyMeta, "log_bytes").Int64()
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	m, err := s.write(ctx, epoch, p, before.Segments)
	if err != nil {
		return err
	}
	m.Generation, m.BaseSeq = generation, seq
	text, err := m.encode()
	if err != nil {
		return err
	}
	err = s.run(ctx, checkpointScript, []string{keyMeta, keyManifest}, epoch, generation, before.BaseSeq, seq, text, logBytes).Err()
	if err != nil {
		return fmt.Errorf("publish checkpoint: %w", sentinel(err))
	}
	if err := s.keepBlobs(ctx, m); err != nil {
		return err
	}
	return s.trim(ctx, epoch, generation, before.BaseSeq+1)
}

// write writes the blobs of a publication, one after the other and each in small pieces: Redis serves others in between, and no
// more than one segment is in memory. Segments that are there already are not written again.
func (s *Store) write(ctx context.Context, epoch int64, p targeting.Publication, there []blob) (*manifest, error) {
	known := make(map[string]blob, len(there))
	for _, b := range there {
		known[b.Checksum+strconv.Itoa(b.Bytes)] = b
	}
	m := &manifest{MaxCTR: p.Bounds.MaxCTR, MaxCVR: p.Bounds.MaxCVR}
	buf := targeting.AppendChange(nil, tablesChange(p.Index.Tables()))
	var err error
	if m.Tables, err = s.writeBlob(ctx, epoch, p.Name+".tables", buf, 0); err != nil {
		return nil, err
	}
	segments := p.Index.Segments()
	for i, segment := range segments {
		buf = segment.AppendBinary(buf[:0], p.Bounds)
		b, ok := known[checksum(buf)+strconv.Itoa(len(buf))]
		if !ok {
			if b, err = s.writeBlob(ctx, epoch, p.Name+"."+strconv.Itoa(i), buf, segment.Ads()); err != nil {
				return nil, err
			}
		}
		m.Segments = append(m.Segments, b)
		m.Ads += b.Ads
		if p.Progress != nil {
			p.Progress(i+1, len(segments))
		}
	}
	return m, nil
}

// tablesChange is the change that makes tables from nothing.
func tablesChange(t *targeting.Tables) targeting.Change {
	c := targeting.Change{Lists: make(map[campaign.AudienceID]campaign.ListID, len(t.Lists)), Interests: t.Interests.All()}
	for list, audience := range t.Lists {
		c.Lists[audience] = list
	}
	return c
}
