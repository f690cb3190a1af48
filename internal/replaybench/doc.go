// Package replaybench makes random auctions with every feature, for gavel bench replay and for tests of records. The same seed and number
// give the same auction.
package replaybench
