package indexer

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"gavel/campaign"
	"gavel/targeting"
)

const (
	// verifyTries is how often a difference is looked at again before it counts: a change may be under way.
	verifyTries = 6
	verifyPause = 500 * time.Millisecond
	// maxListed is how many ads a Report lists of each kind.
	maxListed = 100
)

// Report is what Verify found.
type Report struct {
	// Source, Store and Replica are how many ads each has; Replica is -1 without one.
	Source  int `json:"source_ads"`
	Store   int `json:"store_ads"`
	Replica int `json:"replica_ads"`
	// StoreDiffers are the first ads that the store has not, or not as the source has them, or should not have. ReplicaDiffers
	// says the same of the replica; ads that NewAd refuses are among them.
	StoreDiffers   []campaign.AdID `json:"store_differs"`
	ReplicaDiffers []campaign.AdID `json:"replica_differs"`
}

// OK reports whether all are equal.
func (r Report) OK() bool { return len(r.StoreDiffers) == 0 && len(r.ReplicaDiffers) == 0 }

// Verify compares the ads of the source with those of the store and, unless it is nil, of a replica. Changes may go on: what
// differs is looked at again for three seconds.
func Verify(ctx context.Context, source Source, store Reader, replica *targeting.Replica) (Report, error) {
	r := Report{Replica: -1}
	suspects, err := r.scan(ctx, source, store, replica)
	if err != nil {
		return r, fmt.Errorf("verify index: %w", err)
	}
	var inStore, inReplica []campaign.AdID
	for try := 0; len(suspects) > 0; try++ {
		inStore, inReplica, err = compare(ctx, source, store, replica, suspects)
		if err != nil {
			return r, fmt.Errorf("verify index: %w", err)
		}
		suspects = slices.Compact(slices.Sorted(slices.Values(slices.Concat(inStore, inReplica))))
		if try == verifyTries || len(suspects) == 0 {
			break
		}
		if !wait(ctx, verifyPause) {
			return r, fmt.Errorf("verify index: %w", ctx.Err())
		}
	}
	r.StoreDiffers, r.ReplicaDiffers = inStore[:min(len(inStore), maxListed)], inReplica[:min(len(inReplica), maxListed)]
	return r, nil
}

// scan counts, and collects the ads that differ at first sight.
func (r *Report) scan(ctx context.Context, source Source, store Reader, replica *targeting.Replica) ([]campaign.AdID, error) {
	stored, err := store.IDs(ctx)
	if err != nil {
		return nil, err
	}
	r.Store = len(stored)
	others := map[campaign.AdID]bool{}
	for _, id := range stored {
		others[id] = true
	}
	var index *targeting.Index
	if replica != nil {
		index = replica.Current()
		r.Replica = index.Len()
		for ad := range index.Ads() {
			others[ad.AdID] = true
		}
	}
	var suspects []campaign.AdID
	for last := campaign.AdID(0); ; {
		page, err := source.Serving(ctx, last, batchSize)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			break
		}
		last = page[len(page)-1].AdID
		r.Source += len(page)
		different, err := store.Different(ctx, page)
		if err != nil {
			return nil, err
		}
		suspects = append(suspects, different...)
		for _, ad := range page {
			delete(others, ad.AdID)
			if index != nil && !holds(index, ad) {
				suspects = append(suspects, ad.AdID)
			}
		}
	}
	for id := range others {
		suspects = append(suspects, id)
	}
	return suspects, nil
}

// compare asks of some ads what they are now, and in which of the two they are something else.
func compare(ctx context.Context, source Source, store Reader, replica *targeting.Replica, ids []campaign.AdID) (inStore, inReplica []campaign.AdID, err error) {
	stored, err := store.IDs(ctx)
	if err != nil {
		return nil, nil, err
	}
	for chunk := range slices.Chunk(ids, batchSize) {
		changes := make([]campaign.Change, len(chunk))
		for i, id := range chunk {
			changes[i] = campaign.Change{Entity: campaign.EntityAd, EntityID: int64(id)}
		}
		now, err := source.Resolve(ctx, changes)
		if err != nil {
			return nil, nil, err
		}
		different, err := store.Different(ctx, now.Upserts)
		if err != nil {
			return nil, nil, err
		}
		inStore = append(inStore, different...)
		for _, id := range now.Removals {
			if _, found := slices.BinarySearch(stored, id); found {
				inStore = append(inStore, id)
			}
		}
		if replica == nil {
			continue
		}
		index := replica.Current()
		for _, ad := range now.Upserts {
			if !holds(index, ad) {
				inReplica = append(inReplica, ad.AdID)
			}
		}
		for _, id := range now.Removals {
			if _, found := index.Ad(id); found {
				inReplica = append(inReplica, id)
			}
		}
	}
	return inStore, inReplica, nil
}

// holds reports whether the index has the ad exactly so.
func holds(index *targeting.Index, want campaign.ServingAd) bool {
	have, found := index.Ad(want.AdID)
	if !found {
		return false
	}
	ad, err := targeting.NewAd(want, targeting.Bounds{MaxCTR: 1}) // the record does not depend on it
	return err == nil && bytes.Equal(targeting.AppendAd(nil, ad), targeting.AppendAd(nil, have))
}
