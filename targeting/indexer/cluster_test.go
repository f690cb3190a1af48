package indexer_test

import (
	"math/rand/v2"
	"testing"

	"gavel/internal/testenv"
)

// TestAMasterOfTheClusterIsKilled changes campaigns while the masters of a Redis Cluster are killed and come back empty, one after
// the other.
func TestAMasterOfTheClusterIsKilled(t *testing.T) {
	t.Parallel()
	w, cluster := newWorld(t, 50), testenv.RedisCluster(t)
	a, b := newNode(t, w, cluster.URL, often), newNode(t, w, cluster.URL, often)
	r := rand.New(rand.NewPCG(5, 6))
	change := func() {
		for range 30 {
			w.random(t, r, 50)
		}
	}
	change()
	a.equal(t, w)
	for master := range cluster.Masters() {
		cluster.Kill(master)
		change()
		cluster.Restart(master)
		cluster.AwaitWhole()
		change()
		a.equal(t, w)
		b.equal(t, w)
	}
}
