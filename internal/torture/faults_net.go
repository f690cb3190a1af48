package torture

import (
	"context"
	"fmt"
	"slices"
	"time"

	"gavel/internal/netfault"
)

// side is Postgres or Redis as the nodes reach it.
type side struct {
	name    string
	proxies func(w *World) []*netfault.Proxy
}

var (
	postgresSide = side{"postgres", func(w *World) []*netfault.Proxy { return w.PostgresProxies }}
	redisSide    = side{"redis", func(w *World) []*netfault.Proxy { return w.RedisProxies }}
)

const (
	blackHole = 15 * time.Second
	flapFor   = 15 * time.Second
	flapDown  = 300 * time.Millisecond
	flapUp    = 700 * time.Millisecond
)

// netFaults are what happens to connections.
func netFaults() []Fault {
	var rows []Fault
	for _, s := range []side{postgresSide, redisSide} {
		rows = append(
			rows,
			s.hold("half-open", "nothing passes to or from %s, and no connection ends", netfault.Both, s.name == "postgres"),
			s.hold("one-way-out", "nothing reaches %s, its answers pass", netfault.ToServer, false),
			s.hold("one-way-in", "everything reaches %s, no answer passes", netfault.ToClient, false),
			Fault{
				Name:  s.name + "-flapping",
				About: fmt.Sprintf("the network to %s is cut for %v in each second, for %v", s.name, flapDown, flapFor),
				Run:   s.flap,
			},
		)
	}
	rows = append(rows, commitCut())
	for _, d := range []time.Duration{50 * time.Millisecond, 500 * time.Millisecond, 5 * time.Second} {
		rows = append(rows, slowPostgres(d))
	}
	return rows
}

func (s side) hold(name, about string, dir netfault.Direction, short bool) Fault {
	return Fault{
		Name: s.name + "-" + name, About: fmt.Sprintf(about+", for %v", s.name, blackHole), Short: short,
		Run: func(ctx context.Context, w *World) error {
			return during(ctx, blackHole, func(on bool) {
				for _, p := range s.proxies(w) {
					p.Hold(dir, on)
				}
			})
		},
	}
}

// during switches something on, waits, and switches it off.
func during(ctx context.Context, d time.Duration, turn func(on bool)) error {
	turn(true)
	defer turn(false)
	return Wait(ctx, d)
}

func (s side) flap(ctx context.Context, w *World) error {
	cut := 0
	for end := time.Now().Add(flapFor); time.Now().Before(end); {
		err := during(ctx, flapDown, func(on bool) {
			for _, p := range s.proxies(w) {
				p.RefuseNew(on)
				if on {
					cut += p.CutAll()
				}
			}
		})
		if err != nil {
			return err
		}
		if err := Wait(ctx, flapUp); err != nil {
			return err
		}
	}
	w.Log("%d connections cut", cut)
	return nil
}

// slowPostgres delays every exchange by d.
func slowPostgres(d time.Duration) Fault {
	return Fault{
		Name:  fmt.Sprintf("postgres-slow-%dms", d.Milliseconds()),
		About: fmt.Sprintf("every exchange with Postgres takes %v longer, for %v", d, slowFor),
		Run: func(ctx context.Context, w *World) error {
			return during(ctx, slowFor, func(on bool) {
				for _, p := range w.PostgresProxies {
					p.Delay(map[bool]time.Duration{true: d / 2}[on])
				}
			})
		},
	}
}

const (
	slowFor = 20 * time.Second
	// A COMMIT as the driver sends it, in a message of its own.
	commitText = "COMMIT\x00"
	// First one COMMIT of each node is cut every now and then, then all of them.
	cutEvery, cutFor, cutAllFor = 100 * time.Millisecond, 10 * time.Second, 5 * time.Second
	// fewestCuts of a node: less, and the row has shown nothing.
	fewestCuts = 20
)

// commitCut cuts the connection between a COMMIT and its answer: it is done, and the node cannot know.
func commitCut() Fault {
	return Fault{
		Name: "commit-cut", Short: true,
		About: fmt.Sprintf("the answer of a COMMIT is cut: one of each node every %v for %v, then every one for %v", cutEvery, cutFor, cutAllFor),
		Run: func(ctx context.Context, w *World) error {
			cuts := make([]int, len(w.PostgresProxies))
			arm := func(n int) {
				for i, p := range w.PostgresProxies {
					p.CutOnClientBytes([]byte(commitText), n)
					cuts[i] += n
				}
			}
			disarm := func() {
				for i, p := range w.PostgresProxies {
					cuts[i] -= p.CutsLeft()
					p.CutOnClientBytes(nil, 0)
				}
			}
			defer disarm()
			for end := time.Now().Add(cutFor); time.Now().Before(end); {
				arm(1)
				if err := Wait(ctx, cutEvery); err != nil {
					return err
				}
				disarm()
			}
			arm(1 << 20)
			if err := Wait(ctx, cutAllFor); err != nil {
				return err
			}
			disarm()
			w.Log("COMMITs without an answer, by node: %v", cuts)
			if slices.Min(cuts) < fewestCuts {
				return fmt.Errorf("only %v COMMITs were cut", cuts)
			}
			return nil
		},
	}
}
