package indexer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/zeebo/xxh3"

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
	// Source, Store and Replica are how many ads each has; Replica is -1 without one. Refused are ads of the source that cannot be
	// served, which nobody else should have.
	Source  int `json:"source_ads"`
	Refused int `json:"refused_ads"`
	Store   int `json:"store_ads"`
	Replica int `json:"replica_ads"`
	// StoreDiffers are the first ads that the store has not, or not as the source has them, or should not have. ReplicaDiffers
	// says the same of the replica.
	StoreDiffers   []campaign.AdID `json:"store_differs"`
	ReplicaDiffers []campaign.AdID `json:"replica_differs"`
	// TablesDiffer names the tables that are not the source's: "store: lists", "replica: interests".
	TablesDiffer []string `json:"tables_differ"`
}

// OK reports whether all are equal.
func (r Report) OK() bool {
	return len(r.StoreDiffers) == 0 && len(r.ReplicaDiffers) == 0 && len(r.TablesDiffer) == 0
}

// VerifyConfig is what Verify compares.
type VerifyConfig struct {
	Source Source
	// Boot boots an index from the store.
	Boot   Boot
	Bounds targeting.Bounds
	// Replica may be nil.
	Replica *targeting.Replica
}

// Verify compares the ads and tables of the source with those of an index that is booted from the store and, unless it is nil,
// with those of a replica. Changes may go on: what differs is looked at again, with a new boot, for three seconds.
func Verify(ctx context.Context, c VerifyConfig) (Report, error) {
	v := verifier{VerifyConfig: c, parser: targeting.NewParser(c.Bounds)}
	r, err := v.run(ctx)
	if err != nil {
		return r, fmt.Errorf("verify index: %w", err)
	}
	return r, nil
}

type verifier struct {
	VerifyConfig
	parser *targeting.Parser
	stored *targeting.Index
}

func (v *verifier) run(ctx context.Context) (r Report, err error) {
	r.Replica = -1
	suspects, err := v.scan(ctx, &r)
	if err != nil {
		return r, err
	}
	for try := 0; ; try++ {
		var inStore, inReplica []campaign.AdID
		if len(suspects) > 0 {
			if inStore, inReplica, err = v.compare(ctx, suspects); err != nil {
				return r, err
			}
			suspects = slices.Compact(slices.Sorted(slices.Values(slices.Concat(inStore, inReplica))))
		}
		if r.TablesDiffer, err = v.tables(ctx); err != nil {
			return r, err
		}
		if try == verifyTries || len(suspects)+len(r.TablesDiffer) == 0 {
			r.StoreDiffers, r.ReplicaDiffers = inStore[:min(len(inStore), maxListed)], inReplica[:min(len(inReplica), maxListed)]
			return r, nil
		}
		if !wait(ctx, verifyPause) {
			return r, ctx.Err()
		}
		if err := v.boot(ctx); err != nil {
			return r, err
		}
	}
}

func (v *verifier) boot(ctx context.Context) error {
	s, err := v.Boot(ctx)
	v.stored = s.Index
	return err
}

// replica is the replica's present index, nil if there is none.
func (v *verifier) replica() *targeting.Index {
	if v.Replica == nil {
		return nil
	}
	return v.Replica.Current()
}

// scan counts, and collects the ads that differ at first sight.
func (v *verifier) scan(ctx context.Context, r *Report) (suspects []campaign.AdID, err error) {
	if err := v.boot(ctx); err != nil {
		return nil, err
	}
	r.Store = v.stored.Len()
	others := map[campaign.AdID]bool{}
	for ad := range v.stored.Ads() {
		others[ad.AdID] = true
	}
	replica := v.replica()
	if replica != nil {
		r.Replica = replica.Len()
		for ad := range replica.Ads() {
			others[ad.AdID] = true
		}
	}
	err = eachPage(ctx, v.Source, func(page []campaign.ServingAd) error {
		r.Source += len(page)
		for _, serving := range page {
			delete(others, serving.AdID)
			want := v.record(serving)
			if want == "" {
				r.Refused++
			}
			if !has(v.stored, serving.AdID, want) || replica != nil && !has(replica, serving.AdID, want) {
				suspects = append(suspects, serving.AdID)
			}
		}
		return nil
	})
	for id := range others {
		suspects = append(suspects, id)
	}
	return suspects, err
}

// compare asks of some ads what they are now, and in which of the two they are something else.
func (v *verifier) compare(ctx context.Context, ids []campaign.AdID) (inStore, inReplica []campaign.AdID, err error) {
	want := make(map[campaign.AdID]string, len(ids))
	for chunk := range slices.Chunk(ids, batchSize) {
		changes := make([]campaign.Change, len(chunk))
		for i, id := range chunk {
			changes[i] = campaign.Change{Entity: campaign.EntityAd, EntityID: int64(id)}
			want[id] = ""
		}
		now, err := v.Source.Resolve(ctx, changes)
		if err != nil {
			return nil, nil, err
		}
		for _, ad := range now.Upserts {
			want[ad.AdID] = v.record(ad)
		}
	}
	replica := v.replica()
	for _, id := range ids {
		if !has(v.stored, id, want[id]) {
			inStore = append(inStore, id)
		}
		if replica != nil && !has(replica, id, want[id]) {
			inReplica = append(inReplica, id)
		}
	}
	return inStore, inReplica, nil
}

// tables names the tables that are not the source's.
func (v *verifier) tables(ctx context.Context) (differ []string, err error) {
	want, _, err := readTables(ctx, v.Source)
	if err != nil {
		return nil, err
	}
	look := func(name string, ix *targeting.Index) {
		if ix == nil {
			return
		}
		if !maps.Equal(want.Lists, ix.Tables().Lists) {
			differ = append(differ, name+": lists")
		}
		if !slices.Equal(want.Interests.All(), ix.Tables().Interests.All()) {
			differ = append(differ, name+": interests")
		}
	}
	look("store", v.stored)
	look("replica", v.replica())
	return differ, nil
}

// record is what an index should have of an ad of the source, "" if nothing: it is refused.
func (v *verifier) record(serving campaign.ServingAd) string {
	ad, err := v.parser.Parse(serving)
	if err != nil {
		return ""
	}
	return record(ad)
}

// has reports whether the index has the ad exactly so, or has it not if there is no record.
func has(ix *targeting.Index, id campaign.AdID, want string) bool {
	ad, found := ix.Ad(id)
	if !found || want == "" {
		return !found && want == ""
	}
	return record(ad) == want
}

// record is equal for equal ads.
func record(ad *targeting.Ad) string { return string(targeting.AppendAd(nil, ad)) }

// Digest is a number that two indexes have in common if they have the same ads, in whatever order.
func Digest(ix *targeting.Index) uint64 {
	var sum uint64
	var buf []byte
	for ad := range ix.Ads() {
		buf = targeting.AppendAd(buf[:0], ad)
		sum += xxh3.Hash(buf)
	}
	return sum
}
