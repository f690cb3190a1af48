package targeting

import (
	"slices"

	"gavel/campaign"
)

// Tables give the ids of a query their meaning. They are part of an index and change with it, so that a request sees one state
// of ads, audiences and interests. The zero value knows no lists, and no interest has a parent.
type Tables struct {
	// Lists says of every list of users that is current whose it is. A list that is not here is being written, or was replaced.
	Lists map[campaign.ListID]campaign.AudienceID
	// Interests has the parents of interests.
	Interests *Taxonomy
}

// AppendAudiences appends the audiences whose current lists are among lists, in their order.
func (t *Tables) AppendAudiences(dst []campaign.AudienceID, lists []campaign.ListID) []campaign.AudienceID {
	for _, list := range lists {
		if audience, current := t.Lists[list]; current {
			dst = append(dst, audience)
		}
	}
	return dst
}

// with returns tables in which audiences have other current lists, or none where the list is 0.
func (t *Tables) with(lists map[campaign.AudienceID]campaign.ListID) map[campaign.ListID]campaign.AudienceID {
	next := make(map[campaign.ListID]campaign.AudienceID, len(t.Lists)+len(lists))
	for list, audience := range t.Lists {
		if _, changed := lists[audience]; !changed {
			next[list] = audience
		}
	}
	for audience, list := range lists {
		if list != 0 {
			next[list] = audience
		}
	}
	return next
}

// appendWithAncestors appends the interests and all that they are part of, each once.
func (t *Taxonomy) appendWithAncestors(dst, interests []string) []string {
	from := len(dst)
	dst = append(dst, interests...)
	if t == nil {
		return dst
	}
	for _, id := range interests {
		start := len(dst)
		dst = t.AppendAncestors(dst, id)
		kept := dst[:start]
		for _, ancestor := range dst[start:] {
			if !slices.Contains(kept[from:], ancestor) {
				kept = append(kept, ancestor)
			}
		}
		dst = kept
	}
	return dst
}
