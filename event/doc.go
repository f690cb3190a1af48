// Package event turns what a browser reports into billed events, each exactly once.
//
// A [Token] is sealed when an ad is served and comes back in an event's URL. [Ingest.Accept] opens it, appends the event to
// the node's journal, waits until the disk has it, and only then says that it is accepted. The [Biller] takes accepted events
// from the journal in batches to the [Committer] and trims the journal when their outcome is known. Whatever crashes in
// between, an accepted event is committed again after the restart, and the committer bills it once.
//
// The [Clock] of a node never goes back. The watermark (see [Ingest.Watermark]) says up to which time everything that the
// node accepted is billed; leases are closed against it, never against a wall clock.
//
// The package knows no HTTP and no SQL; the journal's adapter is event/journal, the committer's budget/postgres.
package event
