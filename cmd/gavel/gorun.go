package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// underGoRun ends ctx when this process was started by `go run` and that is killed: it cannot pass a kill on, and a
// development stack that nobody sees any more would stay.
func underGoRun(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	path, err := os.Executable()
	if err != nil || !strings.Contains(filepath.ToSlash(path), "/go-build") {
		return ctx, cancel
	}
	parent := os.Getppid()
	go func() {
		t := time.NewTicker(parentCheck)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				if os.Getppid() != parent {
					cancel()
				}
			}
		}
	}()
	return ctx, cancel
}

// parentCheck is how often the parent is looked at.
const parentCheck = 200 * time.Millisecond
