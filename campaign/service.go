package campaign

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"gavel/internal/fault"
)

// Config is what a [Service] needs. Every field is required.
type Config struct {
	Store             Store
	ValidateTargeting ValidateTargeting
	CheckKeyword      CheckKeyword
	CheckInterests    CheckInterests
	TargetingOptions  TargetingOptions
	Now               func() time.Time
	// Random is where keys come from: crypto/rand.Reader.
	Random io.Reader
}

// Service manages accounts, campaigns, ad groups, ads, keywords, audiences and keys. It is safe for concurrent use.
//
// It does not ask who is calling: the caller has checked that (see [Principal.MayManage]). What it is given below one account
// it looks up within that account only.
type Service struct {
	store     Store
	validate  ValidateTargeting
	keyword   CheckKeyword
	interests CheckInterests
	options   TargetingOptions
	now       func() time.Time
	random    io.Reader
	tx        Tx // not nil inside Once: all writes join it
}

// NewService returns a service.
func NewService(c Config) *Service {
	return &Service{
		store: c.Store, validate: c.ValidateTargeting, keyword: c.CheckKeyword, interests: c.CheckInterests, options: c.TargetingOptions,
		now: c.Now, random: c.Random,
	}
}

// inTx runs f in a transaction, or in the one of Once.
func (s *Service) inTx(ctx context.Context, f func(ctx context.Context, tx Tx) error) error {
	if s.tx != nil {
		return f(ctx, s.tx)
	}
	return s.store.InTx(ctx, f)
}

// MaxIdempotencyKey is the most characters of an idempotency key.
const MaxIdempotencyKey = 128

// answersKept is how long an idempotency key is remembered.
const answersKept = 24 * time.Hour

// errRefused rolls back a create that wrote nothing.
var errRefused = errors.New("nothing was written")

// Once runs create unless it ran before with the same key in the same account (0 for none); then it returns what was answered
// then. Of two at a time one runs and the other waits for it. create gets a service whose writes, the kept answer and
// nothing else make up one transaction. An answer with a status of 400 or more is not kept: then nothing was written.
//
// It returns ErrKeyReused when the key belongs to another input.
func (s *Service) Once(ctx context.Context, account AdAccountID, key string, input [32]byte, create func(ctx context.Context, s *Service) (Answer, error)) (Answer, error) {
	if key == "" {
		return create(ctx, s)
	}
	var p fault.Fields
	checkText(&p, "Idempotency-Key", key, 1, MaxIdempotencyKey)
	if err := p.Err("invalid header"); err != nil {
		return Answer{}, err
	}
	var answer Answer
	err := s.store.InTx(ctx, func(ctx context.Context, tx Tx) error {
		kept, err := tx.ClaimAnswer(ctx, account, key, input)
		if err != nil {
			return fmt.Errorf("claim idempotency key: %w", err)
		}
		if kept != nil {
			answer = *kept
			return nil
		}
		joined := *s
		joined.tx = tx
		if answer, err = create(ctx, &joined); err != nil {
			return err
		}
		if answer.Status >= 400 {
			return errRefused
		}
		if err := tx.SaveAnswer(ctx, account, key, answer); err != nil {
			return fmt.Errorf("keep answer: %w", err)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errRefused) {
		return Answer{}, err
	}
	return answer, nil
}

// ForgetAnswers deletes idempotency keys that are older than a day. Call it now and then.
func (s *Service) ForgetAnswers(ctx context.Context) error {
	return s.store.ForgetAnswers(ctx, s.now().Add(-answersKept))
}

// CreateAdAccount creates an ad account. Bad input is a [fault.Invalid] with every problem.
func (s *Service) CreateAdAccount(ctx context.Context, item Item[AdAccountInput]) (AdAccount, error) {
	a, problems := newAdAccount(item.Input)
	if refused := invalid(item.Problems, problems); refused != nil {
		return AdAccount{}, refused
	}
	var created AdAccount
	err := s.inTx(ctx, func(ctx context.Context, tx Tx) error {
		var err error
		if created, err = tx.InsertAdAccount(ctx, a); err != nil {
			return fmt.Errorf("insert ad account: %w", err)
		}
		if err := tx.AddBudgets(ctx, created.budgets()); err != nil {
			return fmt.Errorf("add budgets: %w", err)
		}
		return tx.Changed(ctx, EntityAdAccount, []int64{int64(created.ID)})
	})
	return created, err
}

// UpdateAdAccount changes the spend limit of an ad account; it holds from the moment that the call returns. A limit below what
// is spent and promised is allowed: then nothing more is promised. Bad input is a [fault.Invalid] with every problem, an unknown
// account ErrAdAccountNotFound.
func (s *Service) UpdateAdAccount(ctx context.Context, account AdAccountID, item Item[AdAccountUpdate]) (AdAccount, error) {
	var updated AdAccount
	err := s.inTx(ctx, func(ctx context.Context, tx Tx) error {
		before, err := tx.LockAdAccount(ctx, account)
		if err != nil {
			return err
		}
		after, problems := changedAdAccount(before, item.Input)
		if refused := invalid(item.Problems, problems); refused != nil {
			return refused
		}
		if updated, err = tx.UpdateAdAccount(ctx, after); err != nil {
			return fmt.Errorf("update ad account %d: %w", account, err)
		}
		// The indexer is not told: a limit is no part of what is served.
		return s.setLimits(ctx, tx, after, changedBudgets(before.budgets(), after.budgets()))
	})
	return updated, err
}

// AdAccount returns one ad account, or ErrAdAccountNotFound.
func (s *Service) AdAccount(ctx context.Context, id AdAccountID) (AdAccount, error) {
	return s.store.AdAccount(ctx, id)
}

// AdAccounts lists all ad accounts.
func (s *Service) AdAccounts(ctx context.Context, page Page) ([]AdAccount, error) {
	return s.store.AdAccounts(ctx, page)
}

// Budgets lists budget lines of an account as they stand now. It returns ErrAdAccountNotFound, ErrCampaignNotFound or
// ErrAdGroupNotFound for what the account or the filter names in vain.
func (s *Service) Budgets(ctx context.Context, account AdAccountID, f BudgetFilter, page Page) ([]BudgetLine, error) {
	if f.Campaign != 0 && f.AdGroup != 0 {
		return nil, fault.InvalidFields("invalid input", fault.Field{Name: "ad_group_id", Message: "cannot be given together with campaign_id"})
	}
	owner, err := s.store.AdAccount(ctx, account)
	if err != nil {
		return nil, err
	}
	today, err := s.today(owner)
	if err != nil {
		return nil, err
	}
	var of []BudgetScope
	if f.AdGroup != 0 {
		g, err := s.store.AdGroup(ctx, account, f.AdGroup)
		if err != nil {
			return nil, err
		}
		of = append(of, BudgetScope{EntityAdGroup, int64(g.ID)})
		f.Campaign = g.CampaignID
	}
	if f.Campaign != 0 {
		c, err := s.store.Campaign(ctx, account, f.Campaign)
		if err != nil {
			return nil, err
		}
		of = append(of, BudgetScope{EntityCampaign, int64(c.ID)}, BudgetScope{EntityAdAccount, int64(account)})
	}
	return s.store.BudgetLines(ctx, account, today, of, page)
}

// CheckTargeting is the check that a targeting spec of an ad group passes, without the question whether what it names exists.
func (s *Service) CheckTargeting(raw json.RawMessage) (canonical json.RawMessage, problems []fault.Field) {
	return s.validate(raw)
}

// today is the account's local day now.
func (s *Service) today(a AdAccount) (int, error) {
	zone, err := LoadZone(a.TimeZone)
	if err != nil {
		return 0, fmt.Errorf("load time zone of ad account %d: %w", a.ID, err)
	}
	return DayOf(s.now(), zone), nil
}

// setLimits writes changed limits, if any, as of the account's today.
func (s *Service) setLimits(ctx context.Context, tx Tx, account AdAccount, changed []Budget) error {
	if len(changed) == 0 {
		return nil
	}
	today, err := s.today(account)
	if err != nil {
		return err
	}
	if err := tx.SetLimits(ctx, changed, today); err != nil {
		return fmt.Errorf("set limits: %w", err)
	}
	return nil
}

// checkBatch holds a batch to 1..MaxBatch items.
func checkBatch(n int) error {
	if n >= 1 && n <= MaxBatch {
		return nil
	}
	return fault.InvalidFields("invalid input", fault.Field{Message: fmt.Sprintf("must be an array of 1 to %d items, has %d", MaxBatch, n)})
}

// checkID reports an update without an id, or with one that an earlier item of the batch has.
func checkID[ID ~int64](p *fault.Fields, id ID, seen map[ID]bool) {
	switch {
	case id == 0:
		p.Add("id", "is required")
	case seen[id]:
		p.Add("id", "is given twice in this request")
	}
	seen[id] = true
}
