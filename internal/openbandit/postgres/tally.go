package postgres

import (
	"context"
	_ "embed" // the queries
	"fmt"
	"strconv"
	"strings"

	"gavel/internal/openbandit"
)

// DB is a connection that reads rows into a slice of structs by their db tags.
type DB interface {
	SelectContext(ctx context.Context, into any, query string, args ...any) error
}

var (
	//go:embed sql/events.sql
	eventsSQL string
	//go:embed sql/charges.sql
	chargesSQL string
	//go:embed sql/postings.sql
	postingsSQL string
)

// Tally reads the tally of some ad accounts, of all if there are none. It is consistent once the server is at rest.
func Tally(ctx context.Context, db DB, accounts []int64) (openbandit.Tally, error) {
	texts := make([]string, len(accounts))
	for i, id := range accounts {
		texts[i] = strconv.FormatInt(id, 10)
	}
	ids := strings.Join(texts, ",")
	var t openbandit.Tally
	for _, q := range []struct {
		into any
		sql  string
		what string
	}{{&t.Events, eventsSQL, "events"}, {&t.Charges, chargesSQL, "charges"}, {&t.Postings, postingsSQL, "budgets"}} {
		if err := db.SelectContext(ctx, q.into, q.sql, ids); err != nil {
			return t, fmt.Errorf("read %s: %w", q.what, err)
		}
	}
	return t, nil
}
