package indexer

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"gavel/campaign"
	"gavel/targeting"
)

const (
	// readPage is how many ads are read of the source at a time.
	readPage = 10_000
	// pagesAhead is how many pages are read before they are parsed.
	pagesAhead = 2
	// progressEvery is how often a rebuild says how far it is.
	progressEvery = time.Second
)

// rebuild reads everything from the source and publishes it as a new generation. Changes that are committed meanwhile stay in
// the outbox, and are applied to the new generation.
func (t *term) rebuild(ctx context.Context, reason string) error {
	log, store, start, generation := t.x.c.Log, t.x.c.Store, t.x.c.Now(), t.newGeneration()
	log.Info("targeting index is rebuilt", "reason", reason, "generation", generation)
	t.checkpoints.stop()
	if err := store.TakeRebuildRequest(ctx); err != nil {
		return err
	}
	if err := store.Sweep(ctx, t.epoch); err != nil { // what was left half written makes room
		return err
	}
	ix, refused, err := t.readAll(ctx)
	if err != nil {
		return err
	}
	if err := store.Refuse(ctx, t.epoch, true, refused); err != nil {
		return err
	}
	t.refused = refused
	read := t.x.c.Now()
	p := targeting.Publication{Name: generation, Index: ix, Bounds: t.x.c.Bounds, Progress: t.progress(ctx, "segments written: %d of %d")}
	if err := store.Publish(ctx, t.epoch, p, start); err != nil {
		return err
	}
	now := t.x.c.Now()
	t.generation, t.seq, t.unsure, t.rebuiltAt, t.sweepAt = generation, 0, 0, now, now.Add(sweepAfter)
	t.x.update(func(s *Status) { s.Rebuilds++ })
	log.Info("targeting index was rebuilt", "generation", generation, "ads", ix.Len(), "refused", len(refused),
		"read_ms", read.Sub(start).Milliseconds(), "write_ms", now.Sub(read).Milliseconds())
	return store.Discard(ctx, t.epoch)
}

// readAll makes an index of what the source has, and says which ads cannot be served and why.
func (t *term) readAll(ctx context.Context) (ix *targeting.Index, refused map[campaign.AdID]string, err error) {
	tables, misshapen, err := readTables(ctx, t.x.c.Source)
	if err != nil {
		return nil, nil, err
	}
	if misshapen != nil {
		t.x.c.Log.Warn("the taxonomy of interests is not served: every interest stands alone", "error", misshapen)
	}
	var ads []*targeting.Ad
	refused = map[campaign.AdID]string{}
	progress := t.progress(ctx, "ads read: %d, refused: %d")
	err = eachPage(ctx, t.x.c.Source, func(page []campaign.ServingAd) error {
		for _, serving := range page {
			ad, err := t.parser.Parse(serving)
			if err != nil {
				t.x.c.Log.Warn("an ad is not served", "ad", int64(serving.AdID), "error", err)
				refused[serving.AdID] = err.Error()
				continue
			}
			ads = append(ads, ad)
		}
		progress(len(ads), len(refused))
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return targeting.Build(ads, tables), refused, nil
}

// readTables reads the lists of audiences and the taxonomy of interests. misshapen says why the taxonomy is none; then there are no
// interests in the tables.
func readTables(ctx context.Context, source Source) (t targeting.Tables, misshapen, err error) {
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	lists, err := source.AudienceLists(ctx)
	if err != nil {
		return t, nil, err
	}
	interests, err := source.Interests(ctx)
	if err != nil {
		return t, nil, err
	}
	t.Lists = make(map[campaign.ListID]campaign.AudienceID, len(lists))
	for audience, list := range lists {
		if list != 0 {
			t.Lists[list] = audience
		}
	}
	if len(interests) > 0 {
		t.Interests, misshapen = targeting.NewTaxonomy(interests)
	}
	return t, misshapen, nil
}

// eachPage reads all ads that may be served and calls each with page after page, while the next are read.
func eachPage(ctx context.Context, source Source, each func(page []campaign.ServingAd) error) error {
	group, ctx := errgroup.WithContext(ctx)
	pages := make(chan []campaign.ServingAd, pagesAhead)
	group.Go(func() error {
		defer close(pages)
		for last := campaign.AdID(0); ; {
			page, err := readOne(ctx, source, last)
			if err != nil || len(page) == 0 {
				return err
			}
			select {
			case pages <- page:
			case <-ctx.Done():
				return ctx.Err()
			}
			last = page[len(page)-1].AdID
		}
	})
	group.Go(func() error {
		for page := range pages {
			if err := each(page); err != nil {
				return err
			}
		}
		return nil
	})
	return group.Wait()
}

func readOne(ctx context.Context, source Source, after campaign.AdID) ([]campaign.ServingAd, error) {
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	return source.Serving(ctx, after, readPage)
}

// progress returns a function that says two numbers now and then. Nobody needs to hear it.
func (t *term) progress(ctx context.Context, format string) func(a, b int) {
	var said time.Time
	return func(a, b int) {
		if now := t.x.c.Now(); now.Sub(said) >= progressEvery {
			said = now
			_ = t.x.c.Store.Progress(ctx, fmt.Sprintf(format, a, b))
		}
	}
}
