package redis

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// Timeouts of one command; a context with less time left shortens them.
const (
	dialTimeout = time.Second
	ioTimeout   = 2 * time.Second
	poolTimeout = time.Second
)

// Options reads redis://[user:password@]host:port[/db] (rediss:// for TLS) into options that obey contexts and fail fast: a
// dead Redis costs one refused connection, not the library's default of 1.7 s per command.
func Options(rawURL string) (*goredis.Options, error) {
	o, err := goredis.ParseURL(rawURL)
	if err != nil {
		return nil, fmt.Errorf("parse redis URL: %w", withoutURL(err))
	}
	o.DialerRetries = 1
	o.MaxRetries = -1 // a retried script would count an impression twice
	o.ContextTimeoutEnabled = true
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = dialTimeout, ioTimeout, ioTimeout, poolTimeout
	o.PipelinePoolSize = -1 // almost all that is sent are pipelines: one pool
	return o, nil
}

// Open returns a client for Options, or for a Redis Cluster when the URL names more nodes: redis://host:port?addr=host2:port2.
func Open(rawURL string) (goredis.UniversalClient, error) {
	u, err := url.Parse(rawURL)
	if err != nil || !u.Query().Has("addr") {
		o, err := Options(rawURL)
		if err != nil {
			return nil, err
		}
		return goredis.NewClient(o), nil
	}
	o, err := goredis.ParseClusterURL(rawURL)
	if err != nil {
		return nil, fmt.Errorf("parse redis cluster URL: %w", withoutURL(err))
	}
	o.DialerRetries = 1
	o.MaxRetries = -1
	o.MaxRedirects = 3
	o.ContextTimeoutEnabled = true
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = dialTimeout, ioTimeout, ioTimeout, poolTimeout
	o.PipelinePoolSize = -1
	return goredis.NewClusterClient(o), nil
}

// withoutURL drops the URL, which may hold a password, from the errors of net/url.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
