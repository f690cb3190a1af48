// Package probe is what the machine code of two functions is compared in: one comes to points, one does nothing.
package probe

import "gavel/internal/failpoint"

// Calls comes to two points.
func Calls() {
	failpoint.Hit(failpoint.JournalAfterAppend)
	failpoint.Hit(failpoint.BillingInCommit)
}

// Empty does nothing.
func Empty() {}
