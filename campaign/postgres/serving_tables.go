package postgres

import (
	"context"

	"gavel/campaign"
)

// AudienceLists returns the current list of every audience that has one.
func (s *Serving) AudienceLists(context.Context) (map[campaign.AudienceID]campaign.ListID, error) {
	return map[campaign.AudienceID]campaign.ListID{}, nil
}
