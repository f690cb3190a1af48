// Package failpoint ends a process at named places, so that a test can see what a crash there leaves behind.
//
// Without the build tag "faults", [Hit] is empty and the compiler leaves nothing of a call. With it, the environment variable
// GAVEL_FAILPOINTS says what happens at which hit of which point:
//
//	GAVEL_FAILPOINTS="billing.in-commit=kill@3,event.before-ack=sleep:50ms@1"
//
// kill is SIGKILL to the process itself, and [Hit] does not return. sleep holds the goroutine up. @N is the N-th hit since the
// process started, counted from 1 for each point; what is asked for at the same hit happens in the order of the list. A variable
// that cannot be read, or names a point that is not here, panics at the first hit of any point: a test that injects nothing must
// not pass.
package failpoint

// Point is a place in the program.
type Point string

// The points. One that is named after a commit is hit for each transaction of its kind, and for each try of it.
const (
	// JournalBeforeAppend is before events that wait for their answer are written to the journal.
	JournalBeforeAppend Point = "journal.before-append"
	// JournalAfterAppend is when they are durable and nobody has been told.
	JournalAfterAppend Point = "journal.after-append"
	// EventBeforeAck is before one client is told that its event is accepted.
	EventBeforeAck Point = "event.before-ack"

	// BillingBeforeCommit is when a batch has been read from the journal, before its transaction begins.
	BillingBeforeCommit Point = "billing.before-commit"
	// BillingInCommit is in the transaction of a batch, when all but COMMIT has been done.
	BillingInCommit Point = "billing.in-commit"
	// BillingAfterCommit is when the transaction of a batch is committed and the node has not noted it.
	BillingAfterCommit Point = "billing.after-commit"
	// BillingBeforeTrim is before the journal forgets what is billed.
	BillingBeforeTrim Point = "billing.before-trim"
	// BillingAfterTrim is when it has.
	BillingAfterTrim Point = "billing.after-trim"

	// GrantBeforeCommit is in the transaction that grants leases, when all but COMMIT has been done.
	GrantBeforeCommit Point = "grant.before-commit"
	// GrantAfterCommit is when leases are granted and the node does not know.
	GrantAfterCommit Point = "grant.after-commit"
	// CloseBeforeCommit is in the transaction that closes leases, when all but COMMIT has been done.
	CloseBeforeCommit Point = "close.before-commit"
	// JoinAfter is when a node has joined in a new epoch and has done nothing in it.
	JoinAfter Point = "join.after"
)

// Points are all points.
func Points() []Point {
	return []Point{
		JournalBeforeAppend, JournalAfterAppend, EventBeforeAck,
		BillingBeforeCommit, BillingInCommit, BillingAfterCommit, BillingBeforeTrim, BillingAfterTrim,
		GrantBeforeCommit, GrantAfterCommit, CloseBeforeCommit, JoinAfter,
	}
}
