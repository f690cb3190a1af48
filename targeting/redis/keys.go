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
const schema = "2"

func keyLog(generation string) string { return "{gavel:index}:" + generation + ":log" }

// keyChunk is where a piece of a blob is. The pieces of one blob are in one slot, those of different blobs are spread.
func keyChunk(blob string, n int) string { return "{gavel:index:" + blob + "}:" + strconv.Itoa(n) }

func userTag(userHash int64) string {
	const digits = "0123456789abcdef"
	var hex [16]byte
	for i := range hex {
		hex[i] = digits[uint64(userHash)>>(60-4*i)&15]
	}
	return "{u:" + string(hex[:]) + "}"
}

// keyAudiences holds the memberships of a user, keyViews the counted impressions.
func keyAudiences(userHash int64) string { return userTag(userHash) + ":a" }
func keyViews(userHash int64) string     { return userTag(userHash) + ":v" }
