package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const passing = `{"Action":"start","Package":"gavel/a"}
{"Action":"run","Package":"gavel/a","Test":"TestX"}
{"Action":"output","Package":"gavel/a","Test":"TestX","Output":"chatter\n"}
{"Action":"pass","Package":"gavel/a","Test":"TestX"}
{"Action":"output","Package":"gavel/a","Output":"PASS\n"}
{"Action":"output","Package":"gavel/a","Output":"ok  \tgavel/a\t0.01s\n"}
{"Action":"pass","Package":"gavel/a"}
`

func TestRun(t *testing.T) {
	t.Parallel()
	here := t.TempDir()
	skip := `{"Action":"skip","Package":"gavel/a","Test":"TestY/sub"}` + "\n"
	tests := []struct {
		name, in, allow string
		code            int
		want            []string
	}{
		{"all pass", passing, "", 0, []string{"ok  \tgavel/a", "1 passed, 0 failed, 0 skipped, in 1 packages"}},
		{"nothing ran", `{"Action":"skip","Package":"gavel/a"}`, "", 1, []string{"no test ran"}},
		{"empty", "", "", 1, []string{"no test ran"}},
		{
			"a failure shows its output",
			passing + `{"Action":"output","Package":"gavel/b","Test":"TestZ","Output":"why\n"}` + "\n" +
				`{"Action":"fail","Package":"gavel/b","Test":"TestZ"}` + "\n" + `{"Action":"fail","Package":"gavel/b"}`,
			"", 1,
			[]string{"why", "1 passed, 1 failed", "1 packages failed"},
		},
		{
			"a panic shows what was under way",
			passing + `{"Action":"output","Package":"gavel/b","Test":"TestZ","Output":"panic: oh\n"}` + "\n" + `{"Action":"fail","Package":"gavel/b"}`,
			"", 1,
			[]string{"panic: oh", "1 packages failed"},
		},
		{
			"a build failure",
			passing + `{"ImportPath":"gavel/c","Action":"build-output","Output":"c.go:1: no\n"}` + "\n" + `{"ImportPath":"gavel/c","Action":"build-fail"}`,
			"", 1,
			[]string{"c.go:1: no", "1 did not build"},
		},
		{"words that are no event", passing + "go: cannot find main module\n", "", 0, []string{"cannot find main module"}},
		{"a skip", passing + skip, "", 1, []string{"SKIPPED, but not listed as allowed: gavel/a TestY/sub", "1 skipped that may not be"}},
		{"an allowed skip", passing + skip, "# why\ngavel/a TestY - needs a moon\n", 0, []string{"1 skipped, in"}},
		{"allowed while absent", passing + skip, "gavel/a TestY " + here + "/none needs data\n", 0, []string{"1 skipped, in"}},
		{"not allowed once present", passing + skip, "gavel/a TestY " + here + " needs data\n", 1, []string{"may not be"}},
		{"another test is allowed", passing + skip, "gavel/a TestOther - needs a moon\n", 1, []string{"may not be"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			allow := filepath.Join(t.TempDir(), "allow")
			lines := filepath.Join(t.TempDir(), "lines")
			if err := os.WriteFile(allow, []byte(tt.allow), 0o600); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			code, err := run([]string{"-allow", allow, "-lines", lines}, strings.NewReader(tt.in), &out)
			if err != nil {
				t.Fatal(err)
			}
			if code != tt.code {
				t.Errorf("exit code %d, want %d; output:\n%s", code, tt.code, out.String())
			}
			for _, want := range tt.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("output lacks %q:\n%s", want, out.String())
				}
			}
			left, err := os.ReadFile(lines)
			if err != nil {
				t.Fatal(err)
			}
			if last := out.String()[strings.LastIndex(strings.TrimSpace(out.String()), "\n")+1:]; !strings.HasSuffix(string(left), last) {
				t.Errorf("the file ends in %q, want %q", left, last)
			}
		})
	}
}

func TestAllowFileNeedsAReason(t *testing.T) {
	t.Parallel()
	allow := filepath.Join(t.TempDir(), "allow")
	if err := os.WriteFile(allow, []byte("gavel/a TestY -\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := run([]string{"-allow", allow}, strings.NewReader(passing), new(bytes.Buffer)); err == nil {
		t.Error("a line without a reason was taken")
	}
}
