package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// uploads runs gavel audience upload against a running gavel.
func (p *program) uploads(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, log bytes.Buffer
	args = append([]string{"audience", "upload", "--url", p.AdsURL, "--account", p.AdAccountID}, args...)
	env := func(string) string { return "" }
	err = run(t.Context(), args, world{getenv: env, stdout: &out, stderr: &log})
	return out.String(), log.String(), err
}

// newList creates a customer list of user ids.
func (p *program) newList(t *testing.T) string {
	t.Helper()
	var list struct {
		ID string `json:"id"`
	}
	c := client{base: p.AdsURL, key: p.AdvertiserKey, http: http.Client{Timeout: callTimeout}}
	require.NoError(t, c.post(t.Context(), "/v5/ad_accounts/"+p.AdAccountID+"/customer_lists", map[string]any{"name": "a", "list_type": "USER_ID"}, &list))
	return list.ID
}

func TestAudienceUpload(t *testing.T) {
	t.Parallel()
	p := startDev(t)
	list := p.newList(t)
	file := filepath.Join(t.TempDir(), "ids.txt")
	var ids strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&ids, "user-%09d\n", i)
	}
	ids.WriteString(strings.Repeat("x", 200) + "\n")
	require.NoError(t, os.WriteFile(file, []byte(ids.String()), 0o600))

	key := []string{"--key", p.AdvertiserKey, "--part-size", "1"}
	out, log, err := p.uploads(t, append(key, "--list", list, file)...)
	require.NoError(t, err, log)
	require.Contains(t, out, "200001 records in 3 parts")
	require.Contains(t, out, "1 records name no user")
	require.Contains(t, log, "of 3.0 MB")
	require.Contains(t, log, "succeeded: 200001 of 200001 records (100 %)")

	// A smaller file replaces them. The first part of it is there already.
	require.NoError(t, os.WriteFile(file, []byte(ids.String()[:1_500_000]), 0o600))
	c := client{base: p.AdsURL, key: p.AdvertiserKey, http: http.Client{Timeout: callTimeout}}
	path := "/v5/ad_accounts/" + p.AdAccountID + "/customer_lists/" + list
	var created struct {
		Upload uploadState `json:"customer_list_upload"`
	}
	require.NoError(t, c.post(t.Context(), path+"/uploads", map[string]any{"operation": "REPLACE"}, &created))
	u := uploader{http: &http.Client{}, key: p.AdvertiserKey, list: p.AdsURL + path, say: newUploadProgress(io.Discard, 0)}
	first, err := newParts(strings.NewReader(ids.String()), 1<<20).next()
	require.NoError(t, err)
	require.NoError(t, u.call(t.Context(), http.MethodPut, u.list+"/uploads/"+created.Upload.ID+"/parts/1", "text/plain", first, &sentPart{}))
	out, log, err = p.uploads(t, append(key, "--audience", list, "--resume", created.Upload.ID, file)...)
	require.NoError(t, err, log)
	require.Contains(t, out, "100000 records in 2 parts")
	require.Contains(t, log, "1 parts were there")
	var audience struct {
		Size int64 `json:"size"`
	}
	require.NoError(t, u.call(t.Context(), http.MethodGet, strings.Replace(u.list, "customer_lists", "audiences", 1), "", nil, &audience))
	require.Equal(t, int64(100_000), audience.Size)
	// Again, whole: the server has it all.
	out, _, err = p.uploads(t, append(key, "--audience", list, "--resume", created.Upload.ID, file)...)
	require.NoError(t, err)
	require.Contains(t, out, "upload "+created.Upload.ID)

	_, _, err = p.uploads(t, "--key", p.FeedKey, "--list", list, file)
	require.ErrorContains(t, err, "Give a key of this account")
	_, _, err = p.uploads(t, append(key, "--list", "5", file)...)
	require.ErrorContains(t, err, "status 404")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, _, err = p.uploads(t, append(key, "--list", list, file)...)
	require.ErrorContains(t, err, "no ids in the file")
}

// TestAnUploadThatBreaksOffSaysHowToGoOn kills the server in the middle.
func TestAnUploadThatBreaksOffSaysHowToGoOn(t *testing.T) {
	t.Parallel()
	p := startDev(t)
	list := p.newList(t)
	u := &uploader{
		http: &http.Client{Timeout: time.Second}, key: p.AdvertiserKey, retryFor: time.Second, say: newUploadProgress(io.Discard, 0),
		list: p.AdsURL + "/v5/ad_accounts/" + p.AdAccountID + "/customer_lists/" + list,
	}
	kill := func([]byte) (int, error) { p.kill(); return 0, io.EOF }
	_, err := u.upload(t.Context(), io.MultiReader(strings.NewReader("a\n"), readerFunc(kill)), "ADD", "", 1<<20)
	require.Error(t, err)
	err = (&audienceUploadCmd{PartSize: 1}).advise(err, u.id)
	require.ErrorContains(t, err, "--resume "+u.id+" --part-size 1")
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestPartsEndWhereRecordsDo(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.SampledFrom([]rune("abcdef\n,")), 0, 200, -1).Draw(t, "text")
		size := rapid.IntRange(8, 64).Draw(t, "size")
		p := newParts(iotest.HalfReader(strings.NewReader(text)), size)
		var all strings.Builder
		for {
			part, err := p.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil { // a record that is longer than a part
				longest := 0
				for _, record := range strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == ',' }) {
					longest = max(longest, len(record))
				}
				require.GreaterOrEqual(t, longest, size)
				return
			}
			require.NotEmpty(t, part)
			require.LessOrEqual(t, len(part), size)
			all.Write(part)
			if all.Len() < len(text) {
				require.Contains(t, "\n,", string(part[len(part)-1:]))
			}
		}
		require.Equal(t, text, all.String())
	})
	many := newParts(strings.NewReader(strings.Repeat("\n", 3<<20)), 4<<20)
	part, err := many.next()
	require.NoError(t, err)
	require.Len(t, part, 1<<20, "as many records as the server takes")
	_, err = newParts(iotest.ErrReader(context.Canceled), 8).next()
	require.ErrorIs(t, err, context.Canceled)
}
