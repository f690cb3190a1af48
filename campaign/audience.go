package campaign

import (
	"fmt"
	"slices"
	"time"

	"gavel/internal/fault"
)

// CustomerList is the one audience type that exists yet: users that the advertiser names.
const CustomerList = "CUSTOMER_LIST"

// Audience is a set of users that ad groups can include or exclude.
type Audience struct {
	ID          AudienceID
	AdAccountID AdAccountID
	Name        string
	Description string
	Size        int64
	// ListType says how uploads name its users.
	ListType ListType
	// Batches is how often its users were changed; Added and Removed are how many records said so, whether or not anything changed.
	Batches, Added, Removed int64
	CreatedAt, UpdatedAt    time.Time
}

// AudienceInput creates an audience.
type AudienceInput struct {
	AdAccountID       Opt[AdAccountID]
	Name, Description Opt[string]
	Type              Opt[string]
	// CustomerList names an audience that is there: it gets the name and the description.
	CustomerList Opt[AudienceID]
}

func newAudience(account AdAccountID, in AudienceInput) (Audience, []fault.Field) {
	var p fault.Fields
	a := Audience{AdAccountID: account, ListType: ListOfUserIDs}
	checkOwnAccount(&p, in.AdAccountID, account)
	required(&p, "name", in.Name)
	required(&p, "audience_type", in.Type)
	apply(&p, "name", in.Name, &a.Name)
	applyNullable(in.Description, &a.Description)
	if in.Name.Given() {
		checkText(&p, "name", a.Name, 1, 256)
	}
	checkText(&p, "description", a.Description, 0, 1000)
	var kind string
	apply(&p, "audience_type", in.Type, &kind)
	if in.Type.Given() && kind != CustomerList {
		if slices.Contains([]string{"VISITOR", "ENGAGEMENT", "ACTALIKE", "PERSONA"}, kind) {
			p.Add("audience_type", kind+" is not supported yet: use CUSTOMER_LIST")
		} else {
			p.Add("audience_type", "must be CUSTOMER_LIST")
		}
	}
	return a, p
}

// The operations on the users of an audience.
const (
	AddUsers    = "ADD"
	RemoveUsers = "REMOVE"
)

// AudienceUsersInput adds users to an audience or removes them.
type AudienceUsersInput struct {
	Operation Opt[string]
	// UserIDs are the ids by which ad requests name users.
	UserIDs Opt[[]string]
}

// MaxUserIDLength is the most characters of a user id.
const MaxUserIDLength = 128

// hashes checks the input and returns the users' hashes, sorted and without duplicates.
func (in AudienceUsersInput) hashes() ([]int64, []fault.Field) {
	var p fault.Fields
	required(&p, "operation_type", in.Operation)
	required(&p, "user_ids", in.UserIDs)
	var operation string
	apply(&p, "operation_type", in.Operation, &operation)
	if in.Operation.Given() {
		checkOneOf(&p, "operation_type", operation, AddUsers, RemoveUsers)
	}
	var ids []string
	apply(&p, "user_ids", in.UserIDs, &ids)
	if in.UserIDs.Given() && (len(ids) == 0 || len(ids) > MaxAudienceUsers) {
		p.Add("user_ids", fmt.Sprintf("must have 1 to %d elements, has %d", MaxAudienceUsers, len(ids)))
		return nil, p
	}
	hashes := make([]int64, len(ids))
	for i, id := range ids {
		if id == "" || len(id) > MaxUserIDLength {
			p.Add(fault.Index("user_ids", i), fmt.Sprintf("must have 1 to %d characters", MaxUserIDLength))
		}
		hashes[i] = UserHash(id)
	}
	slices.Sort(hashes)
	return slices.Compact(hashes), p
}
