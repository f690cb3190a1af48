// Package targeting decides which ads may be shown to whom.
//
// [Match] is the rule: plain, readable, and right by definition; [Scan] is the loop of it over all ads. [Index] is the fast
// engine; it answers exactly what the rule answers, which the tests hold on random cases. It is made of immutable [Segment]s, whose
// bytes are what is kept in Redis, and changes by [Change]s, whose bytes are the entries of its log there. [Tables] give ids in a
// query their meaning. The package does no I/O: time comes in with the query, ads come in as values. Adapters live in
// targeting/redis; the loop that feeds them in targeting/indexer. What each key means is told to advertisers in docs/targeting.md.
//
// # What a spec means
//
// A spec is a set of keys, all of which must hold; within one key, one value is enough. A key that is absent means everyone.
// [ParseSpec] is strict: a spec that could be misread is refused when it is written, key and value named.
//
// # What is not known
//
// An attribute that is not known never meets a restriction:
//
//	key                      not known when                     then
//	LOCATION, GEO            Country, DMA and Region are ""     only ads with neither key. The two keys are one set of places:
//	                                                            one place of either is enough. Nothing is inferred: a region
//	                                                            does not imply its country, nor does a market area
//	GENDER                   Gender is ""                       same as "unknown": only lists that name "unknown", or no list
//	AGE_BUCKET, MIN/MAX_AGE  Age is 0                           only ads without an age restriction (so also for under 18)
//	APPTYPE                  AppType is ""                      only ads without the key
//	LOCALE                   Locale is "" or not a locale       only ads without the key. "en" covers "en-US" and "en-GB"
//	INTEREST                 Interests is empty                 only ads without the key. Who has an interest has those that it is
//	                                                            part of, as far as Tables know them
//	hours of the week        never: Now is                      the hour is that of Now in the account's time zone
//	placement group          Placement is ""                    only ALL
//	positive keywords        no search query, no page keywords  does not match: such an ad shows only beside what it names
//	negative keywords        no search query, no page keywords  there is nothing to exclude: matches
//	any keyword              more text than the limits allow    does not match, positive or negative
//	AUDIENCE_INCLUDE         AudiencesKnown is false            does not match. A list that is not current is no audience
//	AUDIENCE_EXCLUDE         AudiencesKnown is false            does not match: the user may be one of the excluded
//
// An audience in both lists excludes: exclusion always wins. TARGETING_STRATEGY decides nothing by itself: a spec is refused that
// contradicts its strategy.
//
// # Keywords
//
// The search query and each page keyword are phrases of their own. Phrases and keywords are compared word by word after
// [NormalizeText]. BROAD: all words of the keyword are in one phrase, in any order. PHRASE: they are in it one after the
// other. EXACT: they are all of it. The negatives exclude by the same tests. An ad with positive keywords needs one that
// matches; an ad with only negatives is for everyone but those.
package targeting
