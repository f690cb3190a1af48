package redis

import (
	"context"
	_ "embed" // the scripts
	"fmt"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"gavel/targeting"
)

//go:embed lua/fence.lua
var fenceLua string

//go:embed lua/claim.lua
var claimLua string

//go:embed lua/publish.lua
var publishLua string

//go:embed lua/checkpoint.lua
var checkpointLua string

//go:embed lua/append.lua
var appendLua string

//go:embed lua/trim.lua
var trimLua string

//go:embed lua/register.lua
var registerLua string

//go:embed lua/blobs.lua
var blobsLua string

//go:embed lua/forget.lua
var forgetLua string

//go:embed lua/refuse.lua
var refuseLua string

//go:embed lua/discard.lua
var discardLua string

//go:embed lua/users.lua
var usersLua string

//go:embed lua/members.lua
var membersLua string

//go:embed lua/impressions.lua
var impressionsLua string

var (
	claimScript       = goredis.NewScript(claimLua)
	publishScript     = goredis.NewScript(fenceLua + publishLua)
	checkpointScript  = goredis.NewScript(fenceLua + checkpointLua)
	appendScript      = goredis.NewScript(fenceLua + appendLua)
	trimScript        = goredis.NewScript(fenceLua + trimLua)
	registerScript    = goredis.NewScript(fenceLua + registerLua)
	blobsScript       = goredis.NewScript(fenceLua + blobsLua)
	forgetScript      = goredis.NewScript(fenceLua + forgetLua)
	refuseScript      = goredis.NewScript(fenceLua + refuseLua)
	discardScript     = goredis.NewScript(fenceLua + discardLua)
	usersScript       = goredis.NewScript(fenceLua + usersLua)
	membersScript     = goredis.NewScript(membersLua)
	impressionsScript = goredis.NewScript(impressionsLua)
)

// run calls a script within callTimeout.
func run(ctx context.Context, client goredis.UniversalClient, script *goredis.Script, keys []string, args ...any) *goredis.Cmd {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return script.Run(ctx, client, keys, args...)
}

// call is one call of a script in a pipeline.
type call struct {
	key  string
	args []any
}

// runAll pipelines calls of one script and returns the first error.
func runAll(ctx context.Context, client goredis.UniversalClient, script *goredis.Script, calls []call) error {
	for _, a := range answersOf(ctx, client, script, calls) {
		if err := a.Err(); err != nil {
			return sentinel(err)
		}
	}
	return nil
}

// answersOf pipelines calls of one script. What a call needs again because the server did not know the script is sent again whole;
// a call is never run twice.
func answersOf(ctx context.Context, client goredis.UniversalClient, script *goredis.Script, calls []call) []*goredis.Cmd {
	answers := make([]*goredis.Cmd, len(calls))
	pipe := client.Pipeline()
	for i, c := range calls {
		answers[i] = script.EvalSha(ctx, pipe, []string{c.key}, c.args...)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error

	again := client.Pipeline()
	for i, c := range calls {
		if goredis.HasErrorPrefix(answers[i].Err(), "NOSCRIPT") {
			answers[i] = script.Eval(ctx, again, []string{c.key}, c.args...)
		}
	}
	if again.Len() > 0 {
		_, _ = again.Exec(ctx)
	}
	return answers
}

// sentinel turns the errors that scripts answer with into this package's.
func sentinel(err error) error {
	switch {
	case err == nil:
		return nil
	case strings.HasPrefix(err.Error(), "STALE "):
		return fmt.Errorf("%w: %w", targeting.ErrStale, err)
	case strings.HasPrefix(err.Error(), "DAMAGED "):
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	case strings.HasPrefix(err.Error(), "GENERATION "):
		return fmt.Errorf("%w: %w", targeting.ErrGeneration, err)
	}
	return err
}
