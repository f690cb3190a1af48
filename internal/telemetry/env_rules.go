package telemetry

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"gavel/internal/telemetry/redact"
)

// rule checks one variable when it is set. What it says never repeats a value that may hold a secret.
type rule struct {
	key   string
	check func(string) error
}

// boolKeys count as false unless they say "true"; the specification wants a warning, not an error.
var boolKeys = []string{
	"OTEL_SDK_DISABLED",
	"OTEL_EXPORTER_OTLP_INSECURE", "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
	"OTEL_EXPORTER_OTLP_METRICS_INSECURE", "OTEL_EXPORTER_OTLP_LOGS_INSECURE",
}

// decidedKeys are read by readEnv itself.
var decidedKeys = []string{
	"OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER",
	"OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_PROPAGATORS",
}

// allKeys returns every variable that is known here.
func allKeys() []string {
	keys := slices.Concat(boolKeys, decidedKeys, []string{"OTEL_SERVICE_NAME", "OTEL_EXPORTER_PROMETHEUS_HOST"})
	for _, r := range rules(os.Getenv) {
		keys = append(keys, r.key)
	}
	return keys
}

// rules returns the checks of what the SDK reads by itself.
func rules(getenv func(string) string) []rule {
	all := slices.Concat(
		checked(integer(1, math.MaxInt32),
			"OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
			"OTEL_BLRP_SCHEDULE_DELAY", "OTEL_BLRP_MAX_QUEUE_SIZE", "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
			"OTEL_METRIC_EXPORT_INTERVAL", "OTEL_METRIC_EXPORT_TIMEOUT"),
		checked(integer(0, math.MaxInt32), "OTEL_BSP_EXPORT_TIMEOUT", "OTEL_BLRP_EXPORT_TIMEOUT"),
		checked(integer(-1, math.MaxInt32), // -1: no limit
			"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT",
			"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
			"OTEL_SPAN_EVENT_COUNT_LIMIT", "OTEL_SPAN_LINK_COUNT_LIMIT",
			"OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
			"OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT"),
		checked(integer(1, math.MaxUint16), "OTEL_EXPORTER_PROMETHEUS_PORT"),
		checked(pairs, "OTEL_RESOURCE_ATTRIBUTES"),
		checked(foldedOneOf("always_on", "always_off", "trace_based"), "OTEL_METRICS_EXEMPLAR_FILTER"),
		checked(foldedOneOf("cumulative", "delta", "lowmemory"), "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"),
		checked(oneOf("explicit_bucket_histogram", "base2_exponential_bucket_histogram"),
			"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"),
	)
	for _, signal := range []string{"", "TRACES_", "METRICS_", "LOGS_"} {
		p := "OTEL_EXPORTER_OTLP_" + signal
		protocol := cmp.Or(getenv(p+"PROTOCOL"), getenv("OTEL_EXPORTER_OTLP_PROTOCOL"))
		all = append(all,
			rule{p + "ENDPOINT", endpointFor(protocol)},
			rule{p + "PROTOCOL", oneOf("http/protobuf", "grpc")},
			rule{p + "COMPRESSION", oneOf("gzip", "none")},
			rule{p + "TIMEOUT", integer(0, math.MaxInt32)},
			rule{p + "HEADERS", pairs},
			rule{p + "CERTIFICATE", readable},
			rule{p + "CLIENT_CERTIFICATE", readable},
			rule{p + "CLIENT_KEY", readable},
		)
	}
	return all
}

func checked(check func(string) error, keys ...string) []rule {
	all := make([]rule, 0, len(keys))
	for _, key := range keys {
		all = append(all, rule{key, check})
	}
	return all
}

func integer(least, most int) func(string) error {
	return func(v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < least || n > most {
			return fmt.Errorf("%q is not a whole number between %d and %d", redact.Text(v), least, most)
		}
		return nil
	}
}

func oneOf(known ...string) func(string) error {
	return func(v string) error {
		if !slices.Contains(known, v) {
			return notOneOf(v, known...)
		}
		return nil
	}
}

// foldedOneOf is oneOf for the variables that the SDK reads in any case of letters.
func foldedOneOf(known ...string) func(string) error {
	return func(v string) error { return oneOf(known...)(strings.ToLower(strings.TrimSpace(v))) }
}

// endpointFor accepts http(s) URLs; gRPC also takes whatever its client can resolve (host:port, unix:…, dns:…).
func endpointFor(protocol string) func(string) error {
	return func(v string) error {
		u, err := url.Parse(strings.TrimSpace(v))
		if err != nil {
			return errors.New("is not a URL") // the parser's own text repeats the value
		}
		if protocol != "grpc" && ((u.Scheme != "http" && u.Scheme != "https") || u.Host == "") {
			return fmt.Errorf("%q is not an http:// or https:// URL", redact.Text(v))
		}
		return nil
	}
}

// pairs accepts k=v,k2=v2 with percent-encoded values, and repeats nothing: headers hold keys.
func pairs(v string) error {
	n := 0
	for pair := range strings.SplitSeq(v, ",") {
		n++
		key, value, found := strings.Cut(pair, "=")
		if !found || strings.TrimSpace(key) == "" {
			return fmt.Errorf("entry %d is not of the form key=value", n)
		}
		if _, err := url.PathUnescape(value); err != nil {
			return fmt.Errorf("entry %d has a value that is not percent-encoded", n)
		}
	}
	return nil
}

func readable(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return f.Close()
}
