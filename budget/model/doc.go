// Package model is a model checker of the money protocol. It runs the rules that the server runs (budget.Books, Wallet, Intake,
// Clock, Member and their functions) in virtual time: a Postgres whose transactions are atomic, some nodes with journals, clients
// who show ads and report events, and faults drawn from a seed. After every transaction and at the end an oracle, which knows what
// each client was told and nothing of the rules' own sums, looks for broken invariants.
//
// Faults: crashes between any two steps, pauses as of SIGSTOP, outages and slowness of Postgres, requests that are lost, executed late or
// twice, transactions that abort, commits whose answer is lost, disks that take seconds to sync, disks that are lost with their node,
// nodes that leave and join, clocks of nodes seconds apart and drifting, a clock of Postgres that jumps, events delivered late,
// repeatedly, to several nodes at once and after their time, budgets cut and raised, and refunds.
//
// A seed decides everything: [Run] with the same seed does the same thing. What the package does not look into is the inside of
// a transaction: locks and their order are tested on a real Postgres, in budget/postgres.
package model
