package torture

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"gavel/internal/devstack"
)

// machine says what the figures were measured on.
func machine(stack *devstack.Stack) string {
	parts := []string{fmt.Sprintf("%d cores", runtime.NumCPU())}
	if model := procValue("/proc/cpuinfo", "model name"); model != "" {
		parts[0] += " (" + model + ")"
	}
	var kB int64
	if _, err := fmt.Sscanf(procValue("/proc/meminfo", "MemTotal"), "%d", &kB); err == nil {
		parts = append(parts, fmt.Sprintf("%.0f GB of memory", float64(kB)/(1<<20)))
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		number, _, _ := strings.Cut(strings.TrimSpace(string(release)), "-")
		parts = append(parts, runtime.GOOS+" "+number)
	}
	parts = append(parts, runtime.Version())
	for _, i := range stack.Info() {
		parts = append(parts, strings.TrimSpace(i.Product+" "+i.Version))
	}
	return strings.Join(parts, ", ")
}

// loadAverage is how many threads have run or waited over the last minute.
func loadAverage() (average float64) {
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		_, _ = fmt.Sscanf(string(text), "%f", &average) // 0 where it cannot be told
	}
	return average
}

// procValue is the value of the first line "name: value".
func procValue(path, name string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// describeLoad says what the clients do.
func (h *harness) describeLoad() string {
	return fmt.Sprintf("%d page loads/s of %d slots over %d nodes, open loop (%d ads/s); %d campaigns of %d accounts; every ad's impression is reported, %.0f %% viewable; "+
		"%.0f %% of events twice, %.0f %% again later, %.0f %% with a forged one beside",
		h.Rate, slotsPerPage, nodeCount, h.Rate*slotsPerPage, campaignCount, accountCount, 100*viewableShare, 100*duplicateShare, 100*replayShare, 100*forgedShare)
}
