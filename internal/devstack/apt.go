package devstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// apt gets packages of the distribution without root and without installing anything: its lists, cache and state are in a
// folder of ours, and the packages are unpacked, not configured.
type apt struct {
	get, deb string // apt-get, dpkg-deb
	work     string // folder for lists, archives and trees
	progress func(stage string, done, total int64)

	updated   bool  // the lists are there
	updateErr error // how getting them went; one source out of reach of several is an error that need not matter
}

func findApt() (*apt, error) {
	get, err := exec.LookPath("apt-get")
	if err != nil {
		return nil, errors.New("packages can be fetched with apt only, and there is no apt-get here")
	}
	deb, err := exec.LookPath("dpkg-deb")
	if err != nil {
		return nil, errors.New("packages can be fetched with apt only, and there is no dpkg-deb here")
	}
	return &apt{get: get, deb: deb}, nil
}

// aptConfig comes after the system's own configuration, whose proxies stay in force. Hooks of the system would touch what is
// not ours, so they are cleared, and so are index files that are not needed.
const aptConfig = `#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons-small;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
#clear Acquire::IndexTargets::deb::DEP-11-icons-hidpi;
#clear Acquire::IndexTargets::deb::DEP-11-icons-large;
#clear Acquire::IndexTargets::deb::CNF;
#clear Acquire::IndexTargets::deb::Contents-deb;
Acquire::Languages { "none"; };
Acquire::Retries "3";
APT::Sandbox::User "";
APT::Get::List-Cleanup "false";
APT::Update::Error-Mode "any";
Debug::NoLocking "true";
Dir::State "%[1]s/state";
Dir::State::lists "%[1]s/lists";
Dir::Cache "%[1]s/cache";
Dir::Cache::archives "%[1]s/archives";
Dir::Log "%[1]s/log";
`

// packageNames are what to ask for, in order of preference.
var packageNames = map[Service][]string{ //nolint:gochecknoglobals // a table of constants
	Postgres: {"postgresql"},
	Redis:    {"redis-server", "valkey-server"},
}

// unneeded packages are dependencies of the packaging, not of the server: Perl scripts, the client, the JIT compiler. libc6
// appears when the system's is a little old; another libc than the loader's would not run.
var unneeded = regexp.MustCompile(`^(perl|libperl|libgdbm|libjson|libcommon-sense|libtypes-serialiser|libllvm|libz3-|` +
	`postgresql-client|postgresql-common|postgresql-[0-9]+-jit|postgresql_|ssl-cert|openssl|ucf|sensible-utils|netbase|locales|libc-|libc6|` +
	`readline-common|adduser|passwd|lsb-|logrotate|cron|sysvinit|systemd|init-system|procps|tzdata|debconf|dpkg)`)

// Progress stages.
const (
	stageLists    = "package lists"
	stagePackages = "packages"
	stageUnpack   = "unpack"
)

// fetch unpacks a service's packages into a folder below work, which it returns.
func (a *apt) fetch(ctx context.Context, name Service) (string, error) {
	if err := a.update(ctx); err != nil {
		return "", err
	}
	wanted, err := a.resolve(ctx, name)
	if err != nil {
		return "", errors.Join(err, a.updateErr)
	}
	debs, tree := filepath.Join(a.work, string(name)+"-debs"), filepath.Join(a.work, string(name)+"-tree")
	if err := errors.Join(os.Mkdir(debs, 0o700), os.Mkdir(tree, 0o700)); err != nil {
		return "", fmt.Errorf("make folder for packages: %w", err)
	}
	err = a.watch(ctx, debs, stagePackages, sum(wanted), append([]string{"-q", "download"}, specs(wanted)...)...)
	if err != nil {
		return "", errors.Join(err, a.updateErr)
	}
	if err := a.unpack(ctx, debs, tree); err != nil {
		return "", err
	}
	if err := os.Chmod(tree, 0o755); err != nil { //nolint:gosec // programs, no secrets; the account must read it
		return "", fmt.Errorf("open fetched packages: %w", err)
	}
	return tree, nil
}

// update gets the lists of packages, once.
func (a *apt) update(ctx context.Context) error {
	if a.updated {
		return nil
	}
	for _, dir := range []string{"state", "lists/partial", "cache", "archives/partial", "log"} {
		if err := os.MkdirAll(filepath.Join(a.work, dir), 0o700); err != nil {
			return fmt.Errorf("make folder for apt: %w", err)
		}
	}
	if err := os.WriteFile(a.config(), fmt.Appendf(nil, aptConfig, a.work), 0o600); err != nil {
		return fmt.Errorf("configure apt: %w", err)
	}
	a.updateErr = a.watch(ctx, filepath.Join(a.work, "lists"), stageLists, 0, "-q", "update")
	a.updated = true
	return nil
}

func (a *apt) config() string { return filepath.Join(a.work, "apt.conf") }

// resolve lists the packages that the service needs and the system lacks.
func (a *apt) resolve(ctx context.Context, name Service) ([]archive, error) {
	var errs []error
	for _, pkg := range packageNames[name] {
		out, err := a.run(ctx, a.work, "-qq", "--print-uris", "--no-install-recommends", "-y", "install", pkg)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		list, err := parseURIs(out)
		if err == nil && len(list) == 0 {
			err = fmt.Errorf("apt says that %s is installed, but its programs were not found", pkg)
		}
		if err == nil {
			return list, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// unpack unpacks every archive into tree.
func (a *apt) unpack(ctx context.Context, archives, tree string) error {
	debs, err := filepath.Glob(filepath.Join(archives, "*.deb"))
	if err != nil || len(debs) == 0 {
		return fmt.Errorf("no archives in %s: %w", archives, errors.Join(fs.ErrNotExist, err))
	}
	for i, deb := range debs {
		a.progress(stageUnpack, int64(i), int64(len(debs)))
		cmd := exec.CommandContext(ctx, a.deb, "-x", deb, tree) //nolint:gosec // found on the PATH
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := runMortal(cmd); err != nil {
			return fmt.Errorf("unpack %s: %w: %s", filepath.Base(deb), err, lastLines(out.Bytes()))
		}
	}
	a.progress(stageUnpack, int64(len(debs)), int64(len(debs)))
	return nil
}

// run runs apt-get in dir and returns what it prints.
func (a *apt) run(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, a.get, append([]string{"-c", a.config()}, args...)...) //nolint:gosec // found on the PATH
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var stdout, all bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &all
	if err := runMortal(cmd); err != nil {
		all.Write(stdout.Bytes())
		verb := "run"
		for _, arg := range args {
			if !strings.HasPrefix(arg, "-") {
				verb = arg
				break
			}
		}
		return "", fmt.Errorf("apt-get %s: %w: %s", verb, err, lastLines(all.Bytes()))
	}
	return stdout.String(), nil
}

// runMortal runs a program that ends, with those that it runs, when the context of cmd does, and when we are killed.
func runMortal(cmd *exec.Cmd) error {
	runtime.LockOSThread() // see proc.run
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = childAttr(account{}, syscall.SIGKILL)
	cmd.Cancel = func() error { return signalGroup(cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd.Run()
}

// archive is a package that can be fetched.
type archive struct {
	name, version, arch string
	size                int64 // bytes
}

// spec is how apt is told of it: name:arch=version.
func (a archive) spec() string {
	if a.arch == "all" {
		return a.name + "=" + a.version
	}
	return a.name + ":" + a.arch + "=" + a.version
}

// uriLine is a line of `apt-get --print-uris`: 'URI' NAME_VERSION_ARCH.deb SIZE HASH, with the epoch's colon as %3a.
var uriLine = regexp.MustCompile(`^'[^']+' ([^_ ]+)_([^_ ]+)_([^_ ]+)\.deb (\d+)\b`)

// parseURIs reads what apt would fetch, without what the server does not need.
func parseURIs(out string) ([]archive, error) {
	var list []archive
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "'") {
			continue
		}
		m := uriLine.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("read apt's list: %q", strings.TrimSpace(line))
		}
		size, err := strconv.ParseInt(m[4], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read size in apt's list: %w", err)
		}
		if unneeded.MatchString(m[1] + "_") {
			continue
		}
		list = append(list, archive{name: m[1], version: strings.ReplaceAll(m[2], "%3a", ":"), arch: m[3], size: size})
	}
	return list, nil
}

func sum(list []archive) (total int64) {
	for _, a := range list {
		total += a.size
	}
	return total
}

func specs(list []archive) []string {
	names := make([]string, 0, len(list))
	for _, a := range list {
		names = append(names, a.spec())
	}
	return names
}

// watch runs apt-get in dir and tells progress how many bytes are there meanwhile.
func (a *apt) watch(ctx context.Context, dir, stage string, total int64, args ...string) error {
	const pause = 200 * time.Millisecond
	done := make(chan error, 1)
	go func() {
		_, err := a.run(ctx, dir, args...)
		done <- err
	}()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	a.progress(stage, 0, total)
	for {
		select {
		case err := <-done:
			a.progress(stage, sizeOf(dir), total)
			return err
		case <-tick.C:
			a.progress(stage, sizeOf(dir), total)
		}
	}
}

// sizeOf is the sum of the sizes of the files below dir. Files come and go while it looks.
func sizeOf(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil //nolint:nilerr // gone again
		}
		if at, err := d.Info(); err == nil {
			total += at.Size()
		}
		return nil
	})
	return total
}

// lastLines are the last lines of a program's output, for an error.
func lastLines(out []byte) string {
	const most = 8
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}
