package campaign

import (
	"context"
	"encoding/json"
	"fmt"

	"gavel/internal/fault"
)

// InterestNode is an interest where it is in the taxonomy.
type InterestNode struct {
	Interest
	// Level is 1 at the top. Children are the ids of the interests right below, sorted.
	Level    int
	Children []string
}

// CheckInterests says why a list of interests is no taxonomy; nil if it is one.
type CheckInterests func(all []Interest) error

// keyInterest is the key whose values are the taxonomy's.
const keyInterest = "INTEREST"

// ReplaceInterests makes all the taxonomy of interests, in one step, and returns how many were new, changed or dropped. Ad groups
// keep the interests that they target, also those that are dropped. An error of the check is returned as it is.
func (s *Service) ReplaceInterests(ctx context.Context, all []Interest) (changed int, err error) {
	if err := s.interests(all); err != nil {
		return 0, err
	}
	err = s.inTx(ctx, func(ctx context.Context, tx Tx) error {
		if changed, err = tx.ReplaceInterests(ctx, all); err != nil {
			return fmt.Errorf("replace interests: %w", err)
		}
		if changed == 0 {
			return nil
		}
		return tx.Changed(ctx, EntityInterests, []int64{0})
	})
	return changed, err
}

// Interests returns the whole taxonomy in the order of the ids.
func (s *Service) Interests(ctx context.Context) ([]Interest, error) { return s.store.Interests(ctx) }

// Interest returns one interest, or ErrInterestNotFound.
func (s *Service) Interest(ctx context.Context, id string) (InterestNode, error) {
	return s.store.Interest(ctx, id)
}

// TargetingOptions lists the values of a key of a targeting spec, sorted; ErrNoOptions for a key without a list.
func (s *Service) TargetingOptions(ctx context.Context, key string) ([]TargetingOption, error) {
	if key == keyInterest {
		all, err := s.store.Interests(ctx)
		options := make([]TargetingOption, len(all))
		for i, in := range all {
			options[i] = TargetingOption{in.ID, in.Name}
		}
		return options, err
	}
	if options := s.options(key); options != nil {
		return options, nil
	}
	return nil, ErrNoOptions
}

// checkInterests adds a problem for each interest that g's targeting names and the taxonomy, if there is one, does not have.
func (s *Service) checkInterests(ctx context.Context, tx Tx, g AdGroup, problems []fault.Field) ([]fault.Field, error) {
	var spec struct {
		Interest []string `json:"INTEREST"`
	}
	if err := json.Unmarshal(g.TargetingSpec, &spec); err != nil || len(spec.Interest) == 0 {
		return problems, nil //nolint:nilerr // what is wrong with the spec is the validator's to say, and it has
	}
	unknown, err := tx.UnknownInterests(ctx, spec.Interest)
	if err != nil {
		return nil, fmt.Errorf("find interests: %w", err)
	}
	p := fault.Fields(problems)
	for _, id := range unknown {
		p.Add("targeting_spec."+keyInterest, fmt.Sprintf("names the interest %q, which the taxonomy does not have", id))
	}
	return p, nil
}
