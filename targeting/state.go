package targeting

import "errors"

// What the store of an index answers its writer; see targeting/indexer.
var (
	// ErrStale says that a later writer has taken over: the caller must stop writing.
	ErrStale = errors.New("index belongs to a later epoch")
	// ErrGeneration says that what the caller wants to change is not there any more: the store was emptied, or somebody else
	// has rebuilt it.
	ErrGeneration = errors.New("generation is not published")
)

// StoreState is what a store says of the index it holds.
type StoreState struct {
	// Schema is the layout of what is stored; Readable says that this program knows it.
	Schema   string
	Readable bool
	// Generation is the published one, "" if there is none. Seq is the number of its last change, 0 for none yet; BaseSeq that of
	// the last change that its segments hold, so that the log is needed from the next on.
	Generation   string
	Seq, BaseSeq int64
	// Ads is how many ads the segments hold, LogBytes about how many bytes the changes after BaseSeq take.
	Ads, LogBytes int64
	// Bounds are those that the order of the segments was made with.
	Bounds Bounds
	// Damage is what of the index is missing or cannot be read, "" as far as is known without reading all of it.
	Damage string
	// Restarted says that the store has been restarted since the generation was published, and may have lost the end of it.
	Restarted bool
	// Rebuild is why a node wants the index rebuilt, "" if none does.
	Rebuild string
	// Users is the generation of memberships that is complete, "" if none is.
	Users string
}

// Snapshot is an index with where it stands: it holds the changes of a generation up to Seq, and no later one.
type Snapshot struct {
	Generation string
	Seq        int64
	Index      *Index
}

// Publication is an index that is to be written to a store.
type Publication struct {
	// Name is that of no other publication, whatever the clock does.
	Name string
	// Index is compacted.
	Index *Index
	// Bounds are those that Index was made with.
	Bounds Bounds
	// Progress, unless nil, is called with how many of how many segments are written.
	Progress func(done, all int)
}
