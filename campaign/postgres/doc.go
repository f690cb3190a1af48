// Package postgres keeps what advertisers manage: the [campaign.Store], and what the indexer reads of it.
//
// [Store] serves the service, [Serving] the indexer and [campaign.KeyRing]. Statements are named consts beside their method,
// prepared once per connection. What the driver says never leaves the package as text for a client: an outage, a deadline or
// an overload is a [fault.Unavailable], a missing row one of campaign's sentinels, anything else a wrapped error.
//
// A write locks ad accounts, ad groups, campaigns, audiences, budgets and budget periods in this order and each in the order of
// its ids; billing and grants lock budgets and periods in the same order, so they wait for each other and do not deadlock.
package postgres
