// Package replaybench makes random auctions with every feature, records them, and replays the records: to see that all come out the
// same, and how fast.
//
// The same seed gives the same auctions, on any number of workers.
package replaybench
