// Package trainer is the half of ranking that lives in wall-clock time.
//
// Every node runs a [Trainer]; the one that holds the lead reads what happened from the event store, learns it, and publishes an immutable
// snapshot now and then. What it has read, what it knows and the snapshot are saved in one transaction: whatever crashes, the next trainer
// goes on from there and learns nothing twice and leaves nothing out. A snapshot whose predictions are off, or not numbers, is refused:
// the store keeps why, and nodes keep the last good one.
//
// Every node also runs a [Follower], which polls for the newest good snapshot and holds it for the auctions. It never waits on their
// path, and a store that does not answer leaves it what it has.
package trainer
