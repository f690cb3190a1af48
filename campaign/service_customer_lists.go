package campaign

import (
	"context"
	"fmt"
	"io"
	"time"

	"gavel/internal/fault"
)

// CreateCustomerList creates an audience with its first users, if any are given. Bad input is a [fault.Invalid] with every problem.
func (s *Service) CreateCustomerList(ctx context.Context, account AdAccountID, item Item[CustomerListInput]) (Audience, error) {
	a, users, problems := newCustomerList(account, item.Input)
	if refused := invalid(item.Problems, problems); refused != nil {
		return Audience{}, refused
	}
	var created Audience
	err := s.inTx(ctx, func(ctx context.Context, tx Tx) error {
		if _, err := tx.AdAccount(ctx, account); err != nil {
			return err
		}
		var err error
		if created, err = tx.InsertAudience(ctx, a); err != nil {
			return fmt.Errorf("insert audience: %w", err)
		}
		if err := tx.Changed(ctx, EntityAudience, []int64{int64(created.ID)}); err != nil {
			return err
		}
		created, err = s.changeRecords(ctx, tx, created, AddUsers, users)
		return err
	})
	return created, err
}

// ChangeCustomerList adds the users of records to an audience or removes them. Bad input is a [fault.Invalid] with every problem, an
// unknown audience ErrAudienceNotFound.
func (s *Service) ChangeCustomerList(ctx context.Context, account AdAccountID, id AudienceID, item Item[CustomerListUpdate]) (Audience, error) {
	before, err := s.store.Audience(ctx, account, id)
	if err != nil {
		return Audience{}, err
	}
	var p fault.Fields
	var operation string
	required(&p, "operation_type", item.Input.Operation)
	required(&p, "records", item.Input.Records)
	apply(&p, "operation_type", item.Input.Operation, &operation)
	if item.Input.Operation.Given() {
		checkOneOf(&p, "operation_type", operation, AddUsers, RemoveUsers)
	}
	var users PartContents
	if item.Input.Records.Set {
		users = checkRecords(&p, item.Input.Records, before.ListType)
	}
	if refused := invalid(item.Problems, p); refused != nil {
		return Audience{}, refused
	}
	var after Audience
	err = s.inTx(ctx, func(ctx context.Context, tx Tx) (err error) {
		after, err = s.changeRecords(ctx, tx, before, operation, users)
		return err
	})
	return after, err
}

func (s *Service) changeRecords(ctx context.Context, tx Tx, a Audience, operation string, users PartContents) (Audience, error) {
	if users.Records == 0 {
		return a, nil
	}
	moved, err := tx.ChangeMembers(ctx, a.AdAccountID, a.ID, operation, users.Users)
	if err != nil {
		return a, fmt.Errorf("change members: %w", err)
	}
	if len(moved) > 0 {
		if err := tx.Changed(ctx, EntityUser, moved); err != nil {
			return a, err
		}
	}
	if a, err = tx.CountRecords(ctx, a.ID, operation, users.Records); err != nil {
		return a, fmt.Errorf("count records: %w", err)
	}
	return a, nil
}

// CreateUpload begins an upload of records to an audience. Bad input is a [fault.Invalid] with every problem, an unknown audience
// ErrAudienceNotFound.
func (s *Service) CreateUpload(ctx context.Context, account AdAccountID, id AudienceID, item Item[UploadInput]) (Upload, error) {
	u, problems := newUpload(account, id, item.Input)
	if refused := invalid(item.Problems, problems); refused != nil {
		return Upload{}, refused
	}
	if _, err := s.store.Audience(ctx, account, id); err != nil {
		return Upload{}, err
	}
	var created Upload
	err := s.inTx(ctx, func(ctx context.Context, tx Tx) (err error) {
		created, err = tx.InsertUpload(ctx, u)
		return err
	})
	return created, err
}

// Upload returns an upload of an audience with its parts, in their order, or ErrUploadNotFound.
func (s *Service) Upload(ctx context.Context, account AdAccountID, audience AudienceID, id UploadID) (Upload, []UploadPart, error) {
	u, err := s.store.Upload(ctx, account, audience, id)
	if err != nil {
		return Upload{}, nil, err
	}
	parts, err := s.store.UploadParts(ctx, id)
	return u, parts, err
}

// PutPart reads a part of an upload and keeps it, in place of one that was sent before under the same number. It returns
// ErrUploadNotFound, and ErrUploadStarted if the upload was run already, except for a part that it has.
func (s *Service) PutPart(ctx context.Context, account AdAccountID, audience AudienceID, id UploadID, number int, body io.Reader) (UploadPart, error) {
	u, err := s.store.Upload(ctx, account, audience, id)
	if err != nil {
		return UploadPart{}, err
	}
	most := MaxUploadParts
	if u.TotalParts > 0 {
		most = u.TotalParts
	}
	if number < 1 || number > most {
		return UploadPart{}, fault.InvalidFields("invalid input", fault.Field{Name: "part_number", Message: fmt.Sprintf("must be from 1 to %d", most)})
	}
	of, err := s.store.Audience(ctx, account, audience)
	if err != nil {
		return UploadPart{}, err
	}
	part, err := ReadPart(body, of.ListType)
	if err != nil {
		return UploadPart{}, err
	}
	part.Number = number
	err = s.inTx(ctx, func(ctx context.Context, tx Tx) error {
		u, err := tx.LockUpload(ctx, account, audience, id)
		if err != nil {
			return err
		}
		before, found, err := tx.UploadPart(ctx, id, number)
		if err != nil {
			return fmt.Errorf("read part: %w", err)
		}
		switch {
		case found && before.SHA256 == part.SHA256:
			return nil
		case u.State != UploadNotStarted:
			return ErrUploadStarted
		}
		return tx.SavePart(ctx, id, part)
	})
	return part.UploadPart, err
}

// uploadsKept is how long an upload may wait for its next part or to be run.
const uploadsKept = 7 * 24 * time.Hour

// ForgetUploads deletes uploads that were given up. Call it now and then.
func (s *Service) ForgetUploads(ctx context.Context) error {
	return s.store.ForgetUploads(ctx, s.now().Add(-uploadsKept))
}

// RunUpload starts the work on an upload; once is enough, and more change nothing. An upload with parts missing is a
// [fault.Invalid], an unknown one ErrUploadNotFound.
func (s *Service) RunUpload(ctx context.Context, account AdAccountID, audience AudienceID, id UploadID) (Upload, error) {
	var u Upload
	err := s.inTx(ctx, func(ctx context.Context, tx Tx) (err error) {
		if u, err = tx.LockUpload(ctx, account, audience, id); err != nil || u.State != UploadNotStarted {
			return err
		}
		parts, err := tx.UploadParts(ctx, id)
		if err != nil {
			return fmt.Errorf("read parts: %w", err)
		}
		if err := u.checkComplete(parts); err != nil {
			return err
		}
		for _, p := range parts {
			u.Records += p.Records
			u.Valid += p.Valid()
		}
		u, err = tx.StartUpload(ctx, u)
		return err
	})
	return u, err
}
