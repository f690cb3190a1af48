// Package pacing moves the bids of ad groups that leave it to Gavel what to bid: AUTOMATIC_BID spends the budget at the lowest price,
// TARGET_AVG holds the average price.
//
// Each has a multiplier of its bid, which [Step] moves every few seconds by what was billed since: pure, so that the same code runs in
// the controller, of which there is one, and in a simulation. [Table] is what nodes know of it; a multiplier is a score, never money,
// and whatever it is nothing is spent past a budget: that is the money protocol's (package budget). See docs/bidding.md.
package pacing
