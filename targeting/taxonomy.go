package targeting

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"gavel/campaign"
)

// Limits of a taxonomy.
const (
	// MaxTaxonomy is the most interests of a taxonomy, MaxTaxonomyDepth the most levels: an interest has at most 7 ancestors.
	MaxTaxonomy      = 200_000
	MaxTaxonomyDepth = 8
	// MaxInterestName is the most bytes of an interest's name.
	MaxInterestName = 256
)

// Taxonomy is a forest of interests: who has an interest has its ancestors too. It is immutable. All methods may be called on
// nil, which knows no interest: then every interest stands alone.
type Taxonomy struct {
	nodes []campaign.Interest // sorted by id
	at    map[string]int32    // place of an id in nodes
	// parent is the place of a node's parent, -1 at the top; level is 1 at the top.
	parent []int32
	level  []uint8
	// children are places in the order of ids: those of node i from first[i+1] to first[i+2], those at the top from 0 to first[1].
	children, first []int32
}

// TaxonomyError is what is wrong with a list of interests.
type TaxonomyError struct {
	// Index is the place in the list of the interest that cannot be, from 0; ID is its id.
	Index int
	ID    string
	Why   string
}

// Error implements error.
func (e *TaxonomyError) Error() string { return "interest " + quote(e.ID) + " " + e.Why }

// NewTaxonomy checks interests and returns their taxonomy, or a *[TaxonomyError] for the first that is wrong by itself, and if
// there is none, for one that is in the wrong place: an unknown parent, a cycle, more than 8 levels.
func NewTaxonomy(interests []campaign.Interest) (*Taxonomy, error) {
	if len(interests) > MaxTaxonomy {
		return nil, &TaxonomyError{
			MaxTaxonomy, interests[MaxTaxonomy].ID,
			fmt.Sprintf("is one too many: there are %d interests, at most %d are allowed", len(interests), MaxTaxonomy),
		}
	}
	t := &Taxonomy{nodes: slices.Clone(interests), at: make(map[string]int32, len(interests))}
	for i, in := range interests {
		if why := checkNode(in); why != "" {
			return nil, &TaxonomyError{i, in.ID, why}
		}
		if _, twice := t.at[in.ID]; twice {
			return nil, &TaxonomyError{i, in.ID, "is given twice"}
		}
		t.at[in.ID] = 0
	}
	slices.SortFunc(t.nodes, func(a, b campaign.Interest) int { return cmp.Compare(a.ID, b.ID) })
	for i, in := range t.nodes {
		t.at[in.ID] = int32(i)
	}
	t.parent = make([]int32, len(t.nodes))
	for i, in := range interests {
		parent, known := t.at[in.ParentID]
		switch {
		case in.ParentID == "":
			parent = -1
		case !known:
			return nil, &TaxonomyError{i, in.ID, "has the parent " + quote(in.ParentID) + ", which there is not"}
		}
		t.parent[t.at[in.ID]] = parent
	}
	if err := t.setLevels(interests); err != nil {
		return nil, err
	}
	t.setChildren()
	return t, nil
}

// CheckTaxonomy is the error of NewTaxonomy.
func CheckTaxonomy(interests []campaign.Interest) error {
	_, err := NewTaxonomy(interests)
	return err
}

// checkNode says what is wrong with an interest by itself.
func checkNode(in campaign.Interest) string {
	if _, why := checkInterest(in.ID); why != "" {
		return fmt.Sprintf("has no id of 1 to %d visible ASCII characters", MaxInterestBytes)
	}
	switch {
	case strings.TrimSpace(in.Name) == "":
		return "has no name"
	case len(in.Name) > MaxInterestName:
		return fmt.Sprintf("has a name of more than %d bytes", MaxInterestName)
	case !isPrintable(in.Name):
		return "has a name that is not printable UTF-8"
	}
	return ""
}

// setLevels finds the level of each node by its parent's, each node once.
func (t *Taxonomy) setLevels(interests []campaign.Interest) error {
	const walking = 255
	t.level = make([]uint8, len(t.nodes))
	var path []int32
	for i, in := range interests {
		path = path[:0]
		at := t.at[in.ID]
		for at >= 0 && t.level[at] == 0 {
			t.level[at] = walking
			path = append(path, at)
			at = t.parent[at]
		}
		var level uint8
		if at >= 0 {
			level = t.level[at]
		}
		if level == walking {
			return &TaxonomyError{i, in.ID, "is below itself, or below an interest that is: " + quote(t.nodes[at].ID)}
		}
		for _, at := range slices.Backward(path) {
			if level++; level > MaxTaxonomyDepth {
				return &TaxonomyError{i, in.ID, fmt.Sprintf("is too deep: at most %d levels are allowed", MaxTaxonomyDepth)}
			}
			t.level[at] = level
		}
	}
	return nil
}

func (t *Taxonomy) setChildren() {
	t.first = make([]int32, len(t.nodes)+2)
	for _, p := range t.parent {
		t.first[p+2]++
	}
	for i := range len(t.first) - 1 {
		t.first[i+1] += t.first[i]
	}
	t.children = make([]int32, len(t.nodes))
	next := slices.Clone(t.first)
	for i, p := range t.parent {
		t.children[next[p+1]] = int32(i)
		next[p+1]++
	}
}

// Len is the number of interests.
func (t *Taxonomy) Len() int {
	if t == nil {
		return 0
	}
	return len(t.nodes)
}

// Has reports whether an interest is known.
func (t *Taxonomy) Has(id string) bool {
	_, known := t.find(id)
	return known
}

func (t *Taxonomy) find(id string) (int32, bool) {
	if t == nil {
		return 0, false
	}
	at, known := t.at[id]
	return at, known
}

// Get returns an interest and its level, 1 at the top; false if it is not known.
func (t *Taxonomy) Get(id string) (in campaign.Interest, level int, known bool) {
	at, known := t.find(id)
	if !known {
		return campaign.Interest{}, 0, false
	}
	return t.nodes[at], int(t.level[at]), true
}

// AppendAncestors appends the ids of an interest's ancestors, the nearest first: its parent, its parent's parent. An unknown
// interest has none.
func (t *Taxonomy) AppendAncestors(dst []string, id string) []string {
	at, known := t.find(id)
	if !known {
		return dst
	}
	for at = t.parent[at]; at >= 0; at = t.parent[at] {
		dst = append(dst, t.nodes[at].ID)
	}
	return dst
}

// Children returns the interests right below one, in the order of their ids; "" stands for the top.
func (t *Taxonomy) Children(id string) []campaign.Interest {
	at, known := t.find(id)
	if t != nil && id == "" {
		at, known = -1, true
	}
	if !known {
		return nil
	}
	var list []campaign.Interest
	for _, child := range t.children[t.first[at+1]:t.first[at+2]] {
		list = append(list, t.nodes[child])
	}
	return list
}

// All returns every interest in the order of their ids.
func (t *Taxonomy) All() []campaign.Interest {
	if t == nil {
		return nil
	}
	return slices.Clone(t.nodes)
}

func isPrintable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
