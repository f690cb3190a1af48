package telemetry

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/contrib/propagators/autoprop"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"gavel/internal/telemetry/redact"
)

// What OTEL_{TRACES,METRICS,LOGS}_EXPORTER may say; exporterOff is what it means when nothing says anything.
const (
	exporterOff        = ""
	exporterOTLP       = "otlp"
	exporterConsole    = "console"
	exporterPrometheus = "prometheus"
	exporterNone       = "none"
)

// settings is what the OTEL_* variables ask for, as far as it is decided here. The rest (endpoints, headers, batch sizes,
// limits, resource attributes) the SDK reads by itself; it is checked here, because the SDK ignores what it cannot read.
type settings struct {
	disabled              bool
	traces, metrics, logs string
	sampler               sdktrace.Sampler
	propagator            propagation.TextMapPropagator
	// warnings are about values that the specification says must not stop the program.
	warnings []string
}

// readEnv returns what the environment asks for, or an error that names every variable whose value is wrong.
func readEnv(getenv func(string) string) (settings, error) {
	var s settings
	var problems []error

	s.disabled = isTrue(getenv("OTEL_SDK_DISABLED"))
	for _, key := range boolKeys {
		if v := getenv(key); v != "" && !isTrue(v) && !strings.EqualFold(v, "false") {
			s.warnings = append(s.warnings, fmt.Sprintf("%s=%q counts as false", key, redact.Text(v)))
		}
	}
	for _, sig := range []struct {
		name  string
		to    *string
		known []string
	}{
		{"TRACES", &s.traces, []string{exporterOTLP, exporterConsole, exporterNone}},
		{"METRICS", &s.metrics, []string{exporterOTLP, exporterConsole, exporterPrometheus, exporterNone}},
		{"LOGS", &s.logs, []string{exporterOTLP, exporterConsole, exporterNone}},
	} {
		var err error
		*sig.to, err = exporterOf(getenv, sig.name, sig.known)
		problems = append(problems, err)
	}

	var err error
	s.sampler, err = samplerOf(getenv("OTEL_TRACES_SAMPLER"), getenv("OTEL_TRACES_SAMPLER_ARG"))
	problems = append(problems, err)
	s.propagator, err = propagatorOf(getenv("OTEL_PROPAGATORS"))
	problems = append(problems, err)
	for _, r := range rules(getenv) {
		if v := getenv(r.key); v != "" {
			if err := r.check(v); err != nil {
				problems = append(problems, fmt.Errorf("%s: %w", r.key, err))
			}
		}
	}
	problems = append(problems, checkBatchFitsQueue(getenv, "BSP"), checkBatchFitsQueue(getenv, "BLRP"))
	return s, errors.Join(problems...)
}

// checkProcessEnv returns an error for every variable that getenv sets and the process does not: the exporters read the
// process environment, so such a value would be believed here and ignored there.
func checkProcessEnv(getenv func(string) string) error {
	var problems []error
	for _, key := range allKeys() {
		if v := getenv(key); v != "" && v != os.Getenv(key) {
			problems = append(problems, fmt.Errorf("%s: is not what the environment of the process says", key))
		}
	}
	return errors.Join(problems...)
}

// exporterOf tells where a signal goes. Without an exporter and an endpoint it goes nowhere: the specification's default,
// OTLP to localhost, would fill the log of everybody who has no collector.
func exporterOf(getenv func(string) string, signal string, known []string) (string, error) {
	key := "OTEL_" + signal + "_EXPORTER"
	v := getenv(key)
	switch {
	case v == "" && (getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || getenv("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT") != ""):
		return exporterOTLP, nil
	case v == "" || v == exporterNone:
		return exporterOff, nil
	case slices.Contains(known, v):
		return v, nil
	default:
		return exporterOff, fmt.Errorf("%s: %w", key, notOneOf(v, known...))
	}
}

func samplerOf(name, arg string) (sdktrace.Sampler, error) {
	ratio := func() (sdktrace.Sampler, error) {
		if strings.TrimSpace(arg) == "" {
			return sdktrace.AlwaysSample(), nil
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(arg), 64)
		if err != nil || !(f >= 0 && f <= 1) { // NaN is neither
			return nil, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG: %q is not a ratio between 0 and 1", redact.Text(arg))
		}
		return sdktrace.TraceIDRatioBased(f), nil
	}
	parentBased := func(root sdktrace.Sampler, err error) (sdktrace.Sampler, error) {
		if err != nil {
			return nil, err
		}
		return sdktrace.ParentBased(root), nil
	}
	switch strings.ToLower(strings.TrimSpace(name)) {
	case "", "parentbased_always_on":
		return parentBased(sdktrace.AlwaysSample(), nil)
	case "parentbased_always_off":
		return parentBased(sdktrace.NeverSample(), nil)
	case "parentbased_traceidratio":
		return parentBased(ratio())
	case "always_on":
		return sdktrace.AlwaysSample(), nil
	case "always_off":
		return sdktrace.NeverSample(), nil
	case "traceidratio":
		return ratio()
	default:
		return nil, fmt.Errorf("OTEL_TRACES_SAMPLER: %w", notOneOf(name, "always_on", "always_off", "traceidratio",
			"parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"))
	}
}

func propagatorOf(list string) (propagation.TextMapPropagator, error) {
	if strings.TrimSpace(list) == "" {
		list = "tracecontext,baggage"
	}
	var names []string
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	p, err := autoprop.TextMapPropagator(names...)
	if err != nil {
		return nil, fmt.Errorf("OTEL_PROPAGATORS: %w", notOneOf(list, "tracecontext", "baggage", "b3", "b3multi", "jaeger",
			"xray", "ottrace", "none"))
	}
	return p, nil
}

// checkBatchFitsQueue holds the rule of the specification that the SDK silently overrules; family is BSP or BLRP.
func checkBatchFitsQueue(getenv func(string) string, family string) error {
	queue, batch := 2048, 512 // the specification's defaults
	told := false
	for key, to := range map[string]*int{"_MAX_QUEUE_SIZE": &queue, "_MAX_EXPORT_BATCH_SIZE": &batch} {
		if v := getenv("OTEL_" + family + key); v != "" {
			n, err := strconv.Atoi(v)
			told = told || err != nil // by the rule of that variable
			*to = n
		}
	}
	// A batch of the default size shrinks with the queue.
	if !told && getenv("OTEL_"+family+"_MAX_EXPORT_BATCH_SIZE") != "" && batch > queue {
		return fmt.Errorf("OTEL_%s_MAX_EXPORT_BATCH_SIZE: %d is more than the queue holds (%d)", family, batch, queue)
	}
	return nil
}

func isTrue(v string) bool { return strings.EqualFold(v, "true") }

func notOneOf(v string, known ...string) error {
	return fmt.Errorf("%q is not one of %s", redact.Text(v), strings.Join(known, ", "))
}
