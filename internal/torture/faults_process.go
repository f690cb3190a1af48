package torture

import "context"

// processFaults are what happens to processes.
func processFaults() []Fault {
	return []Fault{{
		Name: "baseline", About: "nothing happens", Short: true,
		Run: func(context.Context, *World) error { return nil },
	}}
}
