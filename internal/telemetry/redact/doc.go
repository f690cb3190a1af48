// Package redact removes credentials from text that leaves the process: log lines, span attributes, answers of /readyz.
//
// It errs on the side of hiding too much. It is a net under the places that print errors of drivers, not a licence to put
// secrets into messages.
package redact
