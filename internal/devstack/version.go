package devstack

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// version is the first two numbers of a server's version.
type version struct{ major, minor int }

func (v version) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

func (v version) atLeast(w version) bool {
	return v.major > w.major || v.major == w.major && v.minor >= w.minor
}

// oldest says which versions are supported: Postgres 14 and Redis 6.2 have what the schema and the scripts use.
var oldest = map[Service]version{Postgres: {14, 0}, Redis: {6, 2}} //nolint:gochecknoglobals // a table of constants

var versionText = map[Service]*regexp.Regexp{
	// "postgres (PostgreSQL) 15.19 (Debian 15.19-0+deb12u1)", "postgres (PostgreSQL) 18beta1"
	Postgres: regexp.MustCompile(`^postgres \((PostgreSQL)\) (\d+)(?:\.(\d+))?`),
	// "Redis server v=7.0.15 sha=00000000:0 malloc=…", "Valkey server v=8.1.1 …"
	Redis: regexp.MustCompile(`^(Redis|Valkey) server v=(\d+)\.(\d+)`),
}

// parseVersion reads what `postgres --version` and `redis-server --version` print.
func parseVersion(s Service, text string) (product string, v version, err error) {
	m := versionText[s].FindStringSubmatch(text)
	if m == nil {
		return "", version{}, fmt.Errorf("not the version of a %s server: %q", s, firstLine(text))
	}
	if v.major, err = strconv.Atoi(m[2]); err != nil {
		return "", version{}, fmt.Errorf("read version %q: %w", m[2], err)
	}
	if m[3] != "" {
		if v.minor, err = strconv.Atoi(m[3]); err != nil {
			return "", version{}, fmt.Errorf("read version %q: %w", m[3], err)
		}
	}
	return m[1], v, nil
}

// askVersion runs path with --version. That it answers shows that its shared libraries are there.
func askVersion(ctx context.Context, s Service, path string, libs []string) (string, version, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.Dir = "/"
	cmd.Env = environment("/", libs)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", version{}, fmt.Errorf("ask %s for its version: %w: %s", path, err, firstLine(string(out)))
	}
	return parseVersion(s, string(out))
}

func firstLine(s string) string {
	for i, r := range s {
		if r == '\n' {
			return s[:i]
		}
	}
	return s
}
