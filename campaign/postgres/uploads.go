package postgres

import (
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gavel/campaign"
)

const uploadColumns = `id, ad_account_id, audience_id, operation, total_parts, state, records, valid, done, created_at, updated_at`

const uploadSQL = `SELECT ` + uploadColumns + ` FROM list_uploads WHERE ad_account_id = $1 AND audience_id = $2 AND id = $3`

const lockUploadSQL = uploadSQL + ` FOR NO KEY UPDATE`

const insertUploadSQL = `
INSERT INTO list_uploads (ad_account_id, audience_id, operation, total_parts, list_id)
VALUES ($1, $2, $3, $4, CASE WHEN $3 = 'REPLACE' THEN nextval('list_ids') END) RETURNING ` + uploadColumns

const startUploadSQL = `
UPDATE list_uploads SET state = 'RUNNING', records = $2, valid = $3, run_at = clock_timestamp(), updated_at = now()
WHERE id = $1 RETURNING ` + uploadColumns

const partColumns = `part, bytes, sha256, records, invalid`

const uploadPartsSQL = `SELECT ` + partColumns + ` FROM list_upload_parts WHERE upload_id = $1 ORDER BY part`

const uploadPartSQL = `SELECT ` + partColumns + ` FROM list_upload_parts WHERE upload_id = $1 AND part = $2`

const savePartSQL = `
INSERT INTO list_upload_parts (upload_id, part, bytes, sha256, records, invalid) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (upload_id, part) DO UPDATE SET bytes = excluded.bytes, sha256 = excluded.sha256, records = excluded.records,
    invalid = excluded.invalid, received_at = now()`

const dropSlicesOfPartSQL = `DELETE FROM list_upload_slices WHERE upload_id = $1 AND part = $2`

const copySlicesSQL = `COPY list_upload_slices (upload_id, slice, part, users) FROM STDIN`

const touchUploadSQL = `UPDATE list_uploads SET updated_at = now() WHERE id = $1`

const countRecordsSQL = `
UPDATE audiences SET batches = batches + 1, updated_at = now(),
    records_added = records_added + CASE WHEN $2 <> 'REMOVE' THEN $3::bigint ELSE 0 END,
    records_removed = records_removed + CASE WHEN $2 = 'REMOVE' THEN $3::bigint ELSE 0 END
WHERE id = $1 RETURNING ` + audienceColumns

type uploadRow struct {
	ID          int64         `db:"id"`
	AdAccountID int64         `db:"ad_account_id"`
	AudienceID  int64         `db:"audience_id"`
	Operation   string        `db:"operation"`
	TotalParts  sql.NullInt64 `db:"total_parts"`
	State       string        `db:"state"`
	Records     int64         `db:"records"`
	Valid       int64         `db:"valid"`
	Done        int64         `db:"done"`
	CreatedAt   time.Time     `db:"created_at"`
	UpdatedAt   time.Time     `db:"updated_at"`
}

func (r uploadRow) entity() campaign.Upload {
	return campaign.Upload{
		ID: campaign.UploadID(r.ID), AdAccountID: campaign.AdAccountID(r.AdAccountID), AudienceID: campaign.AudienceID(r.AudienceID),
		Operation: r.Operation, TotalParts: int(r.TotalParts.Int64), State: campaign.UploadState(r.State),
		Records: r.Records, Valid: r.Valid, Done: r.Done, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
}

type partRow struct {
	Part    int    `db:"part"`
	Bytes   int64  `db:"bytes"`
	SHA256  []byte `db:"sha256"`
	Records int64  `db:"records"`
	Invalid []byte `db:"invalid"`
}

func (r partRow) entity() (campaign.UploadPart, error) {
	p := campaign.UploadPart{Number: r.Part, Bytes: r.Bytes, Records: r.Records}
	copy(p.SHA256[:], r.SHA256)
	if err := json.Unmarshal(r.Invalid, &p.Invalid); err != nil {
		return p, fmt.Errorf("invalid records of part %d: %w", r.Part, err)
	}
	return p, nil
}

// Upload implements campaign.UploadReader.
func (s *Store) Upload(ctx context.Context, account campaign.AdAccountID, audience campaign.AudienceID, id campaign.UploadID) (campaign.Upload, error) {
	return s.upload(ctx, uploadSQL, account, audience, id)
}

// LockUpload implements campaign.UploadTx.
func (t *txn) LockUpload(ctx context.Context, account campaign.AdAccountID, audience campaign.AudienceID, id campaign.UploadID) (campaign.Upload, error) {
	return t.upload(ctx, lockUploadSQL, account, audience, id)
}

func (s session) upload(ctx context.Context, query string, account campaign.AdAccountID, audience campaign.AudienceID, id campaign.UploadID) (campaign.Upload, error) {
	var row uploadRow
	err := s.get(ctx, &row, query, int64(account), int64(audience), int64(id))
	return row.entity(), orMissing(err, campaign.ErrUploadNotFound, "read upload")
}

// UploadParts implements campaign.UploadReader and campaign.UploadTx.
func (s session) UploadParts(ctx context.Context, id campaign.UploadID) ([]campaign.UploadPart, error) {
	var rows []partRow
	if err := s.list(ctx, &rows, uploadPartsSQL, int64(id)); err != nil {
		return nil, fmt.Errorf("list parts: %w", err)
	}
	parts := make([]campaign.UploadPart, len(rows))
	for i, r := range rows {
		var err error
		if parts[i], err = r.entity(); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// UploadPart implements campaign.UploadTx.
func (t *txn) UploadPart(ctx context.Context, id campaign.UploadID, number int) (campaign.UploadPart, bool, error) {
	var row partRow
	err := t.get(ctx, &row, uploadPartSQL, int64(id), number)
	if errors.Is(err, sql.ErrNoRows) {
		return campaign.UploadPart{}, false, nil
	}
	if err != nil {
		return campaign.UploadPart{}, false, err
	}
	part, err := row.entity()
	return part, true, err
}

// InsertUpload implements campaign.UploadTx.
func (t *txn) InsertUpload(ctx context.Context, u campaign.Upload) (campaign.Upload, error) {
	var row uploadRow
	err := t.get(ctx, &row, insertUploadSQL, int64(u.AdAccountID), int64(u.AudienceID), u.Operation, nullInt(u.TotalParts))
	return row.entity(), err
}

// StartUpload implements campaign.UploadTx.
func (t *txn) StartUpload(ctx context.Context, u campaign.Upload) (campaign.Upload, error) {
	var row uploadRow
	err := t.get(ctx, &row, startUploadSQL, int64(u.ID), u.Records, u.Valid)
	return row.entity(), err
}

// CountRecords implements campaign.UploadTx.
func (t *txn) CountRecords(ctx context.Context, id campaign.AudienceID, operation string, records int64) (campaign.Audience, error) {
	var row audienceRow
	err := t.get(ctx, &row, countRecordsSQL, int64(id), operation, records)
	return row.entity(), err
}

// SavePart implements campaign.UploadTx.
func (t *txn) SavePart(ctx context.Context, id campaign.UploadID, part campaign.PartContents) error {
	if part.Invalid == nil {
		part.Invalid = map[campaign.RecordProblem]int64{}
	}
	invalid, err := json.Marshal(part.Invalid)
	if err != nil {
		return fmt.Errorf("encode problems: %w", err)
	}
	if _, err := t.exec(ctx, savePartSQL, int64(id), part.Number, part.Bytes, part.SHA256[:], part.Records, string(invalid)); err != nil {
		return fmt.Errorf("save part: %w", err)
	}
	if _, err := t.exec(ctx, dropSlicesOfPartSQL, int64(id), part.Number); err != nil {
		return fmt.Errorf("drop what the part was: %w", err)
	}
	if err := t.copySlices(ctx, id, part); err != nil {
		return fmt.Errorf("save slices: %w", coded(err))
	}
	if _, err := t.exec(ctx, touchUploadSQL, int64(id)); err != nil {
		return fmt.Errorf("touch upload: %w", err)
	}
	return nil
}

// An upload that a part is being sent to is locked, and left for the next time.
const forgetUploadsSQL = `
WITH gone AS (DELETE FROM list_upload_parts WHERE upload_id IN (
        SELECT id FROM list_uploads WHERE state = 'NOT_STARTED' AND updated_at < $1 FOR UPDATE SKIP LOCKED) RETURNING upload_id),
    slices AS (DELETE FROM list_upload_slices WHERE upload_id IN (SELECT upload_id FROM gone))
SELECT count(*) FROM gone`

const forgetEmptyUploadsSQL = `
DELETE FROM list_uploads u WHERE state = 'NOT_STARTED' AND updated_at < $1
AND NOT EXISTS (SELECT 1 FROM list_upload_parts p WHERE p.upload_id = u.id)`

// ForgetUploads implements campaign.Store.
func (s *Store) ForgetUploads(ctx context.Context, before time.Time) error {
	var parts int
	if err := s.get(ctx, &parts, forgetUploadsSQL, before); err != nil {
		return fmt.Errorf("forget parts of uploads: %w", err)
	}
	if _, err := s.exec(ctx, forgetEmptyUploadsSQL, before); err != nil {
		return fmt.Errorf("forget uploads: %w", err)
	}
	return nil
}

// copySlices writes the users of a part, slice by slice.
func (t *txn) copySlices(ctx context.Context, id campaign.UploadID, part campaign.PartContents) (err error) {
	stmt, err := t.tx.PrepareContext(ctx, copySlicesSQL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stmt.Close()) }()
	users := part.Users
	for len(users) > 0 {
		slice, n := campaign.SliceOf(users[0]), 0
		for n < len(users) && campaign.SliceOf(users[n]) == slice {
			n++
		}
		if _, err := stmt.ExecContext(ctx, int64(id), slice, part.Number, packUsers(users[:n])); err != nil {
			return err
		}
		users = users[n:]
	}
	_, err = stmt.ExecContext(ctx)
	return err
}

func packUsers(users []int64) []byte {
	packed := make([]byte, 0, 8*len(users))
	for _, u := range users {
		packed = binary.BigEndian.AppendUint64(packed, uint64(u))
	}
	return packed
}

// unpackUsers appends what packUsers packed.
func unpackUsers(users []int64, packed []byte) ([]int64, error) {
	if len(packed)%8 != 0 {
		return nil, fmt.Errorf("%d bytes are no users: %w", len(packed), errors.ErrUnsupported)
	}
	for ; len(packed) > 0; packed = packed[8:] {
		users = append(users, int64(binary.BigEndian.Uint64(packed)))
	}
	return users, nil
}
