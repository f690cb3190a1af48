// Package redis keeps the targeting index and the state of users in Redis.
//
// The keys are described in docs/redis-keys.md. Redis is disposable: everything here can be rebuilt from Postgres, except
// frequency counters, which start again at zero when Redis has lost them.
//
//   - [Store] is the writer's side, used by targeting/indexer: generations of immutable segments, and a log of changes that takes
//     them further; fenced by the epoch of the indexer, so that one that has been succeeded cannot write.
//   - [Follower] is the reader's side: it loads a generation into a [targeting.Replica] and follows the log. While Redis is
//     away, empty or damaged it keeps what it has. [Load] does the first of it once.
//   - [Describe] says what of the index is in Redis, to people.
//   - [Users] answers what is known of one user in one round trip, and counts impressions.
//
// What changes of the index shares one hash tag, each of its blobs has another, and each user, so that scripts work on Redis
// Cluster. Scripts are plain Lua in lua/, and none needs more than Redis 6.2.
package redis
