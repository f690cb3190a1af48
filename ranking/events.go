package ranking

import "time"

// Cursor is how far a trainer has read the event store. Each field is the first transaction that it has not read: of impressions that
// the click model has learned, of clicks that it has heard of, of clicks that the conversion model has learned, and of conversions
// that it has heard of.
type Cursor struct {
	Impressions, Clicks, Clicked, Conversions int64
}

// Windows say when an impression, or a click, is learned: so long after it was recorded. What comes of it later is a correction.
type Windows struct {
	Click, Conversion time.Duration
}

// Observation is an impression or a click of the event store, to be learned.
type Observation struct {
	// Item has the ids only; the rest is in Served.
	Item   Item
	Served [ServedSize]byte
	// Positive: it was clicked, or led to a conversion.
	Positive bool
	// Late: it was learned as a negative before, and is a positive.
	Late bool
}

// Observed is a piece of the event store, in the order in which it is to be learned: the same for everyone who reads from the same
// cursor to the same cursor.
type Observed struct {
	// Clicks are for the click model, Conversions for the conversion model.
	Clicks, Conversions []Observation
	// Cursor is where the next piece begins.
	Cursor Cursor
	// More says that there is more to be had at once.
	More bool
}

// Saved is what a trainer has to come back to.
type Saved struct {
	Cursor Cursor
	// State is what [Trainer.AppendState] made, nil for one that has learned nothing.
	State []byte
	// Published is the number of the last snapshot, refused or not.
	Published int64
}

// Published is a snapshot as it is stored.
type Published struct {
	Number    int64
	Version   string
	CreatedAt time.Time
	// Metrics is a JSON object, for people.
	Metrics []byte
	// Refused says why no node may use the snapshot; "" for one that they may. Body is nil then.
	Refused string
	// Body is what [Snapshot.Append] made.
	Body []byte
	// Pinned says that nodes use this one whatever is newer.
	Pinned bool
}
