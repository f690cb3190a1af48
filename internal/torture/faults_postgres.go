package torture

// postgresFaults are what happens to Postgres.
func postgresFaults() []Fault { return nil }
