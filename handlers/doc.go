// Package handlers is HTTP: every route (routes.go), what it decodes, the one method that it calls, what it encodes.
//
// # The ad path
//
// POST /v1/ads and the event endpoints are plain Fiber handlers: no reflection that would be felt, keys looked up in memory.
//
// # The management API
//
// /v5 follows the Pinterest Ads API v5. Its operations are declared with huma, which makes the OpenAPI 3.1 document
// (/openapi.json, /openapi.yaml, docs/openapi.yaml) from the types that decode and encode, so they agree. Bodies are read by
// decodeObject, which tells every problem of every item: a field that is unknown, given twice, of the wrong type, or a field of
// v5 that Gavel does not implement and that would change what is delivered or paid.
//
// # Errors
//
// Every error answer is {"code", "message", "details": [{"field", "message"}]}. They are made in errors.go alone, from
// [gavel/internal/fault]; whatever is not a fault is "internal error", and its text is logged and never sent.
//
// # Strings
//
// Fiber reuses the memory of what it hands out (parameters, headers, bodies) when a handler returns. Nothing here keeps such
// a string: ids are parsed, JSON strings are copies.
package handlers
