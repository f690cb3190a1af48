package torture

// netFaults are what happens to connections.
func netFaults() []Fault { return nil }
