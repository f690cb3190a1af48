// Package auction decides which ads a page shows and what each pays.
//
// One request runs through match → cap → rank → floor → slate → price → reserve. Ads rank by their value per impression:
// the CPM bid, or for CPC the bid × pCTR. The winner of a slot pays the least that keeps it ahead of the next feasible ad,
// never less than the floor and never more than its bid (generalised second price: Edelman, Ostrovsky, Schwarz, "Internet
// Advertising and the Generalized Second-Price Auction", AER 2007, section I). A winner without money is replaced by the
// next candidate and the page is priced again.
//
// Every ad that leaves, leaves with a numbered [Reason]. The package does no I/O: time, randomness and stores come in as
// values and ports, so the same code runs in the server, in a simulator and in a replay. Ties break by ad id.
package auction
