package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/internal/testenv"
)

// TestMain lets the test binary be gavel itself, so that tests can run and kill a real process.
func TestMain(m *testing.M) {
	if os.Getenv("GAVEL_TEST_AS_PROGRAM") == "1" {
		main()
		return
	}
	m.Run() // since Go 1.15 the status reaches os.Exit without our help
}

// program is a running gavel.
type program struct {
	access
	cmd    *exec.Cmd
	out    *bytes.Buffer
	exited chan error
}

// startDev starts `gavel dev` as a process and waits until it is ready.
func startDev(t *testing.T, args ...string) *program {
	t.Helper()
	testenv.Short(t)
	ready := filepath.Join(t.TempDir(), "ready.json")
	p := &program{out: &bytes.Buffer{}, exited: make(chan error, 1)}
	p.cmd = exec.Command(os.Args[0], append([]string{"dev", "--ready-file", ready}, args...)...)
	p.cmd.Env = append(os.Environ(), "GAVEL_TEST_AS_PROGRAM=1")
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	require.NoError(t, p.cmd.Start())
	go func() { p.exited <- p.cmd.Wait() }()
	t.Cleanup(func() { p.kill() })
	deadline := time.After(5 * time.Minute) // a machine without Postgres fetches it first
	for {
		text, err := os.ReadFile(ready)
		if err == nil && json.Unmarshal(text, &p.access) == nil {
			return p
		}
		select {
		case err := <-p.exited:
			p.exited = nil
			t.Fatalf("gavel dev ended before it was ready: %v\n%s", err, p.out)
		case <-deadline:
			t.Fatalf("gavel dev is not ready:\n%s", p.out)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// keptDir is a directory for --data. Unlike t.TempDir it may be entered by the user that Postgres runs as under root.
func keptDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gavel-test-") //nolint:usetesting // see above
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o711))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// kill is kill -9: nothing is flushed, returned or closed.
func (p *program) kill() {
	if p.cmd.ProcessState == nil && p.exited != nil {
		_ = p.cmd.Process.Kill()
		if err := <-p.exited; err != nil {
			fmt.Fprintln(p.out, err) // "signal: killed", as asked
		}
		p.exited = nil
	}
}

// stop is Ctrl-C; it returns what the process printed.
func (p *program) stop(t *testing.T) string {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
	select {
	case err := <-p.exited:
		p.exited = nil
		require.NoError(t, err, p.out.String())
	case <-time.After(time.Minute):
		t.Fatal("did not stop within a minute")
	}
	return p.out.String()
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request without following redirects.
func do(t *testing.T, method, url, key, body string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return answer{resp.StatusCode, resp.Header, text}
}

type servedAd struct {
	SlotID        string `json:"slot_id"`
	AdID          string `json:"ad_id"`
	AdGroupID     string `json:"ad_group_id"`
	CampaignID    string `json:"campaign_id"`
	AdAccountID   string `json:"ad_account_id"`
	ImpressionURL string `json:"impression_url"`
	ViewableURL   string `json:"viewable_url"`
	ClickURL      string `json:"click_url"`
	Creative      struct {
		DestinationURL string `json:"destination_url"`
	} `json:"creative"`
}

type page struct {
	RequestID string     `json:"request_id"`
	AuctionID string     `json:"auction_id"`
	Ads       []servedAd `json:"ads"`
	NoFill    []struct {
		SlotID string `json:"slot_id"`
		Reason string `json:"reason"`
	} `json:"no_fill"`
	Explain *struct {
		Considered []struct {
			AdID       string `json:"ad_id"`
			ReasonName string `json:"reason_name"`
		} `json:"considered"`
	} `json:"explain"`
}

// ask is one ad request that must succeed.
func (p *program) ask(t *testing.T, body string) page {
	t.Helper()
	a := do(t, http.MethodPost, p.AdsURL+"/v1/ads", p.FeedKey, body)
	require.Equal(t, http.StatusOK, a.status, string(a.body))
	var out page
	require.NoError(t, json.Unmarshal(a.body, &out), string(a.body))
	return out
}

// billed counts the events in the database by kind and outcome.
func (p *program) billed(t *testing.T) map[string]int {
	t.Helper()
	db, err := openDatabase(t.Context(), p.DatabaseURL, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	rows, err := db.QueryContext(t.Context(), `SELECT kind || ' ' || outcome, count(*) FROM events GROUP BY 1`)
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	counts := map[string]int{}
	for rows.Next() {
		var name string
		var n int
		require.NoError(t, rows.Scan(&name, &n))
		counts[name] = n
	}
	require.NoError(t, rows.Err())
	return counts
}

// requireAudit runs the audit command against the stack.
func (p *program) requireAudit(t *testing.T) string {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), []string{"audit", "--database-url", p.DatabaseURL}, world{getenv: os.Getenv, stdout: &out, stderr: &out})
	require.NoError(t, err, out.String())
	return out.String()
}
