package handlers

import (
	"encoding/base64"
	"strconv"
	"strings"

	"gavel/campaign"
	"gavel/internal/fault"
)

// PageQuery are the parameters of every list.
type PageQuery struct {
	PageSize int    `query:"page_size" default:"25" minimum:"1" maximum:"250" doc:"Most items of a page."`
	Bookmark string `query:"bookmark" maxLength:"128" doc:"Where to go on: the bookmark of the page before."`
	Order    string `query:"order" default:"ASCENDING" enum:"ASCENDING,DESCENDING" doc:"Order of ids. Newer items have larger ids."`
}

// StatusQuery narrows a list to statuses.
type StatusQuery struct {
	Statuses []string `query:"entity_statuses,explode" enum:"ACTIVE,PAUSED,ARCHIVED,DRAFT,DELETED_DRAFT" doc:"Entity statuses. Default ACTIVE and PAUSED."`
}

func (q StatusQuery) statuses() []campaign.Status {
	if len(q.Statuses) == 0 {
		return []campaign.Status{campaign.Active, campaign.Paused}
	}
	statuses := make([]campaign.Status, len(q.Statuses))
	for i, s := range q.Statuses {
		statuses[i] = campaign.Status(s)
	}
	return statuses
}

// listBody is one page.
type listBody[V any] struct {
	Items    []V     `json:"items" nullable:"false"`
	Bookmark *string `json:"bookmark" doc:"Where the next page begins; null on the last page."`
}

type listOutput[V any] struct{ Body listBody[V] }

// A bookmark is base64url of "1.<list>.<A or D>.<last id>". It promises nothing but that it comes back as it is.
const bookmarkVersion = "1"

func (q PageQuery) direction() string { return q.Order[:1] }

// page reads the parameters for the list that is called name.
func (q PageQuery) page(name string) (campaign.Page, error) {
	p := campaign.Page{Size: q.PageSize, Descending: q.Order == "DESCENDING"}
	if q.Bookmark == "" {
		return p, nil
	}
	refused := func(message string) (campaign.Page, error) {
		return p, fault.InvalidFields("invalid bookmark", fault.Field{Name: "bookmark", Message: message})
	}
	text, err := base64.RawURLEncoding.DecodeString(q.Bookmark)
	parts := strings.Split(string(text), ".")
	if err != nil || len(parts) != 4 || parts[0] != bookmarkVersion {
		return refused("is not a bookmark")
	}
	if parts[1] != name || parts[2] != q.direction() {
		return refused("is of another list or order")
	}
	p.After, err = strconv.ParseInt(parts[3], 10, 64)
	if err != nil || p.After <= 0 {
		return refused("is not a bookmark")
	}
	return p, nil
}

// listPage reads one page of the list that is called name. It asks for one item more than wanted, to know whether another page follows.
func listPage[E, V any](q PageQuery, name string, read func(campaign.Page) ([]E, error), view func(E) V, id func(E) int64) (*listOutput[V], error) {
	p, err := q.page(name)
	if err != nil {
		return nil, err
	}
	p.Size++
	found, err := read(p)
	if err != nil {
		return nil, err
	}
	out := &listOutput[V]{Body: listBody[V]{Items: []V{}}}
	if len(found) > q.PageSize {
		found = found[:q.PageSize]
		last := strings.Join([]string{bookmarkVersion, name, q.direction(), strconv.FormatInt(id(found[len(found)-1]), 10)}, ".")
		bookmark := base64.RawURLEncoding.EncodeToString([]byte(last))
		out.Body.Bookmark = &bookmark
	}
	for _, e := range found {
		out.Body.Items = append(out.Body.Items, view(e))
	}
	return out, nil
}

// idsIn reads a list of ids from the query. huma has held it to digits.
func idsIn[T ~int64](texts []string) []T {
	var ids []T
	for _, text := range texts {
		id, ok := parseID[T](text)
		if !ok {
			id = -1 // no entity has it
		}
		ids = append(ids, id)
	}
	return ids
}
