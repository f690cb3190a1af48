// Package campaign is what advertisers manage: ad account → campaign → ad group → ad, as the Pinterest Ads API v5 names them.
//
// The ad group carries targeting, bid and, unless campaign budget optimisation is on, the budget; the ad carries the creative.
// Amounts are [gavel/internal/money.Micros]; times are absolute, in whole seconds; a day is the ad account's local day
// (see [DayOf]).
//
// [Service] is the one door for writes. Each call is one transaction that holds the rows, the budget lines and the outbox row;
// bad input is answered with every problem of an item at once, named by the JSON field that holds it. [KeyRing] says who is
// calling, without a database.
//
// The package imports nothing of the project but money and fault. Its ports are in ports.go; adapters live in campaign/postgres.
package campaign
