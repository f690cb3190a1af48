package auction

// Work is how many partial pages the last Solve built.
func (s *Solver) Work() int { return s.search.work }

// Narrowed is how often the last Solve gave up partial pages.
func (s *Solver) Narrowed() int { return s.search.narrowed }

// Limit has the solver follow n partial pages of one length, not maxLevel.
func (s *Solver) Limit(n int) { s.search.limit = n }
