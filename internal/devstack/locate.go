package devstack

import (
	"context"
	"errors"
	"fmt"
)

// locate finds or fetches each wanted program.
func locate(ctx context.Context, o Options, h *home) ([]program, error) {
	major, err := keptMajor(h)
	if err != nil {
		return nil, err
	}
	l := locator{options: o, acct: h.acct}
	defer l.close()
	if o.Search != nil {
		l.search = *o.Search
	} else {
		l.search = usualPlaces(ctx)
	}
	var (
		found   []program
		missing []Service
		why     []error
	)
	add := func(name Service, major int) {
		p, err := l.locate(ctx, name, major)
		if err != nil {
			missing, why = append(missing, name), append(why, err)
			return
		}
		found = append(found, *p)
	}
	if o.Postgres {
		add(Postgres, major)
	}
	if o.Redis {
		add(Redis, 0)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("find programs: %w", context.Cause(ctx))
	}
	if len(missing) > 0 {
		return nil, missingError(missing, errors.Join(why...))
	}
	return found, nil
}

// locator looks in one place after the other.
type locator struct {
	options Options
	search  Search
	acct    account
	cache   *cache // nil until it is needed
}

func (l *locator) close() {
	if l.cache != nil {
		l.cache.close()
	}
}

// locate finds a server, for Postgres of the given major version if that is not 0.
func (l *locator) locate(ctx context.Context, name Service, major int) (*program, error) {
	p, notInstalled := l.search.installed(ctx, name, major, l.acct)
	if p != nil {
		return p, nil
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("find %s: %w", name, context.Cause(ctx))
	}
	p, err := l.fetched(ctx, name)
	if err == nil && major != 0 && p.version.major != major {
		err = fmt.Errorf("%w: it needs %d, and what can be fetched is %s", ErrVersionMismatch, major, p.version)
	}
	if err == nil {
		return p, nil
	}
	err = errors.Join(notInstalled, err)
	if name == Redis && l.options.AllowMiniredis && ctx.Err() == nil {
		l.options.Log.Warn("no Redis is to be had: a stand-in in this process takes its place", "why", err)
		return &program{service: Redis, origin: OriginInProcess, product: "miniredis", version: version{7, 0}}, nil
	}
	return nil, err
}

// fetched is the server in the cache, which is filled if that is allowed.
func (l *locator) fetched(ctx context.Context, name Service) (*program, error) {
	if l.cache == nil {
		var err error
		if l.cache, err = openCache(l.options, l.acct); err != nil {
			return nil, err
		}
	}
	if l.options.NoFetch {
		p, err := l.cache.program(ctx, name, l.cache.entry(name))
		if err != nil {
			return nil, fmt.Errorf("fetching is not allowed, and %w", err)
		}
		return p, nil
	}
	return l.cache.get(ctx, name)
}
