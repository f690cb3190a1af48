// Package fault is the one coded error of the project: what went wrong, in words that may leave the building.
//
// A fault carries a [Code], a message for the caller and, for bad input, one [Field] per problem, all of them at once. What
// the message says is shown to clients as it is: it never holds the text of a database or of another service. The cause, for
// logs, is wrapped and found by errors.Is and errors.As.
//
// Faults are translated to HTTP once, in handlers/errors.go. The package imports nothing of the project.
package fault
