package torture

// pointFaults are what happens when a node is killed at a named point.
func pointFaults() []Fault { return nil }
