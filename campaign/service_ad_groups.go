package campaign

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"gavel/internal/fault"
)

// CreateAdGroups creates ad groups, each or not at all. The error is about the whole batch; what is wrong with an item is in
// its result.
func (s *Service) CreateAdGroups(ctx context.Context, account AdAccountID, items []Item[AdGroupInput]) ([]Result[AdGroup], error) {
	if err := checkBatch(len(items)); err != nil {
		return nil, err
	}
	var parents []CampaignID
	for _, item := range items {
		parents = append(parents, item.Input.CampaignID.Value)
	}
	var results []Result[AdGroup]
	err := s.inTx(ctx, func(ctx context.Context, tx Tx) error {
		results = make([]Result[AdGroup], len(items))
		if _, err := tx.AdAccount(ctx, account); err != nil {
			return err
		}
		campaigns, err := tx.LockCampaigns(ctx, account, parents)
		if err != nil {
			return fmt.Errorf("lock campaigns: %w", err)
		}
		for i, item := range items {
			g, problems := newAdGroup(account, parentOf(campaigns, item.Input.CampaignID.Value), item.Input, s.validate)
			if problems, err = s.checkNamed(ctx, tx, g, problems); err != nil {
				return err
			}
			if results[i].Err = invalid(item.Problems, problems); results[i].Err != nil {
				continue
			}
			created, err := tx.InsertAdGroup(ctx, g)
			if err != nil {
				return fmt.Errorf("insert ad group: %w", err)
			}
			if err := tx.AddBudgets(ctx, created.budgets()); err != nil {
				return fmt.Errorf("add budgets: %w", err)
			}
			results[i].Value = created
		}
		return announce(ctx, tx, EntityAdGroup, results, func(g AdGroup) int64 { return int64(g.ID) })
	})
	return results, err
}

// UpdateAdGroups changes ad groups, each or not at all: what an item does not name stays.
func (s *Service) UpdateAdGroups(ctx context.Context, account AdAccountID, items []Item[AdGroupUpdate]) ([]Result[AdGroup], error) {
	if err := checkBatch(len(items)); err != nil {
		return nil, err
	}
	ids := make([]AdGroupID, len(items))
	for i, item := range items {
		ids[i] = item.Input.ID
	}
	var results []Result[AdGroup]
	err := s.inTx(ctx, func(ctx context.Context, tx Tx) error {
		results = make([]Result[AdGroup], len(items))
		owner, err := tx.AdAccount(ctx, account)
		if err != nil {
			return err
		}
		stored, campaigns, err := lockAdGroups(ctx, tx, account, ids)
		if err != nil {
			return err
		}
		var limits []Budget
		seen := map[AdGroupID]bool{}
		for i, item := range items {
			before, found := stored[item.Input.ID]
			after, problems := changedAdGroup(before, parentOf(campaigns, before.CampaignID), item.Input.AdGroupInput, s.validate)
			if item.Input.TargetingSpec.Given() {
				if problems, err = s.checkNamed(ctx, tx, after, problems); err != nil {
					return err
				}
			}
			if results[i].Err = refuse(item.Problems, problems, item.Input.ID, seen, found, ErrAdGroupNotFound); results[i].Err != nil {
				continue
			}
			if results[i].Value, err = tx.UpdateAdGroup(ctx, after); err != nil {
				return fmt.Errorf("update ad group %d: %w", after.ID, err)
			}
			limits = append(limits, changedBudgets(before.budgets(), after.budgets())...)
		}
		if err := s.setLimits(ctx, tx, owner, limits); err != nil {
			return err
		}
		return announce(ctx, tx, EntityAdGroup, results, func(g AdGroup) int64 { return int64(g.ID) })
	})
	return results, err
}

// lockAdGroups locks ad groups and then their campaigns.
func lockAdGroups(ctx context.Context, tx Tx, account AdAccountID, ids []AdGroupID) (map[AdGroupID]AdGroup, map[CampaignID]Campaign, error) {
	groups, err := tx.LockAdGroups(ctx, account, ids)
	if err != nil {
		return nil, nil, fmt.Errorf("lock ad groups: %w", err)
	}
	var parents []CampaignID
	for _, g := range groups {
		parents = append(parents, g.CampaignID)
	}
	campaigns, err := tx.LockCampaigns(ctx, account, parents)
	if err != nil {
		return nil, nil, fmt.Errorf("lock campaigns: %w", err)
	}
	return groups, campaigns, nil
}

func parentOf[ID comparable, T any](found map[ID]T, id ID) *T {
	if parent, ok := found[id]; ok {
		return &parent
	}
	return nil
}

// checkNamed adds a problem for each thing that g's targeting names and that is not there.
func (s *Service) checkNamed(ctx context.Context, tx Tx, g AdGroup, problems []fault.Field) ([]fault.Field, error) {
	problems, err := s.checkInterests(ctx, tx, g, problems)
	if err != nil {
		return nil, err
	}
	return s.checkAudiences(ctx, tx, g, problems)
}

// checkAudiences adds a problem for each audience that g's targeting names and its account does not have: who is in an
// audience is its owner's secret.
func (s *Service) checkAudiences(ctx context.Context, tx Tx, g AdGroup, problems []fault.Field) ([]fault.Field, error) {
	var spec struct {
		Include []string `json:"AUDIENCE_INCLUDE"`
		Exclude []string `json:"AUDIENCE_EXCLUDE"`
	}
	if err := json.Unmarshal(g.TargetingSpec, &spec); err != nil {
		return problems, nil //nolint:nilerr // what is wrong with the spec is the validator's to say, and it has
	}
	var ids []AudienceID
	for _, text := range slices.Concat(spec.Include, spec.Exclude) {
		if id, err := strconv.ParseInt(text, 10, 64); err == nil {
			ids = append(ids, AudienceID(id))
		}
	}
	if len(ids) == 0 {
		return problems, nil
	}
	owned, err := tx.AudiencesOf(ctx, g.AdAccountID, ids)
	if err != nil {
		return nil, fmt.Errorf("find audiences: %w", err)
	}
	p := fault.Fields(problems)
	report := func(field string, texts []string) {
		for _, text := range texts {
			if id, err := strconv.ParseInt(text, 10, 64); err != nil || !slices.Contains(owned, AudienceID(id)) {
				p.Add("targeting_spec."+field, "names the audience "+text+", which this ad account does not have")
			}
		}
	}
	report("AUDIENCE_INCLUDE", spec.Include)
	report("AUDIENCE_EXCLUDE", spec.Exclude)
	return p, nil
}

// AdGroup returns one ad group, or ErrAdGroupNotFound.
func (s *Service) AdGroup(ctx context.Context, account AdAccountID, id AdGroupID) (AdGroup, error) {
	return s.store.AdGroup(ctx, account, id)
}

// AdGroups lists the ad groups of an account, or returns ErrAdAccountNotFound.
func (s *Service) AdGroups(ctx context.Context, account AdAccountID, f Filter, page Page) ([]AdGroup, error) {
	return listOf(ctx, s, account, func() ([]AdGroup, error) { return s.store.AdGroups(ctx, account, f, page) })
}
