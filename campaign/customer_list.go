package campaign

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"gavel/internal/fault"
)

// ListType says how the records of an upload name users.
type ListType string

// The types that Gavel can match.
const (
	// ListOfUserIDs names users as ad requests do: Gavel's own type.
	ListOfUserIDs ListType = "USER_ID"
	// ListOfHashes names them by the SHA-256 of that, as 64 hexadecimal digits: v5's type for ids that the platform gave out.
	ListOfHashes ListType = "HASHED_PINNER_ID"
)

// CustomerListInput creates an audience with its first users.
type CustomerListInput struct {
	Name     Opt[string]
	ListType Opt[string]
	// Records are the users, separated by commas or lines, at most [MaxAudienceUsers]. More are uploaded.
	Records Opt[string]
}

// CustomerListUpdate adds the users of records or removes them.
type CustomerListUpdate struct {
	Operation, Records Opt[string]
}

// ReplaceUsers makes the users of an upload the only ones: Gavel's own operation, beside AddUsers and RemoveUsers.
const ReplaceUsers = "REPLACE"

func newCustomerList(account AdAccountID, in CustomerListInput) (a Audience, users PartContents, _ []fault.Field) {
	var p fault.Fields
	a = Audience{AdAccountID: account}
	required(&p, "name", in.Name)
	required(&p, "list_type", in.ListType)
	apply(&p, "name", in.Name, &a.Name)
	if in.Name.Given() {
		checkText(&p, "name", a.Name, 1, 256)
	}
	var kind string
	apply(&p, "list_type", in.ListType, &kind)
	if in.ListType.Given() {
		a.ListType = checkListType(&p, kind)
	}
	if in.Records.Given() && a.ListType != "" {
		users = checkRecords(&p, in.Records, a.ListType)
	}
	return a, users, p
}

func checkListType(p *fault.Fields, kind string) ListType {
	switch t := ListType(kind); {
	case t == ListOfUserIDs || t == ListOfHashes:
		return t
	case slices.Contains([]string{"EMAIL", "IDFA", "MAID", "LR_ID", "DLX_ID"}, kind):
		p.Add("list_type", kind+" is not supported: ad requests name users by the feed's own id, and nothing says whose "+kind+
			" is which; use USER_ID, or HASHED_PINNER_ID with the SHA-256 of that id")
	default:
		p.Add("list_type", "must be one of USER_ID, HASHED_PINNER_ID")
	}
	return ""
}

// checkRecords reads the records of a request's body.
func checkRecords(p *fault.Fields, records Opt[string], t ListType) PartContents {
	var text string
	apply(p, "records", records, &text)
	c, err := ReadPart(strings.NewReader(text), t)
	switch {
	case err != nil:
		p.Add("records", fault.From(err).Message)
	case c.Records > MaxAudienceUsers:
		p.Add("records", fmt.Sprintf("must be at most %d, are %d: use an upload", MaxAudienceUsers, c.Records))
	case c.Records == 0 && records.Given():
		p.Add("records", "must not be empty")
	}
	for problem, n := range c.Invalid {
		p.Add("records", fmt.Sprintf("%d %s", n, problem.Text()))
	}
	return c
}

// UploadID names an upload.
type UploadID int64

// UploadState is where an upload is; the names are v5's.
type UploadState string

// The states of an upload.
const (
	UploadNotStarted UploadState = "NOT_STARTED" // parts are accepted
	UploadRunning    UploadState = "RUNNING"
	UploadSucceeded  UploadState = "SUCCEEDED"
	UploadFailed     UploadState = "FAILED"
)

// Limits of an upload.
const (
	MaxUploadParts = 10_000
	// MaxPartRecords bounds the memory of taking a part in: eight bytes for each record.
	MaxPartRecords = 1 << 20
	MaxPartBytes   = 128 << 20
	// MaxUploadRecords bounds the memory of working an upload through: eight bytes for each 256th record.
	MaxUploadRecords = 1 << 30
)

// Upload is a file of records in parts, and what became of it.
type Upload struct {
	ID          UploadID
	AdAccountID AdAccountID
	AudienceID  AudienceID
	Operation   string
	// TotalParts is how many parts there must be; 0: as many as there are.
	TotalParts int
	State      UploadState
	// Records are all that were sent, Valid those of them that name a user; Done are the valid ones that are members by now.
	Records, Valid, Done int64
	CreatedAt, UpdatedAt time.Time
}

// UploadInput creates an upload.
type UploadInput struct {
	Operation  Opt[string]
	TotalParts Opt[int64]
}

func newUpload(account AdAccountID, audience AudienceID, in UploadInput) (Upload, []fault.Field) {
	var p fault.Fields
	u := Upload{AdAccountID: account, AudienceID: audience}
	required(&p, "operation", in.Operation)
	apply(&p, "operation", in.Operation, &u.Operation)
	if in.Operation.Given() {
		checkOneOf(&p, "operation", u.Operation, AddUsers, RemoveUsers, ReplaceUsers)
	}
	if in.TotalParts.Given() {
		if in.TotalParts.Value < 1 || in.TotalParts.Value > MaxUploadParts {
			p.Add("total_parts", fmt.Sprintf("must be from 1 to %d", MaxUploadParts))
		}
		u.TotalParts = int(in.TotalParts.Value)
	}
	return u, p
}

// checkComplete says why an upload cannot be run.
func (u Upload) checkComplete(parts []UploadPart) error {
	var p fault.Fields
	want := u.TotalParts
	if want == 0 {
		want = len(parts)
	}
	if len(parts) == 0 {
		p.Add("", "no part was sent")
	}
	have := map[int]bool{}
	var valid int64
	for _, part := range parts {
		have[part.Number] = true
		valid += part.Valid()
		if part.Number > want {
			p.Add("", fmt.Sprintf("part %d was sent, of %d", part.Number, want))
		}
	}
	for n, missing := 1, 0; n <= want && missing < 20; n++ {
		if !have[n] {
			p.Add("", fmt.Sprintf("part %d is missing", n))
			missing++
		}
	}
	if valid > MaxUploadRecords {
		p.Add("", fmt.Sprintf("%d records are more than the %d of one upload", valid, int64(MaxUploadRecords)))
	}
	return p.Err("the upload is not complete")
}

// UploadPart is what is known of a part.
type UploadPart struct {
	Number int
	Bytes  int64
	// SHA256 is of the part's bytes as they are without compression.
	SHA256 [sha256.Size]byte
	// Records counts all, Invalid those that name no user, by what is wrong with them.
	Records int64
	Invalid map[RecordProblem]int64
}

// Valid counts the records that name a user.
func (p UploadPart) Valid() int64 {
	n := p.Records
	for _, invalid := range p.Invalid {
		n -= invalid
	}
	return n
}

// PartContents is a part with the users that it names.
type PartContents struct {
	UploadPart
	// Users are sorted; one who is named twice is there twice.
	Users []int64
}

// Slices is how many slices of all users there are: what is stored of an upload is in the order of slices.
const Slices = 256

// SliceOf is the slice that a user is in. Users of a lower slice are lower.
func SliceOf(user int64) int { return int(uint64(user)>>56) ^ 0x80 }

// Bulk is a piece of the work on the members of a list: those of its users are written already, and the index is to follow.
type Bulk struct {
	// Upload is whose records the users are; 0 when List, which was replaced, is cleaned away.
	Upload UploadID
	List   ListID
	// Users are sorted, the last of them is Through: they and all before are done when the piece is. Last says that it was the last
	// piece; one without users may be.
	Users   []int64
	Through int64
	Records int64
	Last    bool
}

// RecordProblem says what is wrong with a record.
type RecordProblem int

// What can be wrong with a record.
const (
	RecordTooLong RecordProblem = 1
	RecordNotHash RecordProblem = 2
)

// Text says it in words.
func (p RecordProblem) Text() string {
	if p == RecordTooLong {
		return fmt.Sprintf("longer than %d bytes", MaxUserIDLength)
	}
	return "not the 64 hexadecimal digits of a SHA-256"
}

// user is the hash of the user that a record names.
func (t ListType) user(record []byte) (int64, RecordProblem) {
	if t == ListOfUserIDs {
		if len(record) > MaxUserIDLength {
			return 0, RecordTooLong
		}
		return HashPrefix(sha256.Sum256(record)), 0
	}
	var sum [sha256.Size]byte
	if len(record) != hex.EncodedLen(len(sum)) {
		return 0, RecordNotHash
	}
	if _, err := hex.Decode(sum[:], record); err != nil {
		return 0, RecordNotHash
	}
	return HashPrefix(sum), 0
}
