package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/jmoiron/sqlx"
	goredis "github.com/redis/go-redis/v9"

	"gavel/auction"
	records "gavel/auction/postgres"
	"gavel/auction/recorder"
	"gavel/budget"
	"gavel/budget/keeper"
	bank "gavel/budget/postgres"
	"gavel/campaign"
	campaigns "gavel/campaign/postgres"
	"gavel/event"
	"gavel/event/journal"
	conversions "gavel/event/postgres"
	"gavel/handlers"
	"gavel/internal/telemetry"
	"gavel/migrations"
	"gavel/ranking/trainer"
	"gavel/targeting"
	"gavel/targeting/indexer"
	index "gavel/targeting/redis"
)

// node is a running gavel: what was started, in the order in which it stops.
type node struct {
	config config
	log    *slog.Logger
	tel    *telemetry.Telemetry

	db      *sqlx.DB
	redis   goredis.UniversalClient
	store   *campaigns.Store
	serving *campaigns.Serving
	service *campaign.Service
	ring    *campaign.KeyRing

	databaseID string

	journal *journal.Journal
	clock   *event.Clock
	ingest  *event.Ingest
	biller  *event.Biller
	bank    *bank.Node
	wallet  *budget.Wallet
	keeper  *keeper.Keeper

	replica  *targeting.Replica
	follower *index.Follower
	indexer  *indexer.Indexer
	metrics  *metrics
	records  *records.Records
	recorder *recorder.Recorder
	models   *trainer.Follower
	trainer  *trainer.Trainer
	bids     *bids
	rules    *auction.Rules

	app      *fiber.App
	admin    *http.Server
	ads      net.Listener
	adsAddr  net.Addr
	adminAdr net.Addr

	violations atomic.Int64
	failed     chan error
	jobs       sync.WaitGroup // indexer, follower, keys, audit: stop at once
	stopJobs   context.CancelFunc
	billing    sync.WaitGroup // biller and keeper: stop after the last request
	stopBills  context.CancelFunc
}

const (
	commitTimeout   = 10 * time.Second
	commitRetry     = 200 * time.Millisecond
	maxBillingBatch = 4000
	keeperTimeout   = 5 * time.Second
	eventTimeout    = 5 * time.Second
	auditTimeout    = 15 * time.Minute // of a large day
)

// startNode starts everything and returns when the node serves. On an error nothing is left running.
func startNode(ctx context.Context, c config, tel *telemetry.Telemetry, recorder *telemetry.Recorder) (_ *node, err error) {
	n := &node{config: c, tel: tel, log: tel.Logger(), failed: make(chan error, 8)}
	n.violations.Store(-1)
	jobs, stopJobs := context.WithCancel(context.WithoutCancel(ctx))
	bills, stopBills := context.WithCancel(context.WithoutCancel(ctx))
	n.stopJobs, n.stopBills = stopJobs, stopBills
	defer func() {
		if err != nil {
			err = errors.Join(err, n.abandon())
		}
	}()
	if err := n.openStores(ctx); err != nil {
		return nil, err
	}
	if err := n.openMoney(ctx); err != nil {
		return nil, err
	}
	if err := n.openMetrics(); err != nil {
		return nil, err
	}
	if err := n.openRecords(); err != nil {
		return nil, err
	}
	if err := n.openModels(ctx); err != nil {
		return nil, err
	}
	n.startJobs(jobs, bills)
	if err := n.listen(ctx, recorder); err != nil {
		return nil, err
	}
	return n, nil
}

// openStores connects to Postgres and Redis. Redis may be away: paid ads need the index only, which comes back by itself.
func (n *node) openStores(ctx context.Context) (err error) {
	if n.rules, err = loadRules(n.config.AuctionRules); err != nil {
		return err
	}
	if n.db, err = openDatabase(ctx, string(n.config.DatabaseURL), n.tel.TracerProvider()); err != nil {
		return err
	}
	pending, err := migrations.Pending(ctx, n.db.DB)
	if err != nil {
		return err
	}
	if pending {
		return errors.New("the database's schema is not that of this version: run gavel migrate up")
	}
	goredis.SetLogger(redisLog{n.log})
	if n.redis, err = index.Open(string(n.config.RedisURL)); err != nil {
		return fmt.Errorf("REDIS_URL: %w", err)
	}
	id, err := bank.New(n.db).DatabaseID(ctx)
	if err != nil {
		return err
	}
	n.databaseID = id.String()
	n.store, n.serving = campaigns.NewStore(n.db), campaigns.NewServing(n.db)
	n.service = campaign.NewService(campaign.Config{
		Store: n.store, ValidateTargeting: targeting.Canonicalize, CheckKeyword: targeting.CheckKeyword, CheckInterests: targeting.CheckTaxonomy,
		TargetingOptions: targeting.Options, Now: time.Now, Random: rand.Reader,
	})
	n.ring = campaign.NewKeyRing(n.store, n.log)
	if err := n.ring.Refresh(ctx); err != nil {
		return err
	}
	n.bids = newBids(n.db.DB, n.log, time.Now)
	n.replica = &targeting.Replica{}
	n.follower = index.NewFollower(index.FollowerConfig{
		Client: n.redis, Replica: n.replica, Bounds: modelBounds(), Log: n.log, Now: time.Now,
	})
	return nil
}

// openMoney opens the journal and joins the protocol, in the order that it demands: clock and journal, join, then the rest.
func (n *node) openMoney(ctx context.Context) (err error) {
	keys, err := event.ParseKeys(string(n.config.TokenKeys))
	if err != nil {
		return fmt.Errorf("GAVEL_TOKEN_KEYS: %w", err)
	}
	if n.journal, err = journal.Open(n.config.JournalDir, journal.Options{Log: n.log}); err != nil {
		return err
	}
	n.clock = event.NewClock(event.Ticks())
	n.ingest, err = event.NewIngest(event.IngestConfig{
		Keys: keys, Clock: n.clock, Journal: n.journal, MaxUnbilled: n.config.MaxUnbilled, Fatal: n.fail, Trace: n.tel.Tracer("gavel/event"),
	})
	if err != nil {
		return err
	}
	times := bank.GrantTimes{TTL: n.config.LeaseTTL, EventTTL: n.config.EventTTL}
	var start time.Time
	if n.bank, start, err = bank.New(n.db).Join(ctx, n.journal.NodeID(), n.ingest.Newest(), times); err != nil {
		return fmt.Errorf("node %s: %w", n.journal.NodeID(), err)
	}
	n.clock.Raise(start)
	n.log.InfoContext(ctx, "node joined", "node", n.bank.ID, "epoch", n.bank.Epoch, "unbilled", n.ingest.Unbilled())
	n.wallet = budget.NewWallet(budget.WalletConfig{TTL: n.config.LeaseTTL, EventTTL: n.config.EventTTL})
	n.keeper = keeper.New(keeper.Config{
		Wallet: n.wallet, Bank: n.bank, Tick: n.clock.Tick, Now: n.clock.Now, Raise: n.clock.Raise, Watermark: n.ingest.Watermark, Log: n.log, Timeout: keeperTimeout,
	})
	n.biller = event.NewBiller(event.BillerConfig{
		Ingest: n.ingest, Committer: tracedBank{n.bank, n.tel.Tracer("gavel/event")}, Views: views{index.NewUsers(n.redis, n.clock.Now), n.replica, func(c []index.Counted) { n.metrics.viewed(c) }},
		MaxBatch: maxBillingBatch, CommitTimeout: commitTimeout, Retry: commitRetry, Log: n.log,
		Observe: func(o map[budget.Outcome]int, took time.Duration) { n.metrics.committed(o, took) },
		Clicked: func(age time.Duration) { n.wallet.Clicked(n.clock.Tick(), age) },
	})
	return nil
}

func (n *node) openMetrics() (err error) {
	n.metrics, err = newMetrics(n.tel.Meter("gavel"), gauges{
		unbilled:     func() int64 { return int64(n.ingest.Unbilled()) },
		watermarkAge: func() time.Duration { return n.clock.Now().Sub(n.ingest.Watermark()) },
		leaseRest:    func() int64 { rest, _ := n.wallet.Held(n.clock.Tick()); return int64(rest) },
		leases:       func() int64 { _, count := n.wallet.Held(n.clock.Tick()); return int64(count) },
		indexAds:     func() int64 { return int64(n.replica.Current().Len()) },
		violations:   n.violations.Load,
	})
	if err != nil {
		return fmt.Errorf("make metrics: %w", err)
	}
	return nil
}

// startJobs starts what works beside the requests.
func (n *node) startJobs(jobs, bills context.Context) {
	n.indexer = indexer.New(indexer.Config{
		Source: n.serving, Store: index.NewStore(n.redis), Lead: lead(n.serving), SourceID: n.databaseID,
		Bounds: modelBounds(), Snapshot: n.follower.Snapshot, Log: n.log, Now: time.Now,
	})
	n.jobs.Go(func() { n.ring.Run(jobs) })
	n.startModels(jobs)
	n.jobs.Go(func() { _ = n.indexer.Run(jobs) })  // as the follower
	n.jobs.Go(func() { _ = n.follower.Run(jobs) }) // it tries again whatever happens, and returns nil
	n.jobs.Go(func() { n.bids.Run(jobs) })
	n.jobs.Go(func() { n.recorder.Run(jobs) })
	n.jobs.Go(func() { everyMinute(jobs, n.minute) })
	n.jobs.Go(func() { everyMinute(jobs, n.audit) })
	n.billing.Go(func() {
		if err := n.biller.Run(bills); err != nil && bills.Err() == nil {
			n.fail(fmt.Errorf("billing: %w", err))
		}
	})
	n.billing.Go(func() {
		if err := n.keeper.Run(bills); err != nil {
			n.fail(fmt.Errorf("budget: %w", err))
		}
	})
}

// everyMinute does a job every minute, never twice at once.
func everyMinute(ctx context.Context, job func(context.Context)) {
	t := time.NewTicker(time.Minute)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		job(ctx)
	}
}

// minute makes tomorrow's partitions, forgets old idempotency keys, uploads and records of auctions, and fences silent nodes.
func (n *node) minute(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := n.bank.EnsurePartitions(ctx, n.clock.Now()); err != nil {
		n.log.WarnContext(ctx, "partitions of events", "error", err)
	}
	if err := n.service.ForgetAnswers(ctx); err != nil {
		n.log.WarnContext(ctx, "forget idempotency keys", "error", err)
	}
	if err := n.service.ForgetUploads(ctx); err != nil {
		n.log.WarnContext(ctx, "forget uploads", "error", err)
	}
	n.forgetRecords(ctx)
	n.fenceSilent(ctx)
}

// audit does what is due of the live audit and logs the violations that are known.
func (n *node) audit(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, auditTimeout)
	defer cancel()
	violations, err := n.bank.AuditLive(ctx)
	if err != nil {
		n.log.WarnContext(ctx, "audit", "error", err)
		return
	}
	n.violations.Store(int64(len(violations)))
	for _, v := range violations {
		n.log.ErrorContext(ctx, "audit: violation", "invariant", v.Invariant, "detail", v.Detail)
	}
}

// fenceSilent gives up the nodes that have been silent for too long, if the configuration says so.
func (n *node) fenceSilent(ctx context.Context) {
	if n.config.FenceAfter == 0 {
		return
	}
	fenced, err := n.bank.FenceSilent(ctx, n.config.FenceAfter)
	if err != nil {
		n.log.WarnContext(ctx, "fence silent nodes", "error", err)
	}
	for _, id := range fenced {
		n.log.WarnContext(ctx, "fenced a silent node", "node", id, "after", n.config.FenceAfter)
	}
}

// listen opens both listeners and serves.
func (n *node) listen(ctx context.Context, recorder *telemetry.Recorder) error {
	users := knownUsers{index.NewUsers(n.redis, n.clock.Now), n.follower.Status}
	keys, err := event.ParseKeys(string(n.config.TokenKeys))
	if err != nil {
		return fmt.Errorf("GAVEL_TOKEN_KEYS: %w", err)
	}
	middleware, err := n.tel.Middleware(trusted)
	if err != nil {
		return fmt.Errorf("make telemetry: %w", err)
	}
	n.app = handlers.New(handlers.Deps{
		Telemetry: middleware, Service: n.service, Keys: n.ring, BidFloor: bidFloor(n.rules),
		Ads: &handlers.AdServer{
			Auctions: &auction.Auctioneer{
				Ads: readyAds{n.replica, n.follower}, Users: users, Budget: n.wallet, Models: learned{n.models}, Paces: n.bids, Rules: n.rules,
				Records: n.recorder,
				Trace:   n.tel.Tracer("gavel/auction"),
				Config:  auction.Config{UserTimeout: n.config.UserTimeout, LeaseWait: n.config.LeaseWait, Candidates: 200},
			},
			Clock: n.clock, Keys: keys, EventTTL: n.config.EventTTL, PublicURL: n.config.PublicURL, Timeout: n.config.RequestTimeout,
			Observe: n.metrics.decision,
		},
		Events:      &handlers.EventServer{Ingest: n.ingest, Destination: n.destination, Timeout: eventTimeout, Observe: n.metrics.event},
		Auctions:    n.auctions(),
		Conversions: conversions.NewConversions(n.db),
	})
	ads, err := new(net.ListenConfig).Listen(ctx, "tcp", n.config.AdsAddr)
	if err != nil {
		return fmt.Errorf("GAVEL_ADS_ADDR: %w", err)
	}
	admin, err := new(net.ListenConfig).Listen(ctx, "tcp", n.config.AdminAddr)
	if err != nil {
		return errors.Join(fmt.Errorf("GAVEL_ADMIN_ADDR: %w", err), ads.Close())
	}
	n.ads, n.adsAddr, n.adminAdr = ads, ads.Addr(), admin.Addr()
	n.admin = &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: telemetry.AdminHandler(telemetry.AdminOptions{
		Gatherer: n.tel.Gatherer(), Recorder: recorder, Version: version, Log: n.log, Checks: n.checks(),
		Pages: []telemetry.AdminPage{
			{Path: "/index", About: "the targeting index of this node; with ?digest=1 also a digest of its ads", Show: n.showIndex},
			{Path: "/model", About: "the model of this node, and what its trainer has learned", Show: n.showModel},
		},
	})}
	n.jobs.Go(func() {
		if err := n.admin.Serve(admin); !errors.Is(err, http.ErrServerClosed) {
			n.fail(fmt.Errorf("admin listener: %w", err))
		}
	})
	n.jobs.Go(func() {
		if err := n.app.Listener(ads); err != nil {
			n.fail(fmt.Errorf("ads listener: %w", err))
		}
	})
	return nil
}

// checks are behind /readyz. A node without Postgres still serves what it holds and journals events, so Postgres is not one.
func (n *node) checks() []telemetry.Check {
	return []telemetry.Check{
		{Name: "index", Func: n.follower.Ready},
		{Name: "journal", Func: func(context.Context) error { return n.ingest.Full() }},
	}
}

// destination looks an ad up in the replica and, when it is no longer served, in the database.
func (n *node) destination(ctx context.Context, id campaign.AdID) (string, bool, error) {
	if ad, ok := n.replica.Current().Ad(id); ok {
		return ad.Creative().DestinationURL, true, nil
	}
	return n.serving.Destination(ctx, id)
}

// fail stops the node from inside: the process ends with err.
func (n *node) fail(err error) {
	select {
	case n.failed <- err:
	default:
	}
}
