package campaign

import (
	"context"
	"fmt"
)

// CreateAds creates ads, each or not at all. The error is about the whole batch; what is wrong with an item is in its result.
func (s *Service) CreateAds(ctx context.Context, account AdAccountID, items []Item[AdInput]) ([]Result[Ad], error) {
	if err := checkBatch(len(items)); err != nil {
		return nil, err
	}
	var parents []AdGroupID
	for _, item := range items {
		parents = append(parents, item.Input.AdGroupID.Value)
	}
	var results []Result[Ad]
	err := s.inTx(ctx, func(ctx context.Context, tx Tx) error {
		results = make([]Result[Ad], len(items))
		if _, err := tx.AdAccount(ctx, account); err != nil {
			return err
		}
		groups, err := tx.LockAdGroups(ctx, account, parents)
		if err != nil {
			return fmt.Errorf("lock ad groups: %w", err)
		}
		for i, item := range items {
			a, problems := newAd(account, parentOf(groups, item.Input.AdGroupID.Value), item.Input)
			if results[i].Err = invalid(item.Problems, problems); results[i].Err != nil {
				continue
			}
			if results[i].Value, err = tx.InsertAd(ctx, a); err != nil {
				return fmt.Errorf("insert ad: %w", err)
			}
		}
		return announce(ctx, tx, EntityAd, results, func(a Ad) int64 { return int64(a.ID) })
	})
	return results, err
}

// UpdateAds changes ads, each or not at all: what an item does not name stays.
func (s *Service) UpdateAds(ctx context.Context, account AdAccountID, items []Item[AdUpdate]) ([]Result[Ad], error) {
	if err := checkBatch(len(items)); err != nil {
		return nil, err
	}
	ids := make([]AdID, len(items))
	for i, item := range items {
		ids[i] = item.Input.ID
	}
	var results []Result[Ad]
	err := s.inTx(ctx, func(ctx context.Context, tx Tx) error {
		results = make([]Result[Ad], len(items))
		if _, err := tx.AdAccount(ctx, account); err != nil {
			return err
		}
		stored, err := tx.LockAds(ctx, account, ids)
		if err != nil {
			return fmt.Errorf("lock ads: %w", err)
		}
		seen := map[AdID]bool{}
		for i, item := range items {
			before, found := stored[item.Input.ID]
			after, problems := changedAd(before, item.Input.AdInput)
			if results[i].Err = refuse(item.Problems, problems, item.Input.ID, seen, found, ErrAdNotFound); results[i].Err != nil {
				continue
			}
			if results[i].Value, err = tx.UpdateAd(ctx, after); err != nil {
				return fmt.Errorf("update ad %d: %w", after.ID, err)
			}
		}
		return announce(ctx, tx, EntityAd, results, func(a Ad) int64 { return int64(a.ID) })
	})
	return results, err
}

// Ad returns one ad, or ErrAdNotFound.
func (s *Service) Ad(ctx context.Context, account AdAccountID, id AdID) (Ad, error) {
	return s.store.Ad(ctx, account, id)
}

// Ads lists the ads of an account, or returns ErrAdAccountNotFound.
func (s *Service) Ads(ctx context.Context, account AdAccountID, f Filter, page Page) ([]Ad, error) {
	return listOf(ctx, s, account, func() ([]Ad, error) { return s.store.Ads(ctx, account, f, page) })
}
