package ranking

import (
	"strconv"

	"github.com/zeebo/xxh3"

	"gavel/campaign"
)

// Context is who looks at a page, and where. What is not known is left empty and adds nothing to a score.
type Context struct {
	// Placement is BROWSE, SEARCH or OTHER.
	Placement string
	// Country and Region are ISO 3166-1 and ISO 3166-2 codes.
	Country, Region string
	Gender          string
	AppType         string
	Locale          string
	// Age is in years, 0 = not known.
	Age int
	// HourOfWeek is that of [campaign.HourOfWeek], 0 to 167; anything else is not known.
	HourOfWeek int
	// Interests are in order of strength where the caller knows it: the first [MaxInterests] different ones count.
	Interests []string
	// Query is the normalised search query.
	Query string
	// UserHash names the user, 0 = not known.
	UserHash int64
}

// MaxInterests is how many interests of a user a model looks at.
const MaxInterests = 3

// contextFeatures is how many features a context has.
const contextFeatures = 12

// Features is a Context hashed: what an impression carries so that it can be learned from. A feature that is not known is 0.
type Features [contextFeatures]uint32

// The places in Features.
const (
	fPlacement = iota
	fCountry
	fRegion
	fDemography // gender and age group together
	fAppType
	fLocale
	fHours // day or weekend, by three hours
	fInterest1
	fInterest2
	fInterest3
	fQuery
	fUser
)

// Item is an ad as a model sees it.
type Item struct {
	AdID        campaign.AdID
	AdGroupID   campaign.AdGroupID
	CampaignID  campaign.CampaignID
	AdAccountID campaign.AdAccountID
	Objective   campaign.Objective
	// Category is the advertiser's, "" for none. Its first eight bytes count; IAB's tier-1 codes have at most five.
	Category      string
	BillableEvent campaign.BillableEvent
}

// Features hashes a context.
func (c *Context) Features() Features {
	var f Features
	f[fPlacement] = hashText(fPlacement, c.Placement)
	f[fCountry] = hashText(fCountry, c.Country)
	f[fRegion] = hashText(fRegion, c.Region)
	if age := ageGroup(c.Age); age > 0 || c.Gender != "" {
		f[fDemography] = hashText(fDemography, strconv.Itoa(age)+c.Gender)
	}
	f[fAppType] = hashText(fAppType, c.AppType)
	f[fLocale] = hashText(fLocale, c.Locale)
	if h := c.HourOfWeek; h >= 0 && h < 7*24 {
		part := uint64(1 + h%24/3)
		if h >= 5*24 {
			part += 24 / 3
		}
		f[fHours] = fold(mix(part, fHours))
	}
	interests := 0
	for _, name := range c.Interests {
		h := hashText(fInterest1, name) // one salt: the same interest is the same feature at each of the three places
		if h == 0 || h == f[fInterest1] || h == f[fInterest2] {
			continue
		}
		f[fInterest1+interests] = h
		if interests++; interests == MaxInterests {
			break
		}
	}
	f[fQuery] = hashText(fQuery, c.Query)
	if c.UserHash != 0 {
		f[fUser] = fold(mix(uint64(c.UserHash), fUser))
	}
	return f
}

// ageGroup numbers the age groups; 0 = not known.
func ageGroup(age int) int {
	if age <= 0 {
		return 0
	}
	group := 1
	for _, from := range [...]int{18, 25, 35, 45, 55, 65} {
		if age >= from {
			group++
		}
	}
	return group
}

// hashText hashes a value of a kind of feature; "" is 0, and nothing else is.
func hashText(kind uint64, s string) uint32 {
	if s == "" {
		return 0
	}
	return fold(xxh3.HashStringSeed(s, kind+1))
}

func fold(h uint64) uint32 { return max(1, uint32(h>>32)) }

// mix spreads an id of a kind over 64 bits; 0 stays 0, everything else becomes an odd number (two rounds of
// multiplication with the constants of MurmurHash3: only high bits are used).
func mix(id, kind uint64) uint64 {
	if id == 0 {
		return 0
	}
	h := (id ^ (kind+1)*0x9e3779b97f4a7c15) * 0xff51afd7ed558ccd
	h = (h ^ h>>32) * 0xc4ceb9fe1a85ec53
	return h | 1
}

// The kinds of hash that an item has.
const (
	kAd = iota
	kAdGroup
	kCampaign
	kAdAccount
	kCategory
	kGoal // objective and billable event
	itemKeys
)

// keys are the hashes of an item, 0 for what it does not have.
type keys [itemKeys]uint64

const keySalt = 64 // beyond the kinds of context features

func (it *Item) keys() keys {
	return keys{
		kAd:        mix(uint64(it.AdID), keySalt+kAd),
		kAdGroup:   mix(uint64(it.AdGroupID), keySalt+kAdGroup),
		kCampaign:  mix(uint64(it.CampaignID), keySalt+kCampaign),
		kAdAccount: mix(uint64(it.AdAccountID), keySalt+kAdAccount),
		kCategory:  mix(categoryCode(it.Category), keySalt+kCategory),
		kGoal:      mix(goalCode(objectiveCode(it.Objective), it), keySalt+kGoal),
	}
}

// goalCode is never 0.
func goalCode(objective int, it *Item) uint64 {
	return 1 + uint64(objective)<<8 + uint64(billableCode(it.BillableEvent))
}

// categoryCode is the first eight bytes of a category, the first one lowest.
func categoryCode(s string) uint64 {
	var code uint64
	for i := 0; i < len(s) && i < 8; i++ {
		code |= uint64(s[i]) << (8 * i)
	}
	return code
}

// cross is a feature of an item: one of its keys alone, or together with a feature of the context.
type cross struct {
	key int
	// context is a place in Features, alone for none.
	context int
}

const alone = -1

// itemFeatures is how many features an item adds to those of the context.
const itemFeatures = 20

// crosses are the features of an item. Hierarchies (ad, group, campaign, account, category) let a new ad start from what is known of
// its kin; crosses let tastes differ.
var crosses = [itemFeatures]cross{
	{kAd, alone},
	{kAdGroup, alone},
	{kCampaign, alone},
	{kAdAccount, alone},
	{kCategory, alone},
	{kGoal, fPlacement},
	{kAd, fPlacement},
	{kAd, fCountry},
	{kAd, fDemography},
	{kAd, fAppType},
	{kAd, fInterest1},
	{kAd, fInterest2},
	{kAd, fInterest3},
	{kCategory, fDemography},
	{kCategory, fInterest1},
	{kCategory, fInterest2},
	{kCategory, fInterest3},
	{kCampaign, fHours},
	{kCampaign, fQuery},
	{kAdAccount, fUser},
}

// features is how many features an example has.
const features = contextFeatures + itemFeatures

// A table of weights has 1<<bits buckets in two halves, so that the long tail (users, queries) collides with itself alone. The first
// bucket of each half is where features go that are not known; its weight is 0 for ever.

// tailed says whether a feature of the context, and every cross with it, belongs to the upper half.
func tailed(context int) bool { return context == fQuery || context == fUser }

// bucket is where a 64-bit hash falls: multiplicative hashing keeps the high bits.
func bucket(h uint64, bits uint8, tail bool) uint32 {
	i := uint32(h >> ((65 - bits) & 63))
	if tail {
		i |= 1 << (bits - 1)
	}
	return i
}

// contextMultiplier spreads a feature of the context over 64 bits.
const contextMultiplier = 0x9e3779b97f4a7c15

// indexes are the buckets of all features of an example, first those of the context. It is the definition; [Scorer] does the same
// unrolled.
func indexes(f *Features, it *Item, bits uint8) [features]uint32 {
	var list [features]uint32
	for i, h := range f {
		list[i] = bucket(uint64(h)*contextMultiplier, bits, tailed(i))
	}
	k := it.keys()
	for i, c := range crosses {
		h := k[c.key]
		if c.context != alone {
			h *= uint64(f[c.context])
		}
		list[contextFeatures+i] = bucket(h, bits, tailed(c.context))
	}
	return list
}
