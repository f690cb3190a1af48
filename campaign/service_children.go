package campaign

import (
	"context"
	"errors"
	"fmt"

	"gavel/internal/fault"
)

// CreateKeywords adds keywords to an ad group, each or not at all. One that exists already is returned as it is. problems are
// the decoder's of the request around the keywords.
func (s *Service) CreateKeywords(ctx context.Context, account AdAccountID, parent Opt[AdGroupID], problems []fault.Field, items []Item[KeywordInput]) ([]Result[AdGroupKeyword], error) {
	var p fault.Fields
	required(&p, "parent_id", parent)
	if len(items) == 0 || len(items) > MaxKeywords {
		p.Add("keywords", fmt.Sprintf("must have 1 to %d elements, has %d", MaxKeywords, len(items)))
	}
	if refused := invalid(problems, p); refused != nil {
		return nil, refused
	}
	var results []Result[AdGroupKeyword]
	err := s.inTx(ctx, func(ctx context.Context, tx Tx) error {
		results = make([]Result[AdGroupKeyword], len(items))
		if _, err := tx.AdAccount(ctx, account); err != nil {
			return err
		}
		groups, err := tx.LockAdGroups(ctx, account, []AdGroupID{parent.Value})
		if err != nil {
			return fmt.Errorf("lock ad group: %w", err)
		}
		if _, found := groups[parent.Value]; !found {
			return fault.InvalidFields("invalid input", fault.Field{Name: "parent_id", Message: ErrAdGroupNotFound.Message})
		}
		written := false
		for i, item := range items {
			k, problems := newKeyword(account, parent.Value, item.Input, s.keyword)
			if results[i].Err = invalid(item.Problems, problems); results[i].Err != nil {
				continue
			}
			if results[i].Value, err = tx.InsertKeyword(ctx, k); err != nil {
				return fmt.Errorf("insert keyword: %w", err)
			}
			written = true
		}
		if !written {
			return nil
		}
		// The ad group is locked: nobody adds others meanwhile.
		n, err := tx.CountKeywords(ctx, parent.Value)
		if err != nil {
			return fmt.Errorf("count keywords: %w", err)
		}
		if n > MaxKeywords {
			return fault.InvalidFields("invalid input", fault.Field{Name: "keywords", Message: fmt.Sprintf("the ad group would have %d, at most %d are allowed", n, MaxKeywords)})
		}
		return tx.Changed(ctx, EntityAdGroup, []int64{int64(parent.Value)})
	})
	return results, err
}

// Keywords lists the keywords of an account, or returns ErrAdAccountNotFound.
func (s *Service) Keywords(ctx context.Context, account AdAccountID, f KeywordFilter, page Page) ([]AdGroupKeyword, error) {
	return listOf(ctx, s, account, func() ([]AdGroupKeyword, error) { return s.store.Keywords(ctx, account, f, page) })
}

// CreateAudience creates an empty audience, or names the one that a customer list is. Bad input is a [fault.Invalid] with every problem.
func (s *Service) CreateAudience(ctx context.Context, account AdAccountID, item Item[AudienceInput]) (Audience, error) {
	a, problems := newAudience(account, item.Input)
	if refused := invalid(item.Problems, problems); refused != nil {
		return Audience{}, refused
	}
	var created Audience
	err := s.inTx(ctx, func(ctx context.Context, tx Tx) error {
		if _, err := tx.AdAccount(ctx, account); err != nil {
			return err
		}
		var err error
		if item.Input.CustomerList.Given() {
			a.ID = item.Input.CustomerList.Value
			if created, err = tx.NameAudience(ctx, a); errors.Is(err, ErrAudienceNotFound) {
				return fault.InvalidFields("invalid input", fault.Field{Name: "rule.customer_list_id", Message: "customer list not found in this ad account"})
			}
			return err
		}
		if created, err = tx.InsertAudience(ctx, a); err != nil {
			return fmt.Errorf("insert audience: %w", err)
		}
		return tx.Changed(ctx, EntityAudience, []int64{int64(created.ID)}) // its list has a number that the index must know
	})
	return created, err
}

// ChangeAudienceUsers adds users to an audience or removes them, all or none, and returns how many were not (or were) in it
// before. Bad input is a [fault.Invalid], an unknown audience ErrAudienceNotFound.
func (s *Service) ChangeAudienceUsers(ctx context.Context, account AdAccountID, id AudienceID, item Item[AudienceUsersInput]) (changed int, err error) {
	users, problems := item.Input.hashes()
	if refused := invalid(item.Problems, problems); refused != nil {
		return 0, refused
	}
	err = s.inTx(ctx, func(ctx context.Context, tx Tx) error {
		moved, err := tx.ChangeMembers(ctx, account, id, item.Input.Operation.Value, users)
		if err != nil {
			return fmt.Errorf("change members: %w", err)
		}
		changed = len(moved)
		if changed == 0 {
			return nil
		}
		return tx.Changed(ctx, EntityUser, moved)
	})
	return changed, err
}

// Audience returns one audience, or ErrAudienceNotFound.
func (s *Service) Audience(ctx context.Context, account AdAccountID, id AudienceID) (Audience, error) {
	return s.store.Audience(ctx, account, id)
}

// Audiences lists the audiences of an account, or returns ErrAdAccountNotFound.
func (s *Service) Audiences(ctx context.Context, account AdAccountID, page Page) ([]Audience, error) {
	return listOf(ctx, s, account, func() ([]Audience, error) { return s.store.Audiences(ctx, account, page) })
}

// CreateKey creates a key and returns its text, which nothing can tell again.
func (s *Service) CreateKey(ctx context.Context, in KeyInput) (Key, string, error) {
	k, problems := newKey(in)
	if refused := invalid(nil, problems); refused != nil {
		return Key{}, "", refused
	}
	text, err := newKeyText(k.Role, s.random)
	if err != nil {
		return Key{}, "", err
	}
	k, err = s.store.InsertKey(ctx, k, HashKey(text))
	if err != nil {
		return Key{}, "", err
	}
	return k, text, nil
}

// ListKeys returns every key by id, revoked ones too.
func (s *Service) ListKeys(ctx context.Context) ([]Key, error) { return s.store.Keys(ctx) }

// RevokeKey ends a key; within [KeyRingInterval] no node knows it. It returns ErrKeyNotFound for a key that is not live.
func (s *Service) RevokeKey(ctx context.Context, id int64) (Key, error) {
	return s.store.RevokeKey(ctx, id)
}
