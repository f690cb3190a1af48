//go:build race

package budget_test

// simulatedDays is how many days of each case the simulations play: one thread each, nothing for the race detector to find.
const simulatedDays = 1
