package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Search says where installed programs are looked for. Both are lists of paths or patterns as in [filepath.Glob], in order of
// preference; of one pattern's matches the last in numeric order comes first ("…/17/bin" before "…/9/bin").
type Search struct {
	PostgresDirs []string // folders that hold postgres and initdb
	RedisServers []string // programs: redis-server or valkey-server
}

// program is a server that can be run.
type program struct {
	service Service
	origin  Origin
	product string
	path    string // of postgres or redis-server; "" for the stand-in
	version version
	libs    []string // folders for LD_LIBRARY_PATH
}

// usualPlaces is where systems put the programs: what the PATH names, then each distribution's folder.
func usualPlaces(ctx context.Context) Search {
	var s Search
	if path, err := exec.LookPath("postgres"); err == nil {
		if target, err := filepath.EvalSymlinks(path); err == nil {
			s.PostgresDirs = append(s.PostgresDirs, filepath.Dir(target))
		}
	}
	if dir, ok := pgConfigBin(ctx); ok {
		s.PostgresDirs = append(s.PostgresDirs, dir)
	}
	s.PostgresDirs = append(s.PostgresDirs,
		"/usr/lib/postgresql/*/bin",         // Debian, Ubuntu
		"/usr/pgsql-*/bin",                  // Postgres' own packages for Red Hat's
		"/usr/lib/postgresql*/bin",          // openSUSE
		"/usr/libexec/postgresql*",          // Alpine
		"/usr/bin",                          // Fedora, Arch
		"/usr/local/pgsql/bin",              // from source
		"/usr/local/bin",                    //
		"/opt/homebrew/opt/postgresql*/bin", // Homebrew
		"/usr/local/opt/postgresql*/bin",    // Homebrew on Intel
		"/Applications/Postgres.app/Contents/Versions/*/bin",
		"/opt/local/lib/postgresql*/bin", // MacPorts
	)
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			if path, err = filepath.Abs(path); err == nil {
				s.RedisServers = append(s.RedisServers, path)
			}
		}
	}
	for _, dir := range []string{"/usr/bin", "/usr/sbin", "/usr/local/bin", "/opt/homebrew/bin", "/opt/local/bin"} {
		s.RedisServers = append(s.RedisServers, dir+"/redis-server", dir+"/valkey-server")
	}
	return s
}

// pgConfigBin asks pg_config, if there is one, where the programs are. A client package brings it along without a server.
func pgConfigBin(ctx context.Context) (string, bool) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output()
	return strings.TrimSpace(string(out)), err == nil && len(out) > 0
}

// installed finds an installed server that is new enough and, if major is not 0, of that major version. When there is none
// it returns nil and why each candidate was passed over.
func (s Search) installed(ctx context.Context, name Service, major int, acct account) (*program, error) {
	var paths []string
	switch name {
	case Postgres:
		for _, dir := range expand(s.PostgresDirs) {
			if isProgram(filepath.Join(dir, "postgres")) && isProgram(filepath.Join(dir, "initdb")) {
				paths = append(paths, filepath.Join(dir, "postgres"))
			}
		}
	case Redis:
		for _, path := range expand(s.RedisServers) {
			if isProgram(path) {
				paths = append(paths, path)
			}
		}
	}
	var why []error
	for _, path := range paths {
		p, err := examine(ctx, name, path, nil, acct)
		switch {
		case err != nil:
			why = append(why, err)
		case major != 0 && p.version.major != major:
			why = append(why, fmt.Errorf("%w: it needs %d, and %s is %s", ErrVersionMismatch, major, path, p.version))
		default:
			p.origin = OriginInstalled
			return p, nil
		}
	}
	return nil, errors.Join(why...)
}

// examine asks a program for its version and checks that it can be used.
func examine(ctx context.Context, name Service, path string, libs []string, acct account) (*program, error) {
	if err := acct.mayReach(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("%s cannot be used: %w", path, err)
	}
	product, v, err := askVersion(ctx, name, path, libs)
	if err != nil {
		return nil, err
	}
	if least := oldest[name]; product != "Valkey" && !v.atLeast(least) {
		return nil, fmt.Errorf("%w: %s is %s %s, wanted is %s or newer", ErrTooOld, path, product, v, least)
	}
	return &program{service: name, product: product, path: path, version: v, libs: libs}, nil
}

// expand resolves patterns, without repetition.
func expand(patterns []string) []string {
	var paths []string
	for _, pattern := range patterns {
		found, err := filepath.Glob(pattern)
		if err != nil {
			continue // a malformed pattern matches nothing
		}
		slices.SortFunc(found, func(a, b string) int { return slices.Compare(numbersIn(b), numbersIn(a)) })
		for _, path := range found {
			if !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	return paths
}

var digits = regexp.MustCompile(`[0-9]+`)

// numbersIn are the numbers in a path, in order.
func numbersIn(path string) []int {
	var numbers []int
	for _, d := range digits.FindAllString(path, -1) {
		if n, err := strconv.Atoi(d); err == nil {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

func isProgram(path string) bool {
	at, err := os.Stat(path)
	return err == nil && at.Mode().IsRegular() && at.Mode().Perm()&0o111 != 0
}
