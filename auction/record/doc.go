// Package record writes auctions down and makes them again.
//
// A [Record] is a decision with all it depended on. [Append] and [Decode] are its binary form: versioned, with a checksum, floats as
// their exact bits. [Writer] and [Reader] are a file of many. [Replay] decides the scene once more and tells every bit that is not as
// it was recorded. [Explain] is the same as a person or a program reads it, in JSON.
//
// The package does no I/O beyond the io.Reader and io.Writer that it is given, and reads no clock.
package record
