package targeting

// WithChecksum is data as if this package had written it.
func WithChecksum(data []byte) []byte { return appendChecksum(append([]byte(nil), data...), 0) }
