// Package indexer carries changes of campaigns from the outbox in Postgres to the targeting index in Redis.
//
// Every node runs an [Indexer]; the one that holds the lead works. Its writes carry the epoch of the lead, so one that was cut
// off and does not know it is refused. What it guarantees:
//
//   - A change leaves the outbox only after the store has accepted what it means now. Crashes repeat work, and repeating is
//     harmless: a change says which entity is different, never what it was.
//   - A store that was emptied, restarted, written by another database's indexer, or found damaged is rebuilt, ads first, then
//     memberships. Nodes keep serving their replica meanwhile. Changes to ads wait while ads are rebuilt.
//   - Audiences are "not known" to everybody from the moment memberships may be incomplete until all are written again.
//   - Uploads of many users go past the outbox, in pieces, in the order of users and with a cursor in the source: a change of a
//     campaign waits for one piece at most, and the next leader goes on where the last one was.
//   - A store that does not answer loses nothing: the outbox keeps it.
//
// [Verify] compares the source, the store and a replica.
package indexer
