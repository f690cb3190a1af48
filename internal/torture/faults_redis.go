package torture

// redisFaults are what happens to Redis.
func redisFaults() []Fault { return nil }
