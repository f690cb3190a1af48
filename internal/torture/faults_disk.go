package torture

// diskFaults are what happens to disks.
func diskFaults() []Fault { return nil }
