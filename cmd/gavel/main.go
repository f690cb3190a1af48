// Command gavel is the ads-serving backend: the server, its development stack, and the tools around them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // account time zones must not depend on the machine

	"github.com/alecthomas/kong"
)

// version is set by the linker in releases.
var version = "dev"

// errUnclean makes the exit status 1 without a message: the command has said what there was to say.
var errUnclean = errors.New("unclean")

// world is what a command gets from outside.
type world struct {
	getenv         func(string) string
	environ        []string
	stdin          io.Reader
	stdout, stderr io.Writer
}

type cli struct {
	Dev        devCmd        `cmd:"" help:"Start everything from nothing: Postgres, Redis, a demo account, the server."`
	Serve      serveCmd      `cmd:"" help:"Serve ads in production; configured by environment variables."`
	Migrate    migrateCmd    `cmd:"" help:"Apply, take back or list the migrations of the database."`
	Audit      auditCmd      `cmd:"" help:"Check the money invariants I1-I6 on a live database; exit status 1 on a violation."`
	Key        keyCmd        `cmd:"" help:"Create, list and revoke API keys."`
	Interests  interestsCmd  `cmd:"" help:"Load and list the taxonomy of interests."`
	Nodes      nodesCmd      `cmd:"" help:"List the nodes and what they hold."`
	Fence      fenceCmd      `cmd:"" help:"Give up a node that is gone for good, so that its leases can close."`
	Refund     refundCmd     `cmd:"" help:"Give back what events were charged, for example invalid traffic."`
	Bench      benchCmd      `cmd:"" help:"Measure: matching beside other engines, and the way of the index."`
	Replay     replayCmd     `cmd:"" help:"Decide recorded auctions again and compare bit for bit; exit status 1 on a difference."`
	Index      indexCmd      `cmd:"" help:"Show, check or rebuild the targeting index in Redis."`
	Modelcheck modelcheckCmd `cmd:"" help:"Run the money protocol through faults in virtual time and look for broken invariants."`
	Audience   audienceCmd   `cmd:"" help:"Upload the users of audiences."`
	Model      modelCmd      `cmd:"" help:"List, show and pin what the trainer has learned."`
	Loadtest   loadtestCmd   `cmd:"" help:"Drive a running server with a load."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
	TortureCmds
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], world{getenv: os.Getenv, environ: os.Environ(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr})
	stop()
	if err != nil {
		if !errors.Is(err, errUnclean) {
			fmt.Fprintln(os.Stderr, "gavel:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, w world) error {
	var c cli
	parser, err := kong.New(&c, kong.Name("gavel"), kong.Description("An ads-serving backend that never overspends."),
		kong.Writers(w.stdout, w.stderr), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		return fmt.Errorf("read commands: %w", err)
	}
	command, err := parser.Parse(args)
	if err != nil {
		return fmt.Errorf("%w (try: gavel --help)", err)
	}
	command.BindTo(ctx, (*context.Context)(nil))
	command.Bind(w)
	return command.Run()
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(w world) error {
	_, err := fmt.Fprintln(w.stdout, "gavel", version)
	return err
}
