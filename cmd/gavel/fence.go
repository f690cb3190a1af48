package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"gavel/budget"
	bank "gavel/budget/postgres"
	"gavel/internal/money"
)

// heardLately: a node that was heard of so short a time ago is most likely alive.
const heardLately = 10 * time.Second

type nodesCmd struct {
	databaseFlag
	JSON bool `name:"json" help:"Print the list as JSON."`
}

// nodeView is a node as `gavel nodes --json` shows it.
type nodeView struct {
	ID          uuid.UUID              `json:"id"`
	State       budget.NodeState       `json:"state"`
	Epoch       int64                  `json:"epoch"`
	StartedAt   time.Time              `json:"started_at"`
	SilentMS    int64                  `json:"silent_ms"`
	Watermark   time.Time              `json:"watermark"`
	OpenLeases  int                    `json:"open_leases"`
	EscrowNanos map[string]money.Nanos `json:"escrow_nanos"`
}

// Run lists the nodes.
func (c nodesCmd) Run(ctx context.Context, w world) (err error) {
	db, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	nodes, err := bank.New(db).Nodes(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		views := make([]nodeView, len(nodes))
		for i, n := range nodes {
			views[i] = nodeView{n.ID, n.State, n.Epoch, n.Started, n.Silent.Milliseconds(), n.Watermark, n.OpenLeases, n.Escrow}
		}
		e := json.NewEncoder(w.stdout)
		e.SetIndent("", "  ")
		return e.Encode(views)
	}
	t := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tSTATE\tEPOCH\tSTARTED\tSILENT FOR\tOPEN LEASES\tIN ESCROW")
	for _, n := range nodes {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%d\t%s\n", n.ID, n.State, n.Epoch, n.Started.UTC().Format(time.RFC3339), n.Silent.Round(time.Second), n.OpenLeases, amounts(n.Escrow))
	}
	return t.Flush()
}

// amounts writes sums by currency.
func amounts(sums map[string]money.Nanos) string {
	var parts []string
	for _, currency := range slices.Sorted(maps.Keys(sums)) {
		parts = append(parts, sums[currency].String()+" "+currency)
	}
	if parts == nil {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

type fenceCmd struct {
	databaseFlag
	NodeID uuid.UUID `arg:"" help:"As gavel nodes shows it."`
	Yes    bool      `help:"Do it. Without it, the command says what would happen."`
	Force  bool      `help:"Also a node that was heard of in the last 10 seconds."`
}

// Run fences a node.
func (c fenceCmd) Run(ctx context.Context, w world) (err error) {
	db, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	store := bank.New(db)
	nodes, err := store.Nodes(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(nodes, func(n bank.NodeStatus) bool { return n.ID == c.NodeID })
	switch {
	case i < 0:
		return fmt.Errorf("fence %s: %w", c.NodeID, bank.ErrUnknownNode)
	case nodes[i].State != budget.Live:
		return fmt.Errorf("fence %s: %w but %s", c.NodeID, bank.ErrNotLive, nodes[i].State)
	}
	n := nodes[i]
	fmt.Fprintf(w.stdout, "node %s, epoch %d, has been silent for %s.\n", n.ID, n.Epoch, n.Silent.Round(time.Second))
	fmt.Fprintf(w.stdout, "It has %d open leases with %s in escrow, which will no longer wait for it.\n", n.OpenLeases, amounts(n.Escrow))
	fmt.Fprintln(w.stdout, "Its journal may hold accepted events that are not billed. If it comes back it bills them from what is free then;")
	fmt.Fprintln(w.stdout, "what is not free, or is lost with its disk, was served and will not be charged. Nothing is ever charged past a budget.")
	if n.Silent < heardLately && !c.Force {
		return fmt.Errorf("fence %s: it was heard of %s ago and is most likely alive: stop it instead, or add --force", n.ID, n.Silent.Round(time.Millisecond))
	}
	if !c.Yes {
		return errors.New("nothing was done: add --yes to fence it")
	}
	if err := store.Fence(ctx, n.ID); err != nil {
		return err
	}
	fmt.Fprintln(w.stdout, "fenced")
	return nil
}
