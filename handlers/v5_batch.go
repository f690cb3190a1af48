package handlers

import (
	"net/http"
	"strings"

	"gavel/campaign"
	"gavel/internal/fault"
)

// exception says why one item of a batch was not written.
type exception struct {
	Code    int           `json:"code" doc:"As the code of an error."`
	Message string        `json:"message" doc:"Every problem in one line."`
	Details []fieldDetail `json:"details,omitempty" nullable:"false" doc:"Gavel's own. Every problem by field."`
}

// batchAnswer is the answer to a batch of which something was written; Item is [batchItem] or [adBatchItem].
type batchAnswer[Item any] struct {
	Items []Item `json:"items" nullable:"false" doc:"One per item of the request, in its order."`
}

// batchError is the answer to a batch of which nothing was written: an error that also has the items.
type batchError[Item any] struct {
	Code    int           `json:"code" doc:"As in every error."`
	Message string        `json:"message"`
	Details []fieldDetail `json:"details" nullable:"false" doc:"Every problem of every item."`
	Items   []Item        `json:"items,omitempty" nullable:"false" doc:"One per item of the request, in its order."`
}

// batchItem is what became of one item: data, or exceptions and nothing written.
type batchItem[V any] struct {
	Data       *V          `json:"data,omitempty"`
	Exceptions []exception `json:"exceptions" nullable:"false"`
}

// adBatchItem is batchItem as v5 has it for ads: one exception, not a list.
type adBatchItem struct {
	Data      *adView    `json:"data,omitempty"`
	Exception *exception `json:"exceptions,omitempty"`
}

func batchItemOf[V any](data *V, x *exception) batchItem[V] {
	item := batchItem[V]{Data: data, Exceptions: []exception{}}
	if x != nil {
		item.Exceptions = append(item.Exceptions, *x)
	}
	return item
}

func adBatchItemOf(data *adView, x *exception) adBatchItem {
	return adBatchItem{Data: data, Exception: x}
}

// answerBatch is 200 when anything was written. When nothing was, it is an error: 404 or another status if that is what is
// wrong with every item, else 400.
func answerBatch[E, V, Item any](results []campaign.Result[E], view func(E) V, itemOf func(*V, *exception) Item) campaign.Answer {
	items := make([]Item, len(results))
	refused := batchError[Item]{Message: "nothing was written: every item has problems", Details: []fieldDetail{}}
	statuses := map[int]int{}
	written := 0
	for i, r := range results {
		if r.Err == nil {
			data := view(r.Value)
			items[i] = itemOf(&data, nil)
			written++
			continue
		}
		x, k := exceptionOf(r.Err, i), kindOf(r.Err.Code)
		items[i] = itemOf(nil, &x)
		refused.Details = append(refused.Details, x.Details...)
		statuses[k.status] = k.number
	}
	if written > 0 {
		return campaign.Answer{Status: http.StatusOK, Body: encode(batchAnswer[Item]{Items: items})}
	}
	refused.Items = items
	status := http.StatusBadRequest
	refused.Code = kindOf(fault.Invalid).number
	if len(statuses) == 1 {
		for status, refused.Code = range statuses {
		}
	}
	return campaign.Answer{Status: status, Body: encode(refused)}
}

// exceptionOf says what is wrong with item i.
func exceptionOf(f *fault.Error, i int) exception {
	x := exception{Code: kindOf(f.Code).number}
	texts := make([]string, 0, len(f.Fields))
	for _, field := range f.Fields {
		x.Details = append(x.Details, fieldDetail{Field: fault.Join(fault.Index("", i), field.Name), Message: field.Message})
		texts = append(texts, problemText(field))
	}
	if x.Message = strings.Join(texts, "; "); x.Message == "" {
		x.Message = f.Message
	}
	return x
}

// problemText is a problem in words: "name is required".
func problemText(f fault.Field) string {
	if f.Name == "" {
		return "item " + f.Message
	}
	if f.Message == "" || strings.Contains(f.Message, " not found") {
		return f.Message
	}
	return f.Name + " " + f.Message
}
