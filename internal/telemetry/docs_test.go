package telemetry

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// The table of variables in docs/observability.md names only what is known here, and all that is decided here.
func TestDocumentedVariables(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := regexp.MustCompile(`OTEL_[A-Z_]+[A-Z]`).FindAllString(string(doc), -1)
	known := allKeys()
	for _, key := range documented {
		if !slices.Contains(known, key) {
			t.Errorf("%s is documented, but not known", key)
		}
	}
	for _, key := range append(decidedKeys, "OTEL_SDK_DISABLED", "OTEL_SERVICE_NAME", "OTEL_EXPORTER_OTLP_ENDPOINT") {
		if !slices.Contains(documented, key) {
			t.Errorf("%s is not documented", key)
		}
	}
}
