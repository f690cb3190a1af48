package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"sync"
	"time"
)

// indexerLock is the key of the advisory lock of the indexer; any number will do that no other lock of the database has.
const indexerLock = 7_040_220_261

const (
	tryLeadSQL   = `SELECT pg_try_advisory_lock($1)`
	leaveLeadSQL = `SELECT pg_advisory_unlock($1)`
	epochSQL     = `SELECT nextval('indexer_epochs')`
	aliveSQL     = `SELECT true`
)

const (
	// leadCheck is how often a leader asks whether its connection still lives.
	leadCheck = time.Second
	// leadTimeout is how long the answer may take.
	leadTimeout = 2 * time.Second
)

// Lead is the right to write the index: at most one exists in a database whose connection lives. A leader that was cut off
// learns of it late, so what it writes must carry the Epoch and be refused once a larger one was seen.
type Lead struct {
	// Epoch is larger than that of every lead before.
	Epoch int64
	// Lost is closed when the lead is over: its connection is gone, or Close was called.
	Lost <-chan struct{}

	conn *sql.Conn
	stop chan struct{}
	once sync.Once
}

// LeadIndexer takes the lead if nobody has it. ok is false, without an error, when somebody has. The lead holds one
// connection of the pool until Close.
func (s *Serving) LeadIndexer(ctx context.Context) (lead *Lead, ok bool, err error) {
	conn, err := s.db.DB.Conn(ctx)
	if err != nil {
		return nil, false, fmt.Errorf("connect: %w", coded(err))
	}
	var taken bool
	var epoch int64
	if err = conn.QueryRowContext(ctx, tryLeadSQL, indexerLock).Scan(&taken); err == nil && taken {
		err = conn.QueryRowContext(ctx, epochSQL).Scan(&epoch)
	}
	if err != nil {
		discard(conn) // it may hold the lock
		return nil, false, fmt.Errorf("take the indexer's lead: %w", coded(err))
	}
	if !taken {
		return nil, false, conn.Close()
	}
	lost := make(chan struct{})
	lead = &Lead{Epoch: epoch, Lost: lost, conn: conn, stop: make(chan struct{})}
	go lead.watch(lost)
	return lead, true, nil
}

// watch ends the lead when its connection does, or when it is stopped.
func (l *Lead) watch(lost chan<- struct{}) {
	defer close(lost)
	defer discard(l.conn)
	tick := time.NewTicker(leadCheck)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			l.ask(leaveLeadSQL, indexerLock) // so that the lock is free before Close returns; discard would free it a little later
			return
		case <-tick.C:
		}
		if !l.ask(aliveSQL) {
			return
		}
	}
}

// ask runs a query that answers true, and reports whether it did in time.
func (l *Lead) ask(query string, args ...any) bool {
	ctx, cancel := context.WithTimeout(context.Background(), leadTimeout)
	defer cancel()
	var yes bool
	return l.conn.QueryRowContext(ctx, query, args...).Scan(&yes) == nil && yes
}

// Close gives the lead up and waits until the lock is free to be taken. It may be called more than once.
func (l *Lead) Close() {
	l.once.Do(func() { close(l.stop) })
	<-l.Lost
}

// discard closes the connection itself instead of giving it back to the pool: a session lock would go with it.
func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // this is how database/sql is told to drop it
	_ = conn.Close()
}
