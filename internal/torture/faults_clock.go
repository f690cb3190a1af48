package torture

// clockFaults are what happens to the time.
func clockFaults() []Fault { return nil }
