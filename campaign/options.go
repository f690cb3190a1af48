package campaign

// TargetingOption is a value that a key of a targeting spec may have, and its name for people.
type TargetingOption struct{ Value, Name string }

// TargetingOptions lists the values of a key of a targeting spec, sorted; nil for a key without a fixed list.
type TargetingOptions func(key string) []TargetingOption
