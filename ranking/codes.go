package ranking

import "gavel/campaign"

// The placements, objectives and billable events that a model knows, as small numbers: they index tables and travel in [Served].
// Numbers are never used anew.
const (
	placements = 3
	objectives = 6
)

var placementNames = [placements]string{"OTHER", "BROWSE", "SEARCH"}

var objectiveNames = [objectives]campaign.Objective{
	"", campaign.Awareness, campaign.Consideration, campaign.WebConversion, campaign.CatalogSales, campaign.VideoCompletion,
}

var billableNames = [...]campaign.BillableEvent{"", campaign.BillImpression, campaign.BillClickthrough}

// placementCode is that of OTHER for what is not known.
func placementCode(name string) int {
	switch name {
	case "BROWSE":
		return 1
	case "SEARCH":
		return 2
	}
	return 0
}

func objectiveCode(o campaign.Objective) int {
	switch o {
	case campaign.Awareness:
		return 1
	case campaign.Consideration:
		return 2
	case campaign.WebConversion:
		return 3
	case campaign.CatalogSales:
		return 4
	case campaign.VideoCompletion:
		return 5
	}
	return 0
}

func billableCode(b campaign.BillableEvent) int {
	switch b {
	case campaign.BillImpression:
		return 1
	case campaign.BillClickthrough:
		return 2
	}
	return 0
}

// placementHashes are the placements as Features hold them.
var placementHashes = [placements]uint32{
	hashText(fPlacement, placementNames[0]), hashText(fPlacement, placementNames[1]), hashText(fPlacement, placementNames[2]),
}

// placement is the code of a context's placement.
func (f *Features) placement() int {
	for code, h := range placementHashes {
		if f[fPlacement] == h {
			return code
		}
	}
	return 0
}
