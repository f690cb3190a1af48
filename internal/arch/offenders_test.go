package arch

import (
	"strings"
	"testing"
)

// TestOffendersAreReported shows the checker files that break one rule each, and their lawful neighbours: a checker that
// has never failed proves nothing.
func TestOffendersAreReported(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, path, src string
		want            string // part of the report; "" = lawful
	}{
		{"core to its parts", "auction/a.go", `package auction; import _ "gavel/targeting"`, ""},
		{"core to values", "auction/a.go", `package auction; import _ "gavel/internal/money"`, ""},
		{"core to another layer", "auction/a.go", `package auction; import _ "gavel/event"`, "imports gavel/event"},
		{"core to an adapter", "budget/b.go", `package budget; import _ "gavel/budget/postgres"`, "imports gavel/budget/postgres"},
		{"core to a leaf with I/O", "auction/a.go", `package auction; import _ "gavel/internal/telemetry"`, "imports gavel/internal/telemetry"},
		{"against the arrow", "campaign/c.go", `package campaign; import _ "gavel/targeting"`, "imports gavel/targeting"},
		{"handlers past the auction", "handlers/h.go", `package handlers; import _ "gavel/budget"`, "imports gavel/budget"},
		{"handlers to the auction", "handlers/h.go", `package handlers; import _ "gavel/auction"`, ""},
		{"import of the program", "event/e.go", `package event; import _ "gavel/cmd/gavel"`, "imports gavel/cmd/gavel"},
		{"import of the root", "event/e.go", `package event; import _ "gavel"`, "imports gavel"},

		{"adapter to its port", "budget/postgres/p.go", `package postgres; import _ "gavel/budget"`, ""},
		{"adapter to a leaf", "budget/postgres/p.go", `package postgres; import _ "gavel/internal/telemetry"`, ""},
		{"adapter as its port may", "event/journal/j.go", `package journal; import _ "gavel/budget"`, ""},
		{"adapter to adapter", "budget/postgres/p.go", `package postgres; import _ "gavel/campaign/postgres"`, "adapters never import each other"},
		{"adapter to sibling", "targeting/redis/r.go", `package redis; import _ "gavel/targeting/postgres"`, "adapters never import each other"},
		{"adapter to a foreign port", "budget/postgres/p.go", `package postgres; import _ "gavel/auction"`, "imports gavel/auction"},
		{"adapter of nothing", "shop/postgres/p.go", `package postgres`, "has no row"},
		{"leaf below a leaf", "internal/x/y/y.go", `package y; import _ "gavel/internal/money"`, ""},

		{"keeper of leases", "budget/keeper/k.go", `package keeper; import ("time"; _ "gavel/budget"); var t = time.Now()`, ""},
		{"keeper knowing its store", "budget/keeper/k.go", `package keeper; import _ "gavel/budget/postgres"`, "imports gavel/budget/postgres"},
		{"cmd wires", "cmd/gavel/m.go", `package main; import (_ "gavel/handlers"; _ "gavel/internal/devstack")`, ""},
		{"cmd ships no test help", "cmd/gavel/m.go", `package main; import _ "gavel/internal/testenv"`, "imports gavel/internal/testenv"},
		{"leaf to leaf", "internal/a/a.go", `package a; import _ "gavel/internal/money"`, ""},
		{"leaf to domain", "internal/a/a.go", `package a; import _ "gavel/campaign"`, "imports gavel/campaign"},
		{"leaf to devstack", "internal/a/a.go", `package a; import _ "gavel/internal/devstack"`, "imports gavel/internal/devstack"},
		{"testenv", "internal/testenv/t.go", `package testenv; import (_ "gavel/migrations"; _ "gavel/internal/devstack")`, ""},
		{"migrations", "migrations/m.go", `package migrations; import _ "gavel/internal/money"`, "imports gavel/internal/money"},
		{"loadtest", "loadtest/l.go", `package main; import _ "gavel/campaign"`, "imports gavel/campaign"},
		{"tools", "tools/x/x.go", `package main; import _ "gavel/internal/money"`, "imports gavel/internal/money"},
		{"unknown package", "shop/s.go", `package shop`, "has no row"},
		{"unknown child", "auction/util/u.go", `package util`, "has no row"},
		{"root", "r.go", `package gavel`, "Go file in the root"},
		{"root, pinned", "r.go", "//go:build deps\n\npackage deps", ""},

		{"test with testenv", "event/e_test.go", `package event; import _ "gavel/internal/testenv"`, ""},
		{"inner test with an adapter", "event/e_test.go", `package event; import _ "gavel/event/postgres"`, "imports gavel/event/postgres"},
		{"outer test with an adapter", "event/e_test.go", `package event_test; import _ "gavel/event/postgres"`, ""},
		{"outer test with a stranger", "budget/b_test.go", `package budget_test; import _ "gavel/auction"`, "imports gavel/auction"},
		{"adapter test with tables of others", "budget/postgres/p_test.go", `package postgres_test; import _ "gavel/campaign/postgres"`, ""},
		{"test importing handlers", "event/e_test.go", `package event_test; import _ "gavel/handlers"`, "imports gavel/handlers"},
		{"suite on its port", "budget/budgettest/s.go", `package budgettest; import _ "gavel/budget"`, ""},
		{"suite knowing an adapter", "budget/budgettest/s.go", `package budgettest; import _ "gavel/budget/postgres"`, "imports gavel/budget/postgres"},
		{"suite in a test", "budget/postgres/p_test.go", `package postgres_test; import _ "gavel/budget/budgettest"`, ""},
		{"suite in the program", "cmd/gavel/m.go", `package main; import _ "gavel/budget/budgettest"`, "imports gavel/budget/budgettest"},

		{"pq in handlers", "handlers/h.go", `package handlers; import _ "github.com/lib/pq"`, "imports github.com/lib/pq"},
		{"pq in an adapter", "budget/postgres/p.go", `package postgres; import _ "github.com/lib/pq"`, ""},
		{"sqlx in the redis adapter", "budget/redis/r.go", `package redis; import _ "github.com/jmoiron/sqlx"`, "imports github.com/jmoiron/sqlx"},
		{"redis in a domain", "event/e.go", `package event; import _ "github.com/redis/go-redis/v9"`, "imports github.com/redis/go-redis/v9"},
		{"redis in its adapter", "targeting/redis/r.go", `package redis; import _ "github.com/redis/go-redis/v9"`, ""},
		{"fiber in a domain", "report/r.go", `package report; import _ "github.com/gofiber/fiber/v2"`, "imports github.com/gofiber/fiber/v2"},
		{"fiber in handlers", "handlers/h.go", `package handlers; import _ "github.com/gofiber/fiber/v2"`, ""},
		{"sql errors in a domain", "campaign/c.go", `package campaign; import _ "database/sql"`, "imports database/sql"},
		{"SQL in handlers", "handlers/h.go", "package handlers; const q = `SELECT 1 FROM ads`", "holds SQL"},
		{"SQL in its place", "report/postgres/p.go", "package postgres; const q = `SELECT 1 FROM ads`", ""},
		{"an English sentence", "handlers/h.go", `package handlers; const q = "UPDATE of a campaign"`, ""},

		{"files in the core", "ranking/r.go", `package ranking; import _ "os"`, "imports os"},
		{"network in the core", "auction/a.go", `package auction; import _ "net/http"`, "imports net/http"},
		{"clock in the core", "auction/a.go", `package auction; import "time"; var t = time.Now()`, "uses time.Now"},
		{"clock passed on", "budget/b.go", `package budget; import "time"; var now = time.Now`, "uses time.Now"},
		{"clock under an alias", "budget/b.go", `package budget; import t "time"; var d = t.Since(t.Time{})`, "uses t.Since"},
		{"time as a value", "budget/b.go", `package budget; import "time"; func f(now time.Time) time.Time { return now.Add(time.Second) }`, ""},
		{"global randomness", "auction/a.go", `package auction; import "math/rand/v2"; var n = rand.IntN(3)`, "uses rand.IntN"},
		{"seeded randomness", "auction/a.go", `package auction; import "math/rand/v2"; var r = rand.New(rand.NewPCG(1, 2))`, ""},
		{"clock in a core test", "auction/a_test.go", `package auction; import "time"; var t = time.Now()`, ""},
		{"clock outside the core", "event/e.go", `package event; import "time"; var t = time.Now()`, ""},
		{"dot import", "ranking/r.go", `package ranking; import . "time"`, "with a dot"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := parse(tt.path, tt.src)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(check(s), "\n")
			if tt.want == "" && got != "" {
				t.Errorf("a lawful file is reported:\n%s", got)
			}
			if !strings.Contains(got, tt.want) {
				t.Errorf("report %q lacks %q", got, tt.want)
			}
		})
	}
}
