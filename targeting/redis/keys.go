package redis

import "strconv"

// The keys, see docs/redis-keys.md. All of the index but its blobs are in one slot of a cluster.
const (
	keyMeta        = "{gavel:index}:meta"
	keyManifest    = "{gavel:index}:manifest"
	keyBlobs       = "{gavel:index}:blobs"
	keyGenerations = "{gavel:index}:generations"
	keyRefused     = "{gavel:index}:refused"
	keyUsers       = "{gavel:index}:users"
	keyRebuild     = "{gavel:index}:rebuild"
	keyProgress    = "{gavel:index}:progress"
)

// schema is the version of the layout. A node serves only what it can read.
const schema = "3"

func keyLog(generation string) string { return "{gavel:index}:" + generation + ":log" }

// keyChunk is where a piece of a blob is. The pieces of one blob are in one slot, those of different blobs are spread.
func keyChunk(blob string, n int) string { return "{gavel:index:" + blob + "}:" + strconv.Itoa(n) }

// bucketBits is how many bits of a user's hash choose the bucket: a hash with the lists of all users who share them.
const bucketBits = 20

// keyBucket holds the lists of a user and of others, keyViews the impressions of the user.
func keyBucket(userHash int64) string { return userTag(userHash) + ":a" }

func keyViews(userHash int64) string {
	hex := strconv.FormatUint(1<<(64-bucketBits)|uint64(userHash)&(1<<(64-bucketBits)-1), 16)
	return userTag(userHash) + ":v:" + hex[1:]
}
