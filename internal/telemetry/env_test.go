package telemetry

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// from returns a getenv over a map.
func from(env map[string]string) func(string) string {
	return func(key string) string { return env[key] }
}

func TestExportersByEnvironment(t *testing.T) {
	t.Parallel()
	const at = "http://collector:4318"
	for name, c := range map[string]struct {
		env                   map[string]string
		traces, metrics, logs string
	}{
		"nothing set":            {nil, "", "", ""},
		"empty is unset":         {map[string]string{"OTEL_TRACES_EXPORTER": "", "OTEL_EXPORTER_OTLP_ENDPOINT": ""}, "", "", ""},
		"headers alone":          {map[string]string{"OTEL_EXPORTER_OTLP_HEADERS": "k=v"}, "", "", ""},
		"an endpoint for all":    {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": at}, "otlp", "otlp", "otlp"},
		"an endpoint for traces": {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": at}, "otlp", "", ""},
		"for metrics":            {map[string]string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": at}, "", "otlp", ""},
		"for logs":               {map[string]string{"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": at}, "", "", "otlp"},
		"an exporter by name":    {map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_LOGS_EXPORTER": "console"}, "otlp", "", "console"},
		"prometheus":             {map[string]string{"OTEL_METRICS_EXPORTER": "prometheus"}, "", "prometheus", ""},
		"none wins over an endpoint": {
			map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": at, "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"},
			"otlp", "", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := readEnv(from(c.env))
			if err != nil {
				t.Fatal(err)
			}
			if s.traces != c.traces || s.metrics != c.metrics || s.logs != c.logs {
				t.Errorf("traces %q, metrics %q, logs %q", s.traces, s.metrics, s.logs)
			}
		})
	}
}

func TestSamplersByEnvironment(t *testing.T) {
	t.Parallel()
	parent := "ParentBased{root:%,remoteParentSampled:AlwaysOnSampler,remoteParentNotSampled:AlwaysOffSampler," +
		"localParentSampled:AlwaysOnSampler,localParentNotSampled:AlwaysOffSampler}"
	under := func(root string) string { return strings.Replace(parent, "%", root, 1) }
	for _, c := range []struct{ name, arg, want string }{
		{"", "", under("AlwaysOnSampler")},
		{"always_on", "ignored", "AlwaysOnSampler"},
		{"ALWAYS_OFF", "", "AlwaysOffSampler"},
		{"traceidratio", "0.25", "TraceIDRatioBased{0.25}"},
		{"traceidratio", "", "AlwaysOnSampler"},
		{"parentbased_always_on", "", under("AlwaysOnSampler")},
		{"parentbased_always_off", "", under("AlwaysOffSampler")},
		{"parentbased_traceidratio", " 0.01 ", under("TraceIDRatioBased{0.01}")},
	} {
		s, err := samplerOf(c.name, c.arg)
		if err != nil {
			t.Errorf("%s(%s): %v", c.name, c.arg, err)
			continue
		}
		if got := s.Description(); got != c.want {
			t.Errorf("%s(%s) is %s, want %s", c.name, c.arg, got, c.want)
		}
	}
	for _, c := range [][2]string{
		{"jaeger_remote", ""},
		{"sometimes", ""},
		{"traceidratio", "1.5"},
		{"traceidratio", "-1"},
		{"traceidratio", "NaN"},
		{"parentbased_traceidratio", "1%"},
	} {
		if s, err := samplerOf(c[0], c[1]); err == nil {
			t.Errorf("%s(%s) is %s, want an error", c[0], c[1], s.Description())
		}
	}
}

func TestPropagatorsByEnvironment(t *testing.T) {
	t.Parallel()
	for list, want := range map[string][]string{
		"":                        {"baggage", "traceparent", "tracestate"},
		"tracecontext":            {"traceparent", "tracestate"},
		" tracecontext , baggage": {"baggage", "traceparent", "tracestate"},
		"b3":                      {"b3"},
		"none":                    nil,
	} {
		p, err := propagatorOf(list)
		if err != nil {
			t.Errorf("%q: %v", list, err)
			continue
		}
		fields := slices.Sorted(slices.Values(p.Fields()))
		if list == "b3" {
			fields = slices.DeleteFunc(fields, func(f string) bool { return strings.HasPrefix(f, "x-") })
		}
		if !slices.Equal(fields, want) {
			t.Errorf("%q reads %v, want %v", list, fields, want)
		}
	}
	if _, err := propagatorOf("tracecontext,smoke"); err == nil {
		t.Error("smoke is a propagator")
	}
}

func TestDisabled(t *testing.T) {
	t.Parallel()
	for v, want := range map[string]struct {
		disabled bool
		warnings int
	}{"true": {true, 0}, "TRUE": {true, 0}, "false": {false, 0}, "": {false, 0}, "yes": {false, 1}, "1": {false, 1}} {
		s, err := readEnv(from(map[string]string{"OTEL_SDK_DISABLED": v}))
		if err != nil || s.disabled != want.disabled || len(s.warnings) != want.warnings {
			t.Errorf("%q: disabled %v, warnings %q, error %v", v, s.disabled, s.warnings, err)
		}
	}
}

func TestEveryWrongValueIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	wrong := map[string]string{
		"OTEL_TRACES_EXPORTER":                                     "zipkin",
		"OTEL_METRICS_EXPORTER":                                    " otlp",
		"OTEL_LOGS_EXPORTER":                                       "prometheus",
		"OTEL_TRACES_SAMPLER":                                      "often",
		"OTEL_PROPAGATORS":                                         "pigeon",
		"OTEL_EXPORTER_OTLP_ENDPOINT":                              "https://u:" + secret + "@collector:port",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT":                       "collector:4318?token=" + secret,
		"OTEL_EXPORTER_OTLP_PROTOCOL":                              "http/json",
		"OTEL_EXPORTER_OTLP_HEADERS":                               "authorization " + secret,
		"OTEL_EXPORTER_OTLP_LOGS_HEADERS":                          "k=%zz" + secret,
		"OTEL_EXPORTER_OTLP_TIMEOUT":                               "10s",
		"OTEL_EXPORTER_OTLP_COMPRESSION":                           "zstd",
		"OTEL_EXPORTER_OTLP_CERTIFICATE":                           "/does/not/exist.pem",
		"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE":        "sometimes",
		"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "none",
		"OTEL_RESOURCE_ATTRIBUTES":                                 "team",
		"OTEL_BSP_SCHEDULE_DELAY":                                  "0",
		"OTEL_BSP_MAX_QUEUE_SIZE":                                  "-5",
		"OTEL_BLRP_MAX_EXPORT_BATCH_SIZE":                          "4096",
		"OTEL_METRIC_EXPORT_INTERVAL":                              "1m",
		"OTEL_METRICS_EXEMPLAR_FILTER":                             "all",
		"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT":                          "-2",
	}
	_, err := readEnv(from(wrong))
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	for key := range maps.Keys(wrong) {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, key+": ") }) {
			t.Errorf("%s is not named", key)
		}
	}
	if len(lines) != len(wrong) {
		t.Errorf("%d problems for %d values", len(lines), len(wrong))
	}
	if strings.Contains(err.Error(), secret) {
		t.Errorf("a secret is repeated:\n%v", err)
	}
	if t.Failed() {
		t.Log(err)
	}
}

func TestRightValuesPass(t *testing.T) {
	t.Parallel()
	for name, env := range map[string]map[string]string{
		"grpc takes host:port": {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"},
		"one signal over grpc": {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "unix:/run/otel.sock"},
		"a small queue":        {"OTEL_BSP_MAX_QUEUE_SIZE": "64"},
		"queue and batch":      {"OTEL_BSP_MAX_QUEUE_SIZE": "4096", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4096"},
		"no limit":             {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "-1"},
		"headers":              {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20abc,x-scope=1"},
		"any case":             {"OTEL_METRICS_EXEMPLAR_FILTER": "Trace_Based"},
	} {
		if _, err := readEnv(from(env)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
