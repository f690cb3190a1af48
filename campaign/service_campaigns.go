package campaign

import (
	"context"
	"fmt"

	"gavel/internal/fault"
)

// CreateCampaigns creates campaigns, each or not at all. The error is about the whole batch; what is wrong with an item is in
// its result.
func (s *Service) CreateCampaigns(ctx context.Context, account AdAccountID, items []Item[CampaignInput]) ([]Result[Campaign], error) {
	if err := checkBatch(len(items)); err != nil {
		return nil, err
	}
	var results []Result[Campaign]
	err := s.inTx(ctx, func(ctx context.Context, tx Tx) error {
		results = make([]Result[Campaign], len(items))
		_, err := tx.AdAccount(ctx, account)
		if err != nil {
			return err
		}
		for i, item := range items {
			c, problems := newCampaign(account, item.Input)
			if problems, err = s.checkOptions(ctx, tx, c, problems); err != nil {
				return err
			}
			if results[i].Err = invalid(item.Problems, problems); results[i].Err != nil {
				continue
			}
			created, err := tx.InsertCampaign(ctx, c)
			if err != nil {
				return fmt.Errorf("insert campaign: %w", err)
			}
			if err := tx.AddBudgets(ctx, created.budgets()); err != nil {
				return fmt.Errorf("add budgets: %w", err)
			}
			results[i].Value = created
		}
		return announce(ctx, tx, EntityCampaign, results, func(c Campaign) int64 { return int64(c.ID) })
	})
	return results, err
}

// UpdateCampaigns changes campaigns, each or not at all: what an item does not name stays.
func (s *Service) UpdateCampaigns(ctx context.Context, account AdAccountID, items []Item[CampaignUpdate]) ([]Result[Campaign], error) {
	if err := checkBatch(len(items)); err != nil {
		return nil, err
	}
	ids := make([]CampaignID, len(items))
	for i, item := range items {
		ids[i] = item.Input.ID
	}
	var results []Result[Campaign]
	err := s.inTx(ctx, func(ctx context.Context, tx Tx) error {
		results = make([]Result[Campaign], len(items))
		owner, err := tx.AdAccount(ctx, account)
		if err != nil {
			return err
		}
		stored, err := tx.LockCampaigns(ctx, account, ids)
		if err != nil {
			return fmt.Errorf("lock campaigns: %w", err)
		}
		var limits []Budget
		seen := map[CampaignID]bool{}
		for i, item := range items {
			before, found := stored[item.Input.ID]
			after, problems := changedCampaign(before, item.Input.CampaignInput)
			if item.Input.BidOptions.Given() {
				if problems, err = s.checkOptions(ctx, tx, after, problems); err != nil {
					return err
				}
			}
			refused := refuse(item.Problems, problems, item.Input.ID, seen, found, ErrCampaignNotFound)
			if refused != nil {
				results[i].Err = refused
				continue
			}
			if results[i].Value, err = tx.UpdateCampaign(ctx, after); err != nil {
				return fmt.Errorf("update campaign %d: %w", after.ID, err)
			}
			limits = append(limits, changedBudgets(before.budgets(), after.budgets())...)
		}
		if err := s.setLimits(ctx, tx, owner, limits); err != nil {
			return err
		}
		return announce(ctx, tx, EntityCampaign, results, func(c Campaign) int64 { return int64(c.ID) })
	})
	return results, err
}

// refuse says why one update is not written, or nil. An entity that is not there outranks problems of fields, except those
// that the decoder found.
func refuse[ID ~int64](decoded, rules []fault.Field, id ID, seen map[ID]bool, found bool, notFound *fault.Error) *fault.Error {
	var p fault.Fields
	checkID(&p, id, seen)
	switch {
	case len(p) > 0 || len(decoded) > 0:
		if found {
			p = append(p, rules...)
		} else if id != 0 {
			p.Add("id", notFound.Message)
		}
		return invalid(decoded, p)
	case !found:
		missing := *notFound
		missing.Fields = []fault.Field{{Name: "id", Message: notFound.Message}}
		return &missing
	}
	return invalid(nil, rules)
}

// announce tells the indexer of every entity that was written.
func announce[T any](ctx context.Context, tx Tx, entity string, results []Result[T], id func(T) int64) error {
	var written []int64
	for _, r := range results {
		if r.Err == nil {
			written = append(written, id(r.Value))
		}
	}
	if len(written) == 0 {
		return nil
	}
	if err := tx.Changed(ctx, entity, written); err != nil {
		return fmt.Errorf("write outbox: %w", err)
	}
	return nil
}

// Campaign returns one campaign, or ErrCampaignNotFound.
func (s *Service) Campaign(ctx context.Context, account AdAccountID, id CampaignID) (Campaign, error) {
	return s.store.Campaign(ctx, account, id)
}

// Campaigns lists the campaigns of an account, or returns ErrAdAccountNotFound.
func (s *Service) Campaigns(ctx context.Context, account AdAccountID, f Filter, page Page) ([]Campaign, error) {
	return listOf(ctx, s, account, func() ([]Campaign, error) { return s.store.Campaigns(ctx, account, f, page) })
}

// listOf runs a list of an account, and asks whether the account exists only when the list is empty.
func listOf[T any](ctx context.Context, s *Service, account AdAccountID, list func() ([]T, error)) ([]T, error) {
	found, err := list()
	if err != nil || len(found) > 0 {
		return found, err
	}
	_, err = s.store.AdAccount(ctx, account)
	return found, err
}
