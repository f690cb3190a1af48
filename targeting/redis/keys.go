package redis

import (
	"strconv"

	"gavel/campaign"
)

// The keys, see docs/redis-keys.md. All of the index are in one slot of a cluster.
const (
	keyMeta        = "{gavel:index}:meta"
	keyGenerations = "{gavel:index}:generations"
	keyUsers       = "{gavel:index}:users"
	keyRebuild     = "{gavel:index}:rebuild"
)

// segments is how many hashes the records of a generation are spread over, so that no single one grows past what Redis scans
// and deletes quickly.
const segments = 64

// schema is the version of the layout and of the records. A node serves only what it can read.
const schema = "1"

func keyLog(generation string) string { return "{gavel:index}:" + generation + ":log" }

func keySegment(generation string, n int) string {
	return "{gavel:index}:" + generation + ":seg:" + strconv.Itoa(n)
}

// segmentOf spreads ids, which are dense, evenly.
func segmentOf(id campaign.AdID) int { return int(uint64(id) % segments) }

// keysOf lists every key of a generation.
func keysOf(generation string) []string {
	keys := []string{keyLog(generation)}
	for n := range segments {
		keys = append(keys, keySegment(generation, n))
	}
	return keys
}

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

func idText(id campaign.AdID) string { return strconv.FormatInt(int64(id), 10) }
