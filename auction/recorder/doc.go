// Package recorder is the half of recording that lives in wall-clock time: a bounded queue of encoded records between the ad path, which
// never waits for it, and a job that saves them in batches. What cannot be kept is dropped and counted: a record is evidence, not money.
package recorder
