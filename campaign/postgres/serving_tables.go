package postgres

import (
	"context"

	"gavel/campaign"
)

// AudienceLists returns the current list of every audience that has one.
func (s *Serving) AudienceLists(context.Context) (map[campaign.AudienceID]campaign.ListID, error) {
	return map[campaign.AudienceID]campaign.ListID{}, nil
}

// Interests returns the taxonomy of interests, in order of the ids.
func (s *Serving) Interests(context.Context) ([]campaign.Interest, error) { return nil, nil }
