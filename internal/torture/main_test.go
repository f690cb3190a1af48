package torture

import (
	"testing"

	"go.uber.org/goleak"
)

// The HTTP client's cleaner of idle connections ends by itself, seconds after the last one.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"))
}
