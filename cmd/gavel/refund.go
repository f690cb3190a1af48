package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"gavel/budget"
	bank "gavel/budget/postgres"
	"gavel/internal/money"
)

type refundCmd struct {
	databaseFlag
	Reason string `required:"" help:"Why, in at most 256 bytes; kept with each refund."`
	DryRun bool   `help:"Say what would be refunded and change nothing."`

	Event []string `help:"Events as DAY/IMPRESSION_ID/KIND, for example 20261123/01932c07-…/CLICK." placeholder:"EVENT"`
	File  string   `help:"Events as a CSV file of day, impression_id, kind; - is standard input." placeholder:"CSV"`

	AdAccount int64     `help:"All charged events of this ad account that were accepted in a time." placeholder:"ID"`
	Ad        int64     `help:"Of these, only those of one ad." placeholder:"ID"`
	From      time.Time `help:"The first moment, for example 2026-11-23T00:00:00Z." placeholder:"TIME"`
	To        time.Time `help:"The first moment that is not meant any more." placeholder:"TIME"`
}

// Validate is called by kong.
func (c *refundCmd) Validate() error {
	ways := 0
	for _, given := range []bool{len(c.Event) > 0, c.File != "", c.AdAccount != 0} {
		if given {
			ways++
		}
	}
	switch {
	case ways != 1:
		return errors.New("give one of --event, --file or --ad-account")
	case c.AdAccount != 0 && !c.From.Before(c.To):
		return errors.New("--ad-account needs --from and --to, in this order")
	case c.AdAccount == 0 && (c.Ad != 0 || !c.From.IsZero() || !c.To.IsZero()):
		return errors.New("--ad, --from and --to belong to --ad-account")
	}
	return nil
}

// Run refunds. What cannot be read is said before anything is refunded.
func (c *refundCmd) Run(ctx context.Context, w world) (err error) {
	events, err := c.events()
	if err != nil {
		return err
	}
	db, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	store, sum := bank.New(db), refundSum{counts: map[bank.RefundOutcome]int{}, given: map[refundKey]refundTotal{}}
	refund := func(events []budget.EventID) error {
		items, err := store.Refund(ctx, bank.RefundOrder{Events: events, Reason: c.Reason, DryRun: c.DryRun})
		sum.add(w, items)
		return err
	}
	if c.AdAccount != 0 {
		err = store.EachCharge(ctx, bank.Charges{AdAccountID: c.AdAccount, AdID: c.Ad, From: c.From, To: c.To}, refund)
	} else {
		err = refund(events)
	}
	sum.print(w, c.DryRun)
	if err == nil && sum.counts[bank.UnknownEvent] > 0 {
		err = errUnclean
	}
	return err
}

func (c *refundCmd) events() (events []budget.EventID, err error) {
	for _, text := range c.Event {
		e, err := parseEvent(strings.Split(text, "/"))
		if err != nil {
			return nil, fmt.Errorf("--event %s: %w", text, err)
		}
		events = append(events, e)
	}
	if c.File == "" {
		return events, nil
	}
	file := os.Stdin
	if c.File != "-" {
		if file, err = os.Open(c.File); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
	}
	return readEvents(file)
}

// readEvents reads day, impression_id, kind; a first line that names the columns is skipped.
func readEvents(r io.Reader) (events []budget.EventID, err error) {
	lines := csv.NewReader(r)
	lines.FieldsPerRecord, lines.TrimLeadingSpace, lines.ReuseRecord = 3, true, true
	for {
		fields, err := lines.Read()
		if errors.Is(err, io.EOF) {
			return events, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		line, _ := lines.FieldPos(0)
		if line == 1 && fields[0] == "day" {
			continue
		}
		e, err := parseEvent(fields)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		events = append(events, e)
	}
}

// parseEvent reads day, impression id and kind. The day is 20261123 as in tokens, or 2026-11-23 as Postgres writes it.
func parseEvent(fields []string) (e budget.EventID, err error) {
	if len(fields) != 3 {
		return e, errors.New("must be DAY/IMPRESSION_ID/KIND")
	}
	day, err := time.Parse("20060102", strings.ReplaceAll(fields[0], "-", ""))
	if err != nil {
		return e, fmt.Errorf("%q is no day like 20261123", fields[0])
	}
	e.Day = day.Year()*10000 + int(day.Month())*100 + day.Day()
	if e.ImpressionID, err = uuid.Parse(fields[1]); err != nil {
		return e, fmt.Errorf("%q is no impression id: %w", fields[1], err)
	}
	e.Kind = budget.Kind(strings.ToUpper(fields[2]))
	if !slices.Contains([]budget.Kind{budget.Impression, budget.Viewable, budget.Click}, e.Kind) {
		return e, fmt.Errorf("%q is none of IMPRESSION, VIEWABLE, CLICK", fields[2])
	}
	return e, nil
}

// refundSum is what a run came to.
type refundSum struct {
	counts map[bank.RefundOutcome]int
	given  map[refundKey]refundTotal
}

type refundKey struct {
	currency  string
	adAccount int64
}

type refundTotal struct {
	events int
	amount money.Nanos
}

// add counts items and names those that failed.
func (s *refundSum) add(w world, items []bank.RefundItem) {
	for _, item := range items {
		s.counts[item.Outcome]++
		switch item.Outcome {
		case bank.Refunded:
			key := refundKey{item.Currency, item.AdAccountID}
			total := s.given[key]
			total.events++
			total.amount += item.Amount
			s.given[key] = total
		case bank.UnknownEvent:
			fmt.Fprintf(w.stderr, "unknown event %d/%s/%s\n", item.Day, item.ImpressionID, item.Kind)
		case bank.AlreadyRefunded, bank.NothingToRefund:
		}
	}
}

func (s *refundSum) print(w world, dryRun bool) {
	if dryRun {
		fmt.Fprintln(w.stdout, "dry run: nothing was changed")
	}
	keys := slices.SortedFunc(maps.Keys(s.given), func(a, b refundKey) int {
		return strings.Compare(a.currency+strconv.FormatInt(a.adAccount, 10), b.currency+strconv.FormatInt(b.adAccount, 10))
	})
	if len(keys) > 0 {
		t := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "AD ACCOUNT\tCURRENCY\tEVENTS\tREFUNDED\tNANOS")
		for _, k := range keys {
			fmt.Fprintf(t, "%d\t%s\t%d\t%s\t%d\n", k.adAccount, k.currency, s.given[k].events, s.given[k].amount, int64(s.given[k].amount))
		}
		_ = t.Flush() // as every other line: standard output
	}
	fmt.Fprintf(w.stdout, "%d refunded, %d already refunded, %d without a charge, %d unknown\n",
		s.counts[bank.Refunded], s.counts[bank.AlreadyRefunded], s.counts[bank.NothingToRefund], s.counts[bank.UnknownEvent])
}
