package main

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	records "gavel/auction/postgres"
	"gavel/auction/recorder"
	"gavel/handlers"
)

// The bounds of recording: about two seconds of records at a rate that Postgres cannot keep up with, and what a graceful stop waits.
const (
	maxQueuedRecords     = 4096
	maxQueuedRecordBytes = 64 << 20
	maxRecordBatch       = 200
	recordLinger         = 200 * time.Millisecond
	recordTimeout        = 5 * time.Second
	recordRetry          = 500 * time.Millisecond
	recordGiveUp         = 30 * time.Second
	recordDrain          = 5 * time.Second
	explainTimeout       = 5 * time.Second
)

// openRecords makes what keeps decisions.
func (n *node) openRecords() error {
	counter, err := n.tel.Meter("gavel").Int64Counter("gavel.auctions.recorded", metric.WithUnit("{auction}"),
		metric.WithDescription("Auctions that were to be recorded, by what became of their record."))
	if err != nil {
		return fmt.Errorf("make metrics: %w", err)
	}
	fates := map[recorder.Fate]metric.MeasurementOption{}
	for _, f := range []recorder.Fate{recorder.Kept, recorder.Full, recorder.Failed, recorder.TooLarge} {
		fates[f] = metric.WithAttributeSet(attribute.NewSet(attribute.String("fate", string(f))))
	}
	n.records = records.NewRecords(n.db, time.Now) // ids have the machine's time, which the node's own clock may be ahead of
	n.recorder = recorder.New(recorder.Config{
		Store: n.records, Ratio: n.config.RecordRatio, Program: version,
		MaxQueued: maxQueuedRecords, MaxQueuedBytes: maxQueuedRecordBytes, MaxBatch: maxRecordBatch, Linger: recordLinger,
		SaveTimeout: recordTimeout, Retry: recordRetry, GiveUp: recordGiveUp, DrainTimeout: recordDrain, Log: n.log,
		Observe: func(ctx context.Context, f recorder.Fate, count int) { counter.Add(ctx, int64(count), fates[f]) },
	})
	return nil
}

// auctions explains what was recorded.
func (n *node) auctions() *handlers.AuctionServer {
	return &handlers.AuctionServer{Records: n.records, Ratio: n.config.RecordRatio, Timeout: explainTimeout}
}

// forgetRecords drops the records of yesterday.
func (n *node) forgetRecords(ctx context.Context) {
	if _, err := n.records.Forget(ctx); err != nil {
		n.log.WarnContext(ctx, "forget records of auctions", "error", err)
	}
}
