package journal

// WithSegments makes segments full at a size.
func (o Options) WithSegments(bytes int) Options {
	o.segmentBytes = bytes
	return o
}

// WithFault puts something in the way of every write to the disk.
func (o Options) WithFault(fault func(op, path string, b []byte, at int64) error) Options {
	o.fault = fault
	return o
}

// Spare is the name of the spare segment.
const Spare = spareName
