package telemetry

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

//go:embed templates
var templateFiles embed.FS

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"us":      formatUS,
	"quarter": func(us float64, i int) string { return formatUS(us * float64(i) / 4) },
	"indent":  func(depth int) string { return fmt.Sprintf("%.2frem", float64(min(depth, 12))*1.1) },
}).ParseFS(templateFiles, "templates/*.html"))

// ServeHTTP shows the traces under /traces: GET /traces is a list (?name= keeps those of one name), /traces/latest the newest
// (of ?name=), /traces/{trace_id} one. Browsers get a page, Accept: application/json gets JSON, everybody else text.
func (r *Recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	name := req.URL.Query().Get("name")
	switch id := strings.TrimPrefix(strings.TrimPrefix(req.URL.Path, "/traces"), "/"); id {
	case "":
		r.serveList(w, req, name)
	case "latest":
		for _, t := range r.complete() {
			if v := summarize(t); name == "" || v.Name == name {
				respond(w, req, http.StatusOK, "trace.html", viewTrace(t))
				return
			}
		}
		respondMissing(w, req, "no trace yet")
	default:
		traceID, err := trace.TraceIDFromHex(id)
		t, found := r.snapshot(traceID)
		if err != nil || !found {
			respondMissing(w, req, "no such trace: it was not sampled, or it is no longer kept")
			return
		}
		respond(w, req, http.StatusOK, "trace.html", viewTrace(t))
	}
}

// listView is the list as it is shown.
type listView struct {
	Traces []traceView `json:"traces"`

	Names   []nameCount `json:"-"`
	Only    string      `json:"-"`
	Host    string      `json:"-"`
	Total   int         `json:"-"`
	Longest float64     `json:"-"`
}

// nameCount is a name that traces begin with, and how many do.
type nameCount struct {
	Name  string
	Count int
	Query string
}

// Percent returns how long us is beside the longest trace of the list.
func (l listView) Percent(us float64) float64 {
	return float64(int64(us/max(l.Longest, 1)*10000)) / 100
}

func (r *Recorder) serveList(w http.ResponseWriter, req *http.Request, only string) {
	l := listView{Traces: []traceView{}, Only: only, Host: req.Host}
	counts := make(map[string]int)
	for _, t := range r.complete() {
		v := summarize(t)
		counts[v.Name]++
		l.Total++
		if only == "" || v.Name == only {
			l.Traces = append(l.Traces, v)
			l.Longest = max(l.Longest, v.DurationUS)
		}
	}
	for name, n := range counts {
		l.Names = append(l.Names, nameCount{name, n, "?" + url.Values{"name": {name}}.Encode()})
	}
	slices.SortFunc(l.Names, func(a, b nameCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name))
	})
	respond(w, req, http.StatusOK, "list.html", l)
}

func respondMissing(w http.ResponseWriter, req *http.Request, why string) {
	respond(w, req, http.StatusNotFound, "missing.html", missing{why})
}

type missing struct {
	Error string `json:"error"`
}

// respond writes v as what the caller wants to read: the page of that name, JSON, or text.
func respond(w http.ResponseWriter, req *http.Request, status int, page string, v any) {
	var body bytes.Buffer
	var contentType string
	var err error
	switch accept := req.Header.Get("Accept"); {
	case strings.Contains(accept, "text/html"):
		contentType = "text/html; charset=utf-8"
		err = pages.ExecuteTemplate(&body, page, v)
	case strings.Contains(accept, "application/json"):
		contentType = "application/json"
		err = json.NewEncoder(&body).Encode(v)
	default:
		contentType = "text/plain; charset=utf-8"
		switch v := v.(type) {
		case traceView:
			writeTraceText(&body, v)
		case listView:
			writeListText(&body, v.Traces)
		case indexView:
			for _, e := range v {
				fmt.Fprintf(&body, "%-14s %s\n", e.Path, e.About)
			}
		case missing:
			fmt.Fprintln(&body, v.Error)
		}
	}
	if err != nil {
		http.Error(w, "the page could not be drawn", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // the caller is gone: nobody to tell
}
