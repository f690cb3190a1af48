package torture

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"gavel/internal/failpoint"
)

// pointFaults are what happens when a node is killed at a named point.
func pointFaults() []Fault {
	rows := make([]Fault, 0, len(failpoint.Points()))
	for _, p := range failpoint.Points() {
		hits := hitsOf(p)
		rows = append(rows, Fault{
			Name:  "kill-at-" + strings.ReplaceAll(string(p), ".", "-"),
			About: fmt.Sprintf("a node is killed at %s, %d times", p, len(hits)),
			Short: p == failpoint.BillingAfterCommit,
			Run:   func(ctx context.Context, w *World) error { return killAt(ctx, w, p, hits) },
		})
	}
	return rows
}

// hitsOf are the hits at which a node is killed, one start after the other: the first one a node comes to, which is in what its
// last life left behind, and later ones under load. They are fewer where a point is reached once a second at most.
func hitsOf(p failpoint.Point) []int {
	switch p {
	case failpoint.JoinAfter:
		return []int{1, 1, 1, 1, 1, 1}
	case failpoint.BillingBeforeTrim, failpoint.BillingAfterTrim, failpoint.CloseBeforeCommit:
		return []int{1, 2, 1, 3}
	case failpoint.BillingBeforeCommit, failpoint.BillingInCommit, failpoint.BillingAfterCommit, failpoint.GrantBeforeCommit, failpoint.GrantAfterCommit:
		return []int{1, 8, 1, 2, 15, 4} // a busy machine makes few batches, large ones
	default:
		return []int{1, 30, 1, 2, 60, 10}
	}
}

// pointWithin is how long a node may take to come to a point: leases are closed when their tokens have expired.
const pointWithin = 40 * time.Second

// lastWords is how long the rest of a node goes on when one goroutine has come to the point: an answer that is given too early
// reaches the client before the node dies.
const lastWords = 30 * time.Millisecond

// killAt ends one node after the other and starts it with the point armed, waits until it has died of that, and starts it without.
func killAt(ctx context.Context, w *World, p failpoint.Point, hits []int) error {
	if !failpoint.Enabled {
		return &NotRunError{Reason: "this program has no failpoints: build it with -tags faults"}
	}
	for i, hit := range hits {
		n := w.Nodes[i%len(w.Nodes)]
		if err := n.Kill(); err != nil {
			return err
		}
		if err := n.Launch(fmt.Sprintf("GAVEL_FAILPOINTS=%s=sleep:%v@%d,%s=kill@%d", p, lastWords, hit, p, hit)); err != nil {
			return err
		}
		n.MayExit()
		began := time.Now()
		select {
		case <-n.Exited():
		case <-time.After(pointWithin):
			return fmt.Errorf("node %d has not come to %s for the %d. time within %v", n.Number, p, hit, pointWithin)
		case <-ctx.Done():
			return ctx.Err()
		}
		if !saysPoint(n.logFile, p) {
			return fmt.Errorf("node %d did not die of %s: %w; %s", n.Number, p, orEnded(n.exitError()), lastLine(n.logFile))
		}
		w.Log("node %d died at %s, hit %d, after %v", n.Number, p, hit, time.Since(began).Round(time.Millisecond))
		if err := n.Start(ctx); err != nil {
			return err
		}
		if err := Wait(ctx, time.Second); err != nil {
			return err
		}
	}
	return nil
}

// saysPoint reports whether the point's word is in the last lines of a log: it is written just before the end, but other
// goroutines may still say something.
func saysPoint(path string, p failpoint.Point) bool {
	text, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Contains(strings.Join(lines[max(0, len(lines)-20):], "\n"), "failpoint "+string(p)+":")
}
