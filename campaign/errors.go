package campaign

import "gavel/internal/fault"

// What the service and the stores answer. All are [fault.Error] and keep their identity for errors.Is when wrapped.
var (
	// ErrAdAccountNotFound: no such ad account.
	ErrAdAccountNotFound = fault.New(fault.NotFound, "ad account not found")
	// ErrCampaignNotFound: the ad account has no such campaign.
	ErrCampaignNotFound = fault.New(fault.NotFound, "campaign not found in this ad account")
	// ErrAdGroupNotFound: the ad account has no such ad group.
	ErrAdGroupNotFound = fault.New(fault.NotFound, "ad group not found in this ad account")
	// ErrAdNotFound: the ad account has no such ad.
	ErrAdNotFound = fault.New(fault.NotFound, "ad not found in this ad account")
	// ErrAudienceNotFound: the ad account has no such audience.
	ErrAudienceNotFound = fault.New(fault.NotFound, "audience not found in this ad account")
	// ErrInterestNotFound: the taxonomy has no such interest.
	ErrInterestNotFound = fault.New(fault.NotFound, "interest not found")
	// ErrNoOptions: the values of this key are not a list.
	ErrNoOptions = fault.New(fault.NotFound, "this targeting type has no list of values; docs/targeting.md says what it takes")
	// ErrUploadNotFound: the audience has no such upload.
	ErrUploadNotFound = fault.New(fault.NotFound, "upload not found in this customer list")
	// ErrUploadStarted: the upload was run, so its parts are what they are.
	ErrUploadStarted = fault.New(fault.Conflict, "the upload was run already: create another one")
	// ErrKeyNotFound: no such key, or it is revoked already.
	ErrKeyNotFound = fault.New(fault.NotFound, "key not found, or revoked already")
	// ErrKeyReused: the idempotency key was used before with another input.
	ErrKeyReused = fault.New(fault.Conflict, "this Idempotency-Key was used before with another request; use a new key for a new request")
)
