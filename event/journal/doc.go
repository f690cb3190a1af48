// Package journal is a node's durable queue of accepted events: hashicorp/raft-wal, which gives segments, an append of many
// records with one write and one fsync, and trimming at the front. Around it stands what raft-wal leaves to its user.
//
// # What is promised
//
//   - When Append returns nil, the disk has the records. Open gives them back, in order, or returns an error: never fewer of them.
//   - A torn tail, what is left of an append that a crash cut short, is cut off with a warning. Nobody was told of its records.
//   - Anything else that is not as it was written refuses to start: a damaged or missing record, segment, index or metadata
//     file. The error names the file and the record, and says what to do.
//   - After an error of a write or an fsync nothing is written any more: the state of the disk is unknown, and every later Append fails.
//   - While Full returns nil, what is admitted can be written: the open segment and the one after it are allocated on the disk in advance.
//
// # How a torn tail is told from damage
//
// raft-wal verifies the last append only, and takes a damaged frame header anywhere in the last segment for the end of the log:
// acknowledged records behind it would be gone without a word, and overwritten. So Open first reads every segment itself, and
// verifies each append by its checksum. Behind the last good one may be nothing, or the remains of one append. Each record says
// where the append that it belongs to begins, and has a checksum of its own; a whole record of an append that began later
// proves that the one missing before it had been synced: damage. The metadata also notes up to which record all was synced
// when it was last written, at the latest by Close. What remains open is the last append before a crash: damage to it looks
// like a torn tail.
//
// # The directory
//
// It belongs to one process at a time (lock) and to one node for ever (node-id), because only that node's restart bills what
// the journal still holds. wal/ has the segments, meta.0 and meta.1 (the metadata, written in turns), and spare, the next segment.
package journal
