package redact_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"gavel/internal/telemetry/redact"
)

func TestText(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, want string }{
		"plain":            {"dial tcp 127.0.0.1:5432: connection refused", "dial tcp 127.0.0.1:5432: connection refused"},
		"url":              {"ping postgres://gavel:s3cret@db:5432/x: timeout", "ping postgres://***@db:5432/x: timeout"},
		"user only":        {"redis://s3cret@cache:6379", "redis://***@cache:6379"},
		"odd password":     {`parse "redis://:s3/cr@et@cache:6379/0": bad`, `parse "redis://***@cache:6379/0": bad`},
		"two urls":         {"postgres://a:s3cret@b and redis://:s3cret@d", "postgres://***@b and redis://***@d"},
		"dsn":              {"host=db user=u password=s3cret sslmode=disable", "host=db user=u password=*** sslmode=disable"},
		"quoted dsn":       {"password='s3cret and more' port=1", "password=*** port=1"},
		"json":             {`{"password":"s3cret","n":1}`, `{"password":***,"n":1}`},
		"query":            {"GET /x?token=s3cret&a=1", "GET /x?token=***&a=1"},
		"sslpassword":      {"sslpassword=s3cret", "sslpassword=***"},
		"header":           {"Authorization: Bearer s3cret.abc", "Authorization: *** ***"},
		"bearer":           {"refused Bearer s3cret.abc-_=", "refused Bearer ***"},
		"pq needs no help": {`pq: password authentication failed for user "u"`, `pq: password authentication failed for user "u"`},
		"one line":         {"a\nb\x1b[31m", "a b [31m"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := redact.Text(c.in); got != c.want {
				t.Errorf("Text(%q)\n got %q\nwant %q", c.in, got, c.want)
			}
		})
	}
}

func TestTextIsBounded(t *testing.T) {
	t.Parallel()
	got := redact.Text(strings.Repeat("é", 1000))
	if len(got) > 512 || !utf8.ValidString(got) || !strings.HasSuffix(got, "…") {
		t.Errorf("%d bytes, ends in %q", len(got), got[len(got)-6:])
	}
}

func FuzzTextHidesUserInfo(f *testing.F) {
	f.Add("user:pw", "db/x")
	f.Add(":p@w/", "cache")
	f.Fuzz(func(t *testing.T, user, host string) {
		if strings.ContainsAny(user+host, " \t\r\n\v\f\"'<>") || strings.Contains(host, "@") {
			t.Skip()
		}
		const secret = "hunter2hunter2"
		if got := redact.Text("postgres://" + user + secret + "@" + host); strings.Contains(got, secret) {
			t.Errorf("%q", got)
		}
	})
}
