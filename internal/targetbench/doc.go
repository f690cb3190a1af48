// Package targetbench compares ways to match ads: it makes a market of ads and a stream of queries from a seed, gives both to
// engines, times them, and holds every answer against the reference rule (targeting.Match).
//
// Rules. The same seed gives the same ads, queries and changes on every machine. All engines get the same ads, in the order of
// the index, and the same queries, in the same order. An engine whose answers are not those of the rule is reported as such
// and still timed. Times are nanoseconds, sizes bytes.
package targetbench
