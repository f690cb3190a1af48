package torture

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
)

func TestFullServiceIsFromTheLastBadSecondOn(t *testing.T) {
	t.Parallel()
	good, bad, slow := Second{Ads: 100}, Second{Ads: 100, Errors: 1}, Second{Ads: 80}
	for name, test := range map[string]struct {
		seconds []Second
		want    float64 // seconds after the fault, which was cleared in the middle of the third; -1 for never
	}{
		"never away":           {[]Second{good, good, good, good, good, good}, 0},
		"an error before":      {[]Second{bad, bad, good, good, good, good}, 0},
		"an error after":       {[]Second{good, good, good, bad, good, good, good}, 1.5},
		"an error in between":  {[]Second{good, good, slow, good, good, good, bad, good, good, good}, 4.5},
		"an error at the end":  {[]Second{good, good, good, good, good, good, bad}, -1},
		"too few ads":          {[]Second{good, good, slow, slow, good, good, good}, 1.5},
		"not watched for long": {[]Second{good, good, bad, good, good}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &Load{start: time.Now(), seconds: test.seconds}
			cleared := l.start.Add(2500 * time.Millisecond)
			at, ok := l.fullFrom(cleared, l.start.Add(time.Duration(len(test.seconds))*time.Second), 100)
			require.Equal(t, test.want >= 0, ok)
			if ok {
				require.InDelta(t, test.want, max(0, at.Sub(cleared).Seconds()), 1e-9)
			}
		})
	}
}

func TestGoroutinesAreCountedWithoutIdleWorkers(t *testing.T) {
	t.Parallel()
	profile := "goroutine profile: total 12\n7 @ 0x1 0x2\n#\t0x1\tgithub.com/valyala/fasthttp.(*workerPool).workerFunc+0x1\tworkerpool.go:1\n\n" +
		"3 @ 0x4\n#\t0x4\tmain.main+0x1\tmain.go:1\n\n2 @ 0x5\n#\t0x5\tnet/http.(*conn).serve+0x1\tserver.go:1\n"
	require.Equal(t, 5, countGoroutines(profile))
}

func TestForgeriesAreNoTokens(t *testing.T) {
	t.Parallel()
	s := newSmall(t)
	text := s.serve(true).Tokens[0].Text
	seen := map[string]bool{}
	for range 500 {
		how, forged := forgery(text)
		seen[how] = true
		_, err := s.keys.open(forged)
		require.Error(t, err, how)
	}
	require.Len(t, seen, 5)
}

func TestThePlanHasWhatItPromises(t *testing.T) {
	t.Parallel()
	count := map[string]int{}
	for _, k := range planCampaigns() {
		count[k.Class]++
		count[k.TimeZone]++
		if k.Clicks {
			count["clicks"]++
		}
		if k.CBO {
			count["cbo"]++
		}
		if k.capKind == lifetime {
			count["lifetime cap"]++
		}
		if k.Class == Scarce {
			least := k.budget * nanosPerMicro / k.BidMicros
			require.True(t, least >= 19 && least < 61, "%d impressions", least)
		}
	}
	require.Equal(t, campaignCount/20, count[Hot])
	require.Equal(t, campaignCount/10, count[Scarce])
	for _, what := range []string{"clicks", "cbo", "lifetime cap", "UTC", "Pacific/Auckland"} {
		require.Greater(t, count[what], 15, what)
	}
}

func TestAHurryDropsWhatIsOnlySentAgain(t *testing.T) {
	t.Parallel()
	l := newLoad(newClient(nil, ""), newDiary(), nil, 0, time.Second)
	now := time.Now()
	for i := range 10 {
		l.later(now.Add(time.Duration(10-i)*time.Minute), job{node: i, once: i%2 == 0})
	}
	l.later(now.Add(-time.Minute), job{node: 10, once: true}) // due
	l.hurry()
	require.EqualValues(t, 6, l.open.Load())
	var left []int
	for {
		j, ok := l.due.pop(now.Add(time.Hour))
		if !ok {
			break
		}
		left = append(left, j.node)
	}
	require.Equal(t, []int{10, 9, 7, 5, 3, 1}, left, "in the order of their times")
}

// TestTheFateOfATryIsKnown tells what a node cannot have heard from what it may have.
func TestTheFateOfATryIsKnown(t *testing.T) {
	t.Parallel()
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/cut":
			panic(http.ErrAbortHandler)
		case "/hang":
			<-r.Context().Done()
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	t.Cleanup(node.Close)
	gone, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, gone.Close())

	c := newClient([]string{strings.TrimPrefix(node.URL, "http://"), gone.Addr().String()}, "")
	t.Cleanup(c.close)
	require.Equal(t, 204, c.hosts[0].get("/", time.Second))
	require.Equal(t, NoAnswer, c.hosts[0].get("/cut", time.Second))
	require.Equal(t, NoAnswer, c.hosts[0].get("/hang", 50*time.Millisecond))
	require.Equal(t, NotSent, c.hosts[1].get("/", time.Second))
	require.Equal(t, 204, c.hosts[0].get("/", time.Second))

	// The node that is gone is left alone, but looked at now and then.
	require.Equal(t, 0, c.pick(1).number)
	require.NoError(t, Until(t.Context(), 10*time.Second, "it is looked at", func(context.Context) bool { return c.pick(1).number == 1 }))
	require.Equal(t, 0, c.pick(1).number, "once")
}

// TestAnEventIsSentUntilItHasAnAnswer: 503 and silence are no answers, and the batch is cut down to what is open.
func TestAnEventIsSentUntilItHasAnAnswer(t *testing.T) {
	t.Parallel()
	answers := make(chan string, 3)
	answers <- `{"items":[{"status":"unavailable"},{"status":"accepted"}]}`
	answers <- ""
	answers <- `{"items":[{"status":"accepted"}]}`
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		text := <-answers
		if text == "" {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(fasthttp.StatusAccepted)
		_, _ = w.Write([]byte(text))
	}))
	t.Cleanup(node.Close)
	l := newLoad(newClient([]string{strings.TrimPrefix(node.URL, "http://")}, ""), newDiary(), nil, 0, time.Second)
	t.Cleanup(l.client.close)
	ad := newSmall(t).serve(true)
	tokens := ad.Tokens[:2]
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); l.run(ctx) }()
	l.later(time.Now(), job{tokens: tokens, batch: true})
	require.NoError(t, l.settle(t.Context(), 10*time.Second))
	stop()
	<-done
	statuses := func(t *Token) (list []int) {
		for _, d := range t.Deliveries() {
			list = append(list, d.Status)
		}
		return list
	}
	require.Equal(t, []int{503, NoAnswer, 202}, statuses(tokens[0]))
	require.Equal(t, []int{202}, statuses(tokens[1]))
	require.Equal(t, 4, l.Totals().EventTries)
}
