package devstack

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
)

// system is what /etc/os-release says.
type system struct{ id, version, like, name string }

// thisSystem reads /etc/os-release; on other systems the kernel's name stands for all of it.
func thisSystem() system {
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		if b, err := os.ReadFile(path); err == nil {
			return parseSystem(b)
		}
	}
	return system{id: runtime.GOOS, name: runtime.GOOS}
}

func parseSystem(b []byte) system {
	var s system
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), "=")
		value = strings.Trim(value, `"'`)
		switch key {
		case "ID":
			s.id = value
		case "VERSION_ID":
			s.version = value
		case "VERSION_CODENAME":
			if s.version == "" { // Debian's testing has no number
				s.version = value
			}
		case "ID_LIKE":
			s.like = value
		case "PRETTY_NAME":
			s.name = value
		}
	}
	return s
}

// isA reports whether the system is one of the families, or like one.
func (s system) isA(families ...string) bool {
	for _, is := range append(strings.Fields(s.like), s.id) {
		for _, family := range families {
			if is == family {
				return true
			}
		}
	}
	return false
}

// commands are what to type to install the services. An empty result means that we do not know.
func (s system) commands(missing []Service) string {
	pick := func(install, postgres, redis string) string {
		for _, name := range missing {
			if name == Postgres {
				install += " " + postgres
			} else {
				install += " " + redis
			}
		}
		return install
	}
	switch {
	case s.isA("debian", "ubuntu"):
		return "sudo apt-get update && " + pick("sudo apt-get install -y", "postgresql", "redis-server")
	case s.isA("fedora"):
		return pick("sudo dnf install -y", "postgresql-server", "valkey")
	case s.isA("rhel", "centos"):
		return pick("sudo dnf install -y", "postgresql-server", "redis")
	case s.isA("arch"):
		return pick("sudo pacman -S --needed", "postgresql", "valkey")
	case s.isA("alpine"):
		return pick("sudo apk add", "postgresql", "redis")
	case s.isA("suse", "opensuse"):
		return pick("sudo zypper install -y", "postgresql-server", "redis")
	case s.isA("darwin"):
		return pick("brew install", "postgresql@17", "redis")
	}
	return ""
}

// missingError says what is missing, why what was found does not do, and what to type.
func missingError(missing []Service, why error) error {
	names := make([]string, 0, len(missing))
	for _, name := range missing {
		names = append(names, map[Service]string{Postgres: "Postgres", Redis: "Redis"}[name])
	}
	s := thisSystem()
	advice := "install"
	if commands := s.commands(missing); commands != "" {
		advice = "on " + s.name + " type\n    " + commands + "\n(the servers need not be enabled, only their programs are used)"
	} else {
		advice += " " + strings.Join(names, " and ")
	}
	vars := strings.Join(urlVariables(missing), " and ")
	err := fmt.Errorf("%s: %w; %s, or set %s", strings.Join(names, " and "), ErrMissing, advice, vars)
	if why != nil {
		err = fmt.Errorf("%w\nwhat was tried:\n%w", err, why)
	}
	return err
}

func urlVariables(missing []Service) []string {
	var vars []string
	for _, name := range missing {
		if name == Postgres {
			vars = append(vars, "DATABASE_URL")
		} else {
			vars = append(vars, "REDIS_URL")
		}
	}
	return vars
}
