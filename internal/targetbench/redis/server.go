package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"gavel/internal/targetbench"
	"gavel/targeting"
)

// ioTimeout bounds one command or pipeline: an operation on a whole column takes its time.
const ioTimeout = time.Minute

// server is a Redis that holds the columns of one engine.
type server struct {
	client  *goredis.Client
	columns *targetbench.Columns
	// sizes says how many ads a column holds; one that is missing is empty.
	sizes map[targetbench.Term]int
	empty int64 // memory before, bytes

	query targetbench.Plan
}

// connect empties the server.
func connect(ctx context.Context, url func(context.Context) (string, error), d *targetbench.Data) (*server, error) {
	address, err := url(ctx)
	if err != nil {
		return nil, err
	}
	o, err := goredis.ParseURL(address)
	if err != nil {
		return nil, errors.New("the server's address cannot be read as a Redis URL")
	}
	o.ReadTimeout, o.WriteTimeout, o.ContextTimeoutEnabled, o.MaxRetries = ioTimeout, ioTimeout, true, -1
	s := &server{client: goredis.NewClient(o), columns: targetbench.NewColumns(d), sizes: map[targetbench.Term]int{}}
	if err := s.client.FlushDB(ctx).Err(); err != nil {
		return nil, errors.Join(fmt.Errorf("empty the server: %w", err), s.client.Close())
	}
	s.empty, err = s.memory(ctx)
	return s, s.orClose(ctx, err)
}

// orClose passes err on and, if there is one, closes.
func (s *server) orClose(ctx context.Context, err error) error {
	if err != nil {
		err = errors.Join(err, s.Close(context.WithoutCancel(ctx)))
	}
	return err
}

// lists are the ads of each column, in ascending order.
func (s *server) lists() map[targetbench.Term][]uint32 {
	lists := map[targetbench.Term][]uint32{}
	s.columns.Each(func(t targetbench.Term, ad uint32) { lists[t] = append(lists[t], ad) })
	for t, list := range lists {
		s.sizes[t] = len(list)
	}
	return lists
}

// name is the key of a column.
func name(t targetbench.Term) string {
	if t.ID != 0 {
		return strconv.Itoa(int(t.Key)) + ":" + strconv.FormatInt(t.ID, 10)
	}
	return strconv.Itoa(int(t.Key)) + ":" + t.Text
}

// plan is a query as keys: the unions, smallest first, and who is excluded. Columns that are empty are left out.
func (s *server) plan(q *targeting.Query) (unions [][]string, none []string) {
	s.columns.Plan(q, &s.query)
	type union struct {
		names []string
		count int
	}
	list := make([]union, len(s.query.All))
	for i, terms := range s.query.All {
		for _, t := range terms {
			if n := s.sizes[t]; n > 0 {
				list[i].names, list[i].count = append(list[i].names, name(t)), list[i].count+n
			}
		}
	}
	slices.SortFunc(list, func(a, b union) int { return a.count - b.count })
	for _, u := range list {
		unions = append(unions, u.names)
	}
	for _, t := range s.query.None {
		if s.sizes[t] > 0 {
			none = append(none, name(t))
		}
	}
	return unions, none
}

// Bytes is how much memory the columns have taken there, and the checks here.
func (s *server) Bytes(ctx context.Context) (int64, error) {
	now, err := s.memory(ctx)
	return now - s.empty + s.columns.Bytes(), err
}

func (s *server) memory(ctx context.Context) (int64, error) {
	text, err := s.client.Info(ctx, "memory").Result()
	if err != nil {
		return 0, fmt.Errorf("ask for memory: %w", err)
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); ok {
			return strconv.ParseInt(value, 10, 64)
		}
	}
	return 0, errors.New("the server does not tell its memory")
}

// ServerTime sums what the server has spent on commands.
func (s *server) ServerTime(ctx context.Context) (int64, error) {
	text, err := s.client.Info(ctx, "commandstats").Result()
	if err != nil {
		return 0, fmt.Errorf("ask for times: %w", err)
	}
	var sum int64
	for line := range strings.Lines(text) {
		command, stats, _ := strings.Cut(line, ":")
		_, after, ok := strings.Cut(stats, ",usec=")
		if !ok || command == "cmdstat_exec" { // which counts what is in it again
			continue
		}
		digits, _, _ := strings.Cut(after, ",")
		micros, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read times: %w", err)
		}
		sum += micros * int64(time.Microsecond)
	}
	return sum, nil
}

// Close empties the server and hangs up.
func (s *server) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	return errors.Join(s.client.FlushDB(ctx).Err(), s.client.Close())
}

// pipeline collects commands and sends them when there are many.
type pipeline struct {
	pipe   goredis.Pipeliner
	weight int
}

func (s *server) pipeline() *pipeline { return &pipeline{pipe: s.client.Pipeline()} }

// add takes a command of some weight, in values that it carries.
func (p *pipeline) add(ctx context.Context, weight int, command func(goredis.Pipeliner)) error {
	const most = 200_000
	command(p.pipe)
	if p.weight += weight; p.weight < most {
		return nil
	}
	return p.flush(ctx)
}

func (p *pipeline) flush(ctx context.Context) error {
	p.weight = 0
	if _, err := p.pipe.Exec(ctx); err != nil {
		return fmt.Errorf("load columns: %w", err)
	}
	return nil
}
