package openbandit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAWholeRunPasses(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	r := s.run(nil)
	require.Equal(t, Pass, r.Verdict, "%+v", r)
	require.Equal(t, 120, r.Pages)
	require.Equal(t, 360, r.Slots)
	require.Equal(t, r.AdsServed, r.Accepted["IMPRESSION"])
	require.Positive(t, r.Accepted["VIEWABLE"])
	require.Positive(t, r.Accepted["CLICK"])
	require.Positive(t, r.Repeated)
	require.Equal(t, r.Accepted["IMPRESSION"]+r.Accepted["VIEWABLE"]+r.Accepted["CLICK"], r.InDatabase)
	require.Equal(t, 24, r.ClicksInLog)
	require.Equal(t, 12, len(r.Campaigns))
	require.Positive(t, r.SpentNanos)
	require.EqualValues(t, 120, r.AdsLatency.Count)

	var text, md strings.Builder
	r.Print(&text)
	r.Markdown(&md)
	for _, out := range []string{text.String(), md.String()} {
		require.Contains(t, out, "120 of 120")
		require.Contains(t, out, "PASS")
		require.Contains(t, out, fmt.Sprint(r.Campaigns[11].CampaignID))
	}
	raw, err := json.Marshal(r)
	require.NoError(t, err)
	require.Contains(t, string(raw), `"violations":[]`)
}

func TestASecondRunOfTheSameNameContinuesWithTheSameCampaigns(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	first := s.run(nil)
	created := s.creates
	second := s.run(nil)
	require.Equal(t, created, s.creates)
	require.Equal(t, Pass, second.Verdict, "%+v", second)
	require.Equal(t, first.Campaigns[3].CampaignID, second.Campaigns[3].CampaignID)
	require.Greater(t, second.SpentNanos, first.SpentNanos, "the spend is of both runs")
	require.Equal(t, second.Accepted["IMPRESSION"]+second.Accepted["VIEWABLE"]+second.Accepted["CLICK"], second.InDatabase, "the events are of the second")
}

// TestWhatTheChecksFind makes each fault once: a checker that has never failed proves nothing.
func TestWhatTheChecksFind(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault func(s *standIn)
		want  string
	}{
		"a lost event": {func(s *standIn) {
			s.record = func(token string) int {
				if strings.HasPrefix(token, "t50-0-0") {
					return 0
				}
				return 1
			}
		}, "LOST: ad "},
		"an event twice": {func(s *standIn) {
			s.record = func(token string) int {
				if strings.HasPrefix(token, "t50-0-0") {
					return 2
				}
				return 1
			}
		}, "DOUBLE: ad "},
		"an impression over budget": {func(s *standIn) {
			s.tally = func(t *Tally) {
				for i := range t.Events {
					if t.Events[i].Kind == "IMPRESSION" {
						t.Events[i].Outcome = "OVER_BUDGET"
					}
				}
			}
		}, "IMPRESSION events are OVER_BUDGET"},
		"an event that is nothing": {func(s *standIn) {
			s.tally = func(t *Tally) {
				for i := range t.Events {
					t.Events[i].Outcome = "INVALID"
				}
			}
		}, "events are INVALID"},
		"too much spent": {func(s *standIn) {
			s.tally = func(t *Tally) {
				for i := range t.Charges {
					t.Charges[i].Nanos += 1e12
				}
				for i := range t.Postings {
					t.Postings[i].Posted += 1e12
				}
			}
		}, "OVERSPENT: "},
		"a charge that is not posted": {func(s *standIn) {
			s.tally = func(t *Tally) {
				for i := range t.Postings {
					if t.Postings[i].Kind == lifetime {
						t.Postings[i].Posted--
						return
					}
				}
			}
		}, "POSTED: "},
		"a charge without a budget": {func(s *standIn) {
			s.tally = func(t *Tally) { t.Postings = nil }
		}, "and there is no budget"},
		"another limit": {func(s *standIn) {
			s.tally = func(t *Tally) {
				for i := range t.Postings {
					if t.Postings[i].Limit != nil {
						*t.Postings[i].Limit++
					}
				}
			}
		}, "LIMIT: "},
		"a limit gone": {func(s *standIn) {
			s.tally = func(t *Tally) {
				for i := range t.Postings {
					t.Postings[i].Limit = nil
				}
			}
		}, "LIMIT: "},
		"an ad for somebody else": {func(s *standIn) {
			s.page = func([]standInAd) []standInAd { return s.ads[1:4] }
		}, "whom it does not target"},
		"an advertiser twice": {func(s *standIn) {
			s.page = func(ads []standInAd) []standInAd { return append(ads[:1:1], ads[0]) }
		}, "is on the page twice"},
		"a token twice": {func(s *standIn) {
			s.page = func(ads []standInAd) []standInAd { s.pages = 7; return ads }
		}, "two ads have the same event token"},
		"the audit": {func(s *standIn) {
			s.audit = Verdict{Violations: []string{"I1 made up"}}
		}, "I1 made up"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStandIn(t)
			c.fault(s)
			r := s.run(nil)
			require.Equal(t, Fail, r.Verdict)
			require.Contains(t, strings.Join(append(r.Violations, r.Audit.Violations...), "\n"), c.want)
			var text strings.Builder
			r.Print(&text)
			require.Contains(t, text.String(), "VIOLATION")
		})
	}
}

func TestAnErrorFailsTheRun(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(w http.ResponseWriter){
		"status 500":       func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
		"not JSON":         func(w http.ResponseWriter) { fmt.Fprint(w, "{") },
		"connection reset": cut,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStandIn(t)
			s.fault = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/v1/ads" || s.pages != 20 {
					return false
				}
				s.pages++
				fault(w)
				return true
			}
			r := s.run(nil)
			require.Equal(t, Fail, r.Verdict)
			require.Equal(t, 1, r.Errors)
			require.Equal(t, 119, r.Pages)
			require.Empty(t, r.Violations)
			require.Contains(t, r.Problems[0], "POST /v1/ads ob-test-")
		})
	}
}

// TestARestartIsRiddenOut: answers are lost, the server goes away and comes back on another port.
func TestARestartIsRiddenOut(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	accepted, served := 0, 0
	s.fault = func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasPrefix(r.URL.Path, "/v1/e/"):
			if accepted++; accepted%10 == 0 { // accepted, and the answer is lost
				s.accept(r.URL.Path[len("/v1/e/"):])
				cut(w)
				return true
			}
		case r.URL.Path == "/v1/ads":
			if served++; served == 40 {
				old := s.server
				require.NoError(s.t, old.Listener.Close())
				cut(w)
				s.start()
				s.t.Cleanup(old.Close)
				return true
			}
		}
		return false
	}
	r := s.run(func(o *Options) { o.RideOut = aWhile })
	require.Equal(t, Pass, r.Verdict, "%+v", r)
	require.Zero(t, r.Errors)
	require.Greater(t, r.Cut, int64(accepted/20))
	require.Equal(t, 120, r.Pages)
	require.Equal(t, r.AdsServed, r.Accepted["IMPRESSION"])
	require.Zero(t, r.Unsure)
}

// TestWithoutARideOutACutIsAnErrorAndTheEventsFateIsOpen: it may be in the database or not; neither is a violation.
func TestWithoutARideOutACutIsAnErrorAndTheEventsFateIsOpen(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	clicks := 0
	s.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/v1/c/") {
			return false
		}
		if clicks++; clicks%2 == 0 {
			s.accept(r.URL.Path[len("/v1/c/"):])
		}
		cut(w)
		return true
	}
	r := s.run(nil)
	require.Equal(t, Fail, r.Verdict)
	require.Positive(t, r.Errors)
	require.Equal(t, r.Errors, r.Unsure)
	require.Zero(t, r.Accepted["CLICK"])
	require.Empty(t, r.Violations)
}

func TestABusyServerIsAskedAgain(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	refused := map[string]bool{}
	s.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "-0-0") || len(refused) == 2 || refused[r.URL.Path] {
			return false
		}
		refused[r.URL.Path] = true
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	r := s.run(nil)
	require.Equal(t, Pass, r.Verdict, "%+v", r)
	require.EqualValues(t, 2, r.Busy)
}

func TestAnExpiredEventIsAnError(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	s.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "t9-0-0") {
			w.WriteHeader(http.StatusGone)
			return true
		}
		return false
	}
	r := s.run(nil)
	require.Equal(t, Fail, r.Verdict)
	require.Equal(t, 1, r.Errors)
	require.Contains(t, r.Problems[0], "status 410")
	require.Empty(t, r.Violations, "what was refused is not expected in the database")
}

func TestAnInterruptedRunEndsWithWhatItHasDone(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	ctx, interrupt := context.WithCancel(t.Context())
	s.fault = func(http.ResponseWriter, *http.Request) bool {
		if s.pages == 30 {
			interrupt()
		}
		return false
	}
	r, err := Run(ctx, s.options(samplePlan(t, 60, 12)))
	require.NoError(t, err)
	require.Equal(t, Partial, r.Verdict, "%+v", r)
	require.Less(t, r.Pages, 60)
	require.Greater(t, r.Pages, 20)
	require.Zero(t, r.Errors)
	require.Equal(t, r.AdsServed, r.Accepted["IMPRESSION"], "the pages under way were finished")
}

func TestPagesComeInTheLogsSpacing(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	r := s.run(func(o *Options) { o.Speed, o.Limit = 1000, 61 }) // 60 steps of 5 s
	require.Equal(t, Pass, r.Verdict)
	require.Equal(t, 61, r.Pages)
	require.GreaterOrEqual(t, r.TookSeconds, 0.3)
}

func TestTheFloorIsAskedBesideTheServer(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	var asked atomic.Int64
	floor := newFloor(t, func(w http.ResponseWriter, r *http.Request) {
		var req pageRequest
		if json.NewDecoder(r.Body).Decode(&req) != nil || len(req.Slots) != 3 || asked.Add(1) == 5 {
			w.WriteHeader(http.StatusTeapot)
		}
	})
	r := s.run(func(o *Options) { o.FloorURL = floor })
	require.Equal(t, Pass, r.Verdict)
	require.EqualValues(t, 120, asked.Load())
	require.EqualValues(t, 119, r.FloorLatency.Count)
	require.Equal(t, 1, r.FloorErrors, "and it fails nothing: it is not what is tested")
}

func TestWhatCannotRunIsAnError(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	for name, c := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"no concurrency":  {func(o *Options) { o.Concurrency = 0 }, "concurrency must be from 1"},
		"negative limit":  {func(o *Options) { o.Limit = -1 }, "not negative"},
		"no ready file":   {func(o *Options) { o.ReadyFile += "x" }, "read ready file"},
		"the tally fails": {func(o *Options) { o.Tally = failingTally }, "read the database: made up"},
		"the audit fails": {func(o *Options) { o.Audit = failingAudit }, "audit: made up"},
	} {
		o := s.options(samplePlan(t, 5, 3))
		c.change(&o)
		_, err := Run(t.Context(), o)
		require.ErrorContains(t, err, c.want, name)
	}
	s.fault = func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	_, err := Run(t.Context(), s.options(samplePlan(t, 5, 3)))
	require.ErrorContains(t, err, "create the campaign of item 0: POST /v5/ad_accounts: status 401")
}

func failingTally(context.Context, string, []int64) (Tally, error) {
	return Tally{}, errors.New("made up")
}

func failingAudit(context.Context, string) (Verdict, error) { return Verdict{}, errors.New("made up") }
