package telemetry

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// scrapeTimeout bounds one answer of /metrics.
const scrapeTimeout = 10 * time.Second

// AdminOptions says what the admin listener shows. Everything is optional.
type AdminOptions struct {
	// Gatherer is behind /metrics; see [Telemetry.Gatherer].
	Gatherer prometheus.Gatherer
	// Checks are behind /readyz, in this order.
	Checks []Check
	// Recorder is behind /traces; nil leaves that path out.
	Recorder *Recorder
	// Version is told by /healthz.
	Version string
	// Log hears of metrics that cannot be gathered.
	Log *slog.Logger
	// Pages are shown beside these.
	Pages []AdminPage
}

// AdminPage is a page that answers with JSON.
type AdminPage struct {
	// Path is where it is, for example "/index"; About says in a few words what.
	Path, About string
	// Show makes the page for a request, which has what is behind the "?".
	Show func(ctx context.Context, query url.Values) any
}

// AdminHandler serves /metrics, /healthz, /readyz, /debug/pprof/, /traces and the pages. It authenticates nobody: it belongs on a listener
// of its own that only operators reach. /healthz says that the process answers; /readyz whether every check passes, with 503
// when one does not.
func AdminHandler(o AdminOptions) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, struct {
			Status  string `json:"status"`
			Version string `json:"version,omitempty"`
		}{"ok", o.Version})
	})
	mux.Handle("GET /readyz", newReadiness(o.Checks))
	if o.Gatherer != nil {
		opts := promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: 4, Timeout: scrapeTimeout}
		if o.Log != nil {
			opts.ErrorLog = slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn)
		}
		mux.Handle("GET /metrics", promhttp.HandlerFor(o.Gatherer, opts))
	}
	if o.Recorder != nil {
		mux.Handle("/traces", o.Recorder)
		mux.Handle("/traces/", o.Recorder)
	}
	// Of pprof all but cmdline: people put passwords into arguments.
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.Handle("GET /debug/pprof/cmdline", http.NotFoundHandler())
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	for _, p := range o.Pages {
		mux.HandleFunc("GET "+p.Path, func(w http.ResponseWriter, r *http.Request) {
			writeJSON(w, http.StatusOK, p.Show(r.Context(), r.URL.Query()))
		})
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { serveIndex(w, r, o) })
	return mux
}

// serveIndex lists what is here.
func serveIndex(w http.ResponseWriter, r *http.Request, o AdminOptions) {
	paths := indexView{{"/healthz", "the process answers"}, {"/readyz", "what it depends on answers"}}
	if o.Gatherer != nil {
		paths = append(paths, indexEntry{"/metrics", "for Prometheus"})
	}
	if o.Recorder != nil {
		paths = append(paths, indexEntry{"/traces", "the last requests, step by step"})
	}
	for _, p := range o.Pages {
		paths = append(paths, indexEntry{p.Path, p.About})
	}
	paths = append(paths, indexEntry{"/debug/pprof/", "profiles"})
	respond(w, r, http.StatusOK, "index.html", paths)
}

type indexView []indexEntry

type indexEntry struct {
	Path  string `json:"path"`
	About string `json:"about"`
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // the caller is gone: nobody to tell
}
