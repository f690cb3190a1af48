// Package openbandit drives a running server with a real feed log in the Open Bandit format, and checks what came of it.
//
// The log (Saito, Aihara, Matsutani, Narita, "Open Bandit Dataset and Pipeline", arXiv:2008.07146) has one row per item that a
// fashion store's feed showed: time, item, position, click, the policy's propensity, four hashed user features. [ReadDir] reads
// it strictly: what does not fit is an error that names file and line.
//
// # From rows to page loads
//
// [NewPlan] turns each item into an advertiser with a campaign, an ad group and an ad, and each row into one page load with
// three slots by a user of a stable, synthetic population. Everything follows from the log and the run's name: no clock, no
// randomness. The features are hashed, so what they become is a choice: feature 0 is the gender, 1 the age, 2 an interest,
// 3 the country, each value by its rank in frequency. The row's item is what the user looks at: campaigns that pay per click
// retarget those who look at their item. Interests carry the run's name, so the ads of one run are eligible in
// its own page loads only; whatever else the server has may compete for them.
//
// # What is sent
//
// [Run] creates the campaigns through the public API, replays the rows in their order and spacing, reports the impression of
// every ad served, the viewable impression of every fourth, a click where the log has one and the page shows the same item,
// and 2 % of all events twice.
//
// # What is checked
//
// The driver keeps its own list of the events that the server has accepted. At the end, independent of the server's audit:
// each ad has exactly as many events of each kind in the database as were accepted; every one is billed or over budget;
// impressions are never over budget; the charges of each campaign and ad group stay within what the plan allows and equal
// what their budgets have posted; every ad was shown only to whom it targets, and no advertiser twice on a page.
//
// The package imports nothing of the project but internal/money: a checker that shares code with what it checks shares its
// mistakes. The database and the audit come in as functions.
package openbandit
