package postgres_test

import (
	"testing"

	"go.uber.org/goleak"

	"gavel/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, testenv.LeakOptions()...) }
