// Package campaign is what advertisers manage: ad account → campaign → ad group → ad, as the Pinterest Ads API v5 names them.
//
// The ad group carries targeting, bid and, unless campaign budget optimisation is on, the budget; the ad carries the creative.
// Amounts are [gavel/internal/money.Micros]; times are absolute; a day is the ad account's local day (see [DayOf]).
// The package imports nothing of the project but money and fault. Its ports are in ports.go; adapters live in campaign/postgres.
package campaign
