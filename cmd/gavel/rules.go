package main

import (
	"fmt"
	"os"

	"gavel/auction"
	"gavel/campaign"
	"gavel/handlers"
	"gavel/internal/money"
	"gavel/ranking"
	"gavel/ranking/trainer"
	"gavel/targeting"
)

// loadRules reads the rules of auctions, or takes the default ones when there is no file.
func loadRules(path string) (*auction.Rules, error) {
	if path == "" {
		return auction.DefaultRules(), nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("GAVEL_AUCTION_RULES: %w", err)
	}
	rules, err := auction.ParseRules(text)
	if err != nil {
		return nil, fmt.Errorf("GAVEL_AUCTION_RULES: %s: %w", path, err)
	}
	return rules, nil
}

// bidFloor answers by the rules. The bid per click is the least with which an ad of the highest click probability reaches the floor: below
// it no ad can ever be shown.
func bidFloor(rules *auction.Rules) handlers.BidFloor {
	return func(billable campaign.BillableEvent, countries []string) money.Micros {
		return rules.BidFloor(billable, countries, func(targeting.Placement) float64 { return ranking.MaxCTR })
	}
}

// learned is what the node follows, as auctions ask for it.
type learned struct{ *trainer.Follower }

var _ auction.Models = learned{}

func (l learned) Current() auction.Model { return auction.Learned{Snapshot: l.Follower.Current()} }
