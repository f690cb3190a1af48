// Package ranking predicts how a user will respond to an ad: the probability of a click once the ad is shown on the first slot of a
// page (pCTR), and of a conversion once it is clicked (pCVR).
//
// A [Context] says who looks and where, and is hashed into [Features] once per request. A [Snapshot] is an immutable model; its
// [Scorer] sums what all ads of the request share, and then scores an [Item] by twenty more hashed features. What an impression must
// carry so that it can be learned from is [Served]. A [Trainer] learns from [Example]s, one after the other, and makes snapshots.
//
// The model is FTRL-Proximal logistic regression with hashed features and per-coordinate rates (McMahan et al., "Ad Click Prediction:
// a View from the Trenches", KDD 2013, Algorithm 1). Weights of a snapshot are fixed-point numbers of sixteen bits (section 4.1
// there), so that their sum is exact in any order.
//
// The same inputs give the same bits, on any machine: no map order, clock or global randomness is used, no product is fused with a
// sum, and exp and log are this package's own, because those of package math differ between processors (on amd64 math.Exp takes
// another path where there is FMA). Predictions are scores, never money. The package does no I/O.
package ranking
