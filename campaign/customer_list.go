package campaign

// ListType says how the records of an upload name users.
type ListType string

// The types that Gavel can match.
const (
	// ListOfUserIDs names users as ad requests do: Gavel's own type.
	ListOfUserIDs ListType = "USER_ID"
	// ListOfHashes names them by the SHA-256 of that, as 64 hexadecimal digits: v5's type for ids that the platform gave out.
	ListOfHashes ListType = "HASHED_PINNER_ID"
)
