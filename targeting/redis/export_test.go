package redis

import (
	"context"

	"gavel/campaign"
)

// Sign is a manifest with a good checksum, whatever doc is.
func Sign(doc string) string { return checksum([]byte(doc)) + doc }

// ReadManifest says whether a manifest can be read, and how it is written again.
func ReadManifest(text string) (string, error) {
	m, err := decodeManifest(text)
	if err != nil {
		return "", err
	}
	return m.encode()
}

// EntryBytes is about the most that one entry of the log has.
const EntryBytes = entryBytes

// WriteBlob writes a blob that belongs to no manifest.
func (s *Store) WriteBlob(ctx context.Context, epoch int64, name string, data []byte) error {
	_, err := s.writeBlob(ctx, epoch, name, data, 0)
	return err
}

// Trim is trim.
func (s *Store) Trim(ctx context.Context, epoch int64, generation string, keepFrom int64) error {
	return s.trim(ctx, epoch, generation, keepFrom)
}

// Forget calls the last script of Sweep alone.
func (s *Store) Forget(ctx context.Context, epoch int64, name string) error {
	return sentinel(s.run(ctx, forgetScript, []string{keyMeta, keyBlobs}, epoch, name).Err())
}

// Entry and GroupField are how an impression and its ad group are stored.
func Entry(imp Impression) string             { return imp.entry() }
func GroupField(id campaign.AdGroupID) string { return groupField(id) }

// AppendLists, DecodeLists and CountViews are the records of users.
var (
	AppendLists = appendLists
	DecodeLists = decodeLists
	CountViews  = countViews
)
