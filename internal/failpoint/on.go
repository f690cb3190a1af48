//go:build faults

package failpoint

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Enabled says whether points do anything in this build.
const Enabled = true

const variable = "GAVEL_FAILPOINTS"

// plan is what the environment asked for. It does not change; only the counters do.
var plan = sync.OnceValues(func() (map[Point]*armed, error) { return parse(os.Getenv(variable)) })

// armed is a point at which something happens.
type armed struct {
	hits  atomic.Int64
	steps []step
}

// step is what happens at one hit: a sleep, or if it is 0 the end.
type step struct {
	at    int64
	sleep time.Duration
}

// Hit says that the program has come to a point, and does there what the environment asked for.
func Hit(p Point) {
	points, err := plan()
	if err != nil {
		panic(fmt.Sprintf("failpoint: %s: %v", variable, err))
	}
	a := points[p]
	if a == nil {
		return
	}
	n := a.hits.Add(1)
	for _, s := range a.steps {
		if s.at != n {
			continue
		}
		fmt.Fprintf(os.Stderr, "failpoint %s: hit %d, sleep %v, kill %v\n", p, n, s.sleep, s.sleep == 0)
		if s.sleep > 0 {
			<-time.After(s.sleep)
			continue
		}
		die()
	}
}

// die is SIGKILL to ourselves. The signal takes a moment: nothing more happens on this goroutine.
func die() {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		panic(fmt.Sprintf("failpoint: cannot kill itself: %v", err))
	}
	select {}
}

// parse reads "name=kill@N,name=sleep:50ms@N"; @N may be missing for the first hit.
func parse(text string) (map[Point]*armed, error) {
	points := map[Point]*armed{}
	for _, item := range strings.Split(text, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		name, s, err := parseItem(item)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", item, err)
		}
		if points[name] == nil {
			points[name] = &armed{}
		}
		points[name].steps = append(points[name].steps, s)
	}
	return points, nil
}

func parseItem(item string) (Point, step, error) {
	name, action, ok := strings.Cut(item, "=")
	if !ok || !slices.Contains(Points(), Point(name)) {
		return "", step{}, errors.New("is not name=action@hit with the name of a point")
	}
	s := step{at: 1}
	if what, hit, ok := strings.Cut(action, "@"); ok {
		var err error
		if s.at, err = strconv.ParseInt(hit, 10, 64); err != nil || s.at < 1 {
			return "", step{}, errors.New("the hit is not a positive number")
		}
		action = what
	}
	if action == "kill" {
		return Point(name), s, nil
	}
	text, ok := strings.CutPrefix(action, "sleep:")
	if !ok {
		return "", step{}, errors.New("the action is neither kill nor sleep:duration")
	}
	var err error
	if s.sleep, err = time.ParseDuration(text); err != nil || s.sleep <= 0 {
		return "", step{}, errors.New("the sleep is not a positive duration")
	}
	return Point(name), s, nil
}
