// Package redis answers the queries of targetbench by set operations on a Redis server: the way to match ads that needs no engine
// at all. It is a competitor in a benchmark and no part of what serves.
//
// Each column of targetbench.Columns is a key, <key number>:<value>. The server must hold nothing else.
package redis
