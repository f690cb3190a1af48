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
	// Generation is the published one, "" if there is none. Seq is the number of its last change, 0 for none yet.
	Generation string
	Seq        int64
	// Ads is how many ads it should hold, Held how many it holds.
	Ads, Held int64
	// Restarted says that the store has been restarted since the generation was published, and may have lost the end of it.
	Restarted bool
	// Rebuild is why a node wants the index rebuilt, "" if none does.
	Rebuild string
	// Users is the generation of memberships that is complete, "" if none is.
	Users string
}
