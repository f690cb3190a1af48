package torture

// Diary is what the clients know: every token that they were given, and every answer that they got for it. It is safe for
// concurrent use.
type Diary struct{}
