// Package testenv gives a test what it needs of the outside: an empty, migrated database of its own, and a Redis of its own.
// `go test ./...` needs no preparation, and neither DATABASE_URL nor REDIS_URL is looked at: a test never touches a server that
// it did not start.
//
//	func TestSomething(t *testing.T) {
//		t.Parallel()
//		db := sqlx.MustConnect("postgres", testenv.Postgres(t))
//		t.Cleanup(func() { _ = db.Close() })
//		…
//	}
//
// # How
//
// The first test of a test binary that asks starts one Postgres, or one Redis, for all tests of that binary ([devstack] finds
// or fetches the programs). The schema is applied once, to a template; each test gets a clone of it. The servers end with the
// binary, however it ends, and their directories go with them: no TestMain is needed. A pair per binary costs less than a
// second, and is simpler and more robust than one that all binaries share.
//
// # Rules
//
//   - With -short, [Postgres], [Redis] and their kin skip the test. Otherwise a test that cannot get a server fails, it never skips.
//   - [Redis] hands out numbered databases of one server. What is not per database crosses over: FLUSHALL, pub/sub channels,
//     CLIENT and CONFIG commands, scripts. Tests that use those, or that kill or pause their server, take [RedisProcess].
//   - Packages that look for leaked goroutines ignore [LeakOptions]: one goroutine watches each server.
package testenv
