//go:build !race

package budget_test

// simulatedDays is how many days of each case the simulations play.
const simulatedDays = 6
