package ranking

// Model is what the auction calls a snapshot until it scores ads by their features.
type Model = Snapshot

// PCTR is the click rate of a placement before anything is learned.
func (s *Snapshot) PCTR(placement string) float64 { return coldCTR[placementCode(placement)] }
