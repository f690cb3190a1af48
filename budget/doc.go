// Package budget is the money protocol: leases, reservations, billing. It never lets an advertiser be charged past a limit.
//
// It has two halves, both pure state machines without I/O, clock or randomness:
//
//   - [Books] is the half that Postgres keeps. A grant moves an amount from free to escrow on every [Period] that a charge
//     counts against (ad group, campaign, account; day and lifetime); a charge moves it from escrow to posted; a close gives
//     the rest back. On every period, at every moment: posted + escrow ≤ cap (invariant I1).
//   - [Wallet] is the half that each node keeps in memory: the leases it holds, and what it has promised from them.
//
// budget/postgres drives Books inside transactions; the node drives Wallet with a monotonic clock ([Tick]).
//
// Amounts are [gavel/internal/money.Nanos]. The protocol, its invariants I1–I11 and its reasons: docs/money-protocol.md.
package budget
