package campaign

import (
	"context"
	"time"
)

// Store is where the service keeps everything. Its errors are the Err… sentinels of this package, a [fault.Unavailable] when
// the store does not answer in time, or anything else for a defect.
type Store interface {
	AccountReader
	CampaignReader
	AdGroupReader
	AdReader
	ChildReader
	UploadReader
	BudgetReader
	InterestReader
	KeyStore

	// InTx runs f in one transaction and commits it if f returns nil. f may run again, from the start, when the transaction
	// lost a deadlock or a serialization race: it must keep nothing of an earlier run.
	InTx(ctx context.Context, f func(ctx context.Context, tx Tx) error) error
	// ForgetAnswers deletes the kept answers of idempotency keys from before a time.
	ForgetAnswers(ctx context.Context, before time.Time) error
	// ForgetUploads deletes uploads that were not run and that nobody has sent a part to since a time, with their parts.
	ForgetUploads(ctx context.Context, before time.Time) error
}

// Page is a piece of a list, in the order of ids.
type Page struct {
	// Size is the most items to return, at least 1.
	Size int
	// After is the last id of the page before; 0 for the first page.
	After      int64
	Descending bool
}

// Filter narrows a list. Empty slices do not narrow.
type Filter struct {
	Campaigns []CampaignID
	AdGroups  []AdGroupID
	Ads       []AdID
	Statuses  []Status
}

// KeywordFilter narrows a list of keywords. Empty slices do not narrow.
type KeywordFilter struct {
	AdGroups   []AdGroupID
	MatchTypes []MatchType
}

// AccountReader reads ad accounts.
type AccountReader interface {
	// AdAccount returns ErrAdAccountNotFound.
	AdAccount(ctx context.Context, id AdAccountID) (AdAccount, error)
	AdAccounts(ctx context.Context, page Page) ([]AdAccount, error)
}

// CampaignReader reads the campaigns of an account.
type CampaignReader interface {
	// Campaign returns ErrCampaignNotFound.
	Campaign(ctx context.Context, account AdAccountID, id CampaignID) (Campaign, error)
	Campaigns(ctx context.Context, account AdAccountID, f Filter, page Page) ([]Campaign, error)
}

// AdGroupReader reads the ad groups of an account.
type AdGroupReader interface {
	// AdGroup returns ErrAdGroupNotFound.
	AdGroup(ctx context.Context, account AdAccountID, id AdGroupID) (AdGroup, error)
	AdGroups(ctx context.Context, account AdAccountID, f Filter, page Page) ([]AdGroup, error)
}

// AdReader reads the ads of an account.
type AdReader interface {
	// Ad returns ErrAdNotFound.
	Ad(ctx context.Context, account AdAccountID, id AdID) (Ad, error)
	Ads(ctx context.Context, account AdAccountID, f Filter, page Page) ([]Ad, error)
}

// ChildReader reads what targeting refers to.
type ChildReader interface {
	// Keywords lists those that are not archived.
	Keywords(ctx context.Context, account AdAccountID, f KeywordFilter, page Page) ([]AdGroupKeyword, error)
	// Audience returns ErrAudienceNotFound.
	Audience(ctx context.Context, account AdAccountID, id AudienceID) (Audience, error)
	Audiences(ctx context.Context, account AdAccountID, page Page) ([]Audience, error)
}

// UploadReader reads uploads of audiences.
type UploadReader interface {
	// Upload returns ErrUploadNotFound.
	Upload(ctx context.Context, account AdAccountID, audience AudienceID, id UploadID) (Upload, error)
	// UploadParts lists the parts of an upload by their numbers.
	UploadParts(ctx context.Context, id UploadID) ([]UploadPart, error)
}

// BudgetReader reads budget lines.
type BudgetReader interface {
	// BudgetLines lists the lines of the given entities, or with none those of the whole account, with the figures of today
	// (yyyymmdd) or of the lifetime. All lines of one call are read at one moment.
	BudgetLines(ctx context.Context, account AdAccountID, today int, of []BudgetScope, page Page) ([]BudgetLine, error)
}

// InterestReader reads the taxonomy of interests.
type InterestReader interface {
	// Interests returns all, in the order of their ids as bytes.
	Interests(ctx context.Context) ([]Interest, error)
	// Interest returns ErrInterestNotFound.
	Interest(ctx context.Context, id string) (InterestNode, error)
}

// KeyStore keeps API keys by their hash.
type KeyStore interface {
	// InsertKey returns ErrAdAccountNotFound for a key of an account that does not exist.
	InsertKey(ctx context.Context, k Key, hash KeyHash) (Key, error)
	// Keys lists all, revoked ones too, by id.
	Keys(ctx context.Context) ([]Key, error)
	// RevokeKey returns ErrKeyNotFound for a key that does not exist or is revoked already.
	RevokeKey(ctx context.Context, id int64) (Key, error)
}

// Tx is a write in progress. Rows are locked in the order ad accounts, ad groups, campaigns, audiences, budgets, budget
// periods; within one call in the order of their ids.
type Tx interface {
	AccountTx
	CampaignTx
	AdGroupTx
	AdTx
	ChildTx
	UploadTx
	BudgetTx
	InterestTx
	AnswerTx

	// Changed tells the indexer that entities are not what they were. entity is one of the Entity constants.
	Changed(ctx context.Context, entity string, ids []int64) error
}

// AccountTx writes ad accounts. Insert and Update return the row as it is stored.
type AccountTx interface {
	// AdAccount returns ErrAdAccountNotFound.
	AdAccount(ctx context.Context, id AdAccountID) (AdAccount, error)
	// LockAdAccount is AdAccount; the row stays locked until the end of the transaction.
	LockAdAccount(ctx context.Context, id AdAccountID) (AdAccount, error)
	InsertAdAccount(ctx context.Context, a AdAccount) (AdAccount, error)
	// UpdateAdAccount writes the spend caps; all else of an account is fixed.
	UpdateAdAccount(ctx context.Context, a AdAccount) (AdAccount, error)
}

// CampaignTx writes campaigns. Insert and Update return the row as it is stored.
type CampaignTx interface {
	// LockCampaigns returns those of ids that the account has, locked until the end of the transaction.
	LockCampaigns(ctx context.Context, account AdAccountID, ids []CampaignID) (map[CampaignID]Campaign, error)
	InsertCampaign(ctx context.Context, c Campaign) (Campaign, error)
	UpdateCampaign(ctx context.Context, c Campaign) (Campaign, error)
}

// AdGroupTx writes ad groups.
type AdGroupTx interface {
	// LockAdGroups returns those of ids that the account has, locked until the end of the transaction.
	LockAdGroups(ctx context.Context, account AdAccountID, ids []AdGroupID) (map[AdGroupID]AdGroup, error)
	InsertAdGroup(ctx context.Context, g AdGroup) (AdGroup, error)
	UpdateAdGroup(ctx context.Context, g AdGroup) (AdGroup, error)
}

// AdTx writes ads.
type AdTx interface {
	// LockAds returns those of ids that the account has, locked until the end of the transaction.
	LockAds(ctx context.Context, account AdAccountID, ids []AdID) (map[AdID]Ad, error)
	InsertAd(ctx context.Context, a Ad) (Ad, error)
	UpdateAd(ctx context.Context, a Ad) (Ad, error)
}

// ChildTx writes what targeting refers to.
type ChildTx interface {
	// InsertKeyword returns the one that exists already, no longer archived, when there is one.
	InsertKeyword(ctx context.Context, k AdGroupKeyword) (AdGroupKeyword, error)
	// CountKeywords counts those of an ad group that are not archived.
	CountKeywords(ctx context.Context, parent AdGroupID) (int, error)
	InsertAudience(ctx context.Context, a Audience) (Audience, error)
	// NameAudience writes the name and the description. It returns ErrAudienceNotFound.
	NameAudience(ctx context.Context, a Audience) (Audience, error)
	// AudiencesOf returns those of ids that the account has.
	AudiencesOf(ctx context.Context, account AdAccountID, ids []AudienceID) ([]AudienceID, error)
	// ChangeMembers adds users to an audience, or removes them, and returns those whose membership changed.
	// It returns ErrAudienceNotFound.
	ChangeMembers(ctx context.Context, account AdAccountID, id AudienceID, operation string, users []int64) ([]int64, error)
}

// UploadTx writes uploads of audiences.
type UploadTx interface {
	// CountRecords counts a batch of records that were added to an audience or removed, and returns the audience.
	CountRecords(ctx context.Context, id AudienceID, operation string, records int64) (Audience, error)
	InsertUpload(ctx context.Context, u Upload) (Upload, error)
	// LockUpload returns ErrUploadNotFound; the row stays locked until the end of the transaction.
	LockUpload(ctx context.Context, account AdAccountID, audience AudienceID, id UploadID) (Upload, error)
	UploadPart(ctx context.Context, id UploadID, number int) (part UploadPart, found bool, err error)
	UploadParts(ctx context.Context, id UploadID) ([]UploadPart, error)
	// SavePart replaces a part and what it names.
	SavePart(ctx context.Context, id UploadID, part PartContents) error
	// StartUpload sets the state to UploadRunning and writes Records and Valid.
	StartUpload(ctx context.Context, u Upload) (Upload, error)
}

// BudgetTx writes budget lines.
type BudgetTx interface {
	AddBudgets(ctx context.Context, lines []Budget) error
	// SetLimits changes limits, also those of the periods that are open: the lifetime and every day from today (yyyymmdd) on.
	// A limit below what is spent is allowed: nothing more is spent then.
	SetLimits(ctx context.Context, lines []Budget, today int) error
}

// InterestTx writes the taxonomy of interests.
type InterestTx interface {
	// ReplaceInterests makes a valid taxonomy the only one and returns how many interests are not as they were. Of two at once one
	// waits.
	ReplaceInterests(ctx context.Context, all []Interest) (changed int, err error)
	// UnknownInterests returns those of ids that the taxonomy does not have; none while no taxonomy is loaded.
	UnknownInterests(ctx context.Context, ids []string) ([]string, error)
}

// AnswerTx keeps what creates answered, by account and idempotency key.
type AnswerTx interface {
	// ClaimAnswer takes a free key, or returns the answer that is kept for it. While another transaction holds the key it
	// waits. It returns ErrKeyReused if the key belongs to another input.
	ClaimAnswer(ctx context.Context, account AdAccountID, key string, input [32]byte) (kept *Answer, err error)
	// SaveAnswer fills a key that this transaction claimed.
	SaveAnswer(ctx context.Context, account AdAccountID, key string, a Answer) error
}

// Answer is the response to a create as it went out.
type Answer struct {
	Status int
	Body   []byte
}

// LiveKeySource feeds a [KeyRing].
type LiveKeySource interface {
	// LiveKeys returns every key that is not revoked.
	LiveKeys(ctx context.Context) (map[KeyHash]Principal, error)
}
