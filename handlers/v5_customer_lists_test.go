package handlers

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/campaign/postgres"
)

// newList creates a customer list and returns its path.
func (b *v5Bundle) newList(listType string) (id, path string) {
	b.Helper()
	list := b.ok("POST", "/v5/ad_accounts/{account}/customer_lists", `{"name":"buyers","list_type":"`+listType+`"}`)
	id, _ = list["id"].(string)
	return id, "/v5/ad_accounts/{account}/customer_lists/" + id
}

// newUpload creates an upload and returns its path.
func (b *v5Bundle) newUpload(list, body string) string {
	b.Helper()
	created, _ := b.ok("POST", list+"/uploads", body)["customer_list_upload"].(map[string]any)
	return list + "/uploads/" + created["id"].(string)
}

// work does what the indexer would.
func (b *v5Bundle) work() {
	b.Helper()
	serving := postgres.NewServing(b.db)
	defer func() { require.NoError(b, serving.Close()) }()
	for {
		piece, ok, err := serving.NextBulk(b.Context())
		require.NoError(b, err)
		if !ok {
			return
		}
		require.NoError(b, serving.BulkDone(b.Context(), piece))
	}
}

func TestCustomerListUploads(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	id, list := b.newList("HASHED_PINNER_ID")
	hash := func(user string) string { sum := sha256.Sum256([]byte(user)); return hex.EncodeToString(sum[:]) }

	created := b.ok("POST", list+"/uploads", `{"operation":"REPLACE","total_parts":2}`)
	urls := created["s3_multipart_upload_data"].(map[string]any)["file_parts"].([]any)
	require.Len(t, urls, 2)
	upload := list + "/uploads/" + created["customer_list_upload"].(map[string]any)["id"].(string)
	second := urls[1].(map[string]any)
	require.InDelta(t, 2, second["part_number"], 0)
	require.Equal(t, strings.ReplaceAll(upload, "{account}", b.account)+"/parts/2", second["presigned_url"])
	require.Nil(t, b.ok("GET", upload, "")["record_counts"])

	text := hash("u1") + "\n" + hash("u2") + "\nnobody\n"
	part := b.ok("PUT", upload+"/parts/1", text)
	sum := sha256.Sum256([]byte(text))
	require.Equal(t, hex.EncodeToString(sum[:]), part["sha256"])
	require.InDelta(t, 3, part["records"], 0)
	require.InDelta(t, 1, part["invalid"], 0)
	require.Equal(t, 400, b.call("POST", upload+"/run", "").status, "a part is missing")
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write([]byte(strings.ToUpper(hash("u3")) + "," + hash("u1")))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	b.ok("PUT", upload+"/parts/2", packed.String(), "Content-Encoding", "gzip")
	require.Len(t, b.ok("GET", upload+"/parts", "")["items"], 2)

	require.Equal(t, "RUNNING", b.ok("POST", upload+"/run", "")["state"])
	require.Equal(t, "RUNNING", b.ok("POST", upload+"/run", "")["state"])
	b.work()
	done := b.ok("GET", upload, "")
	require.Equal(t, "SUCCEEDED", done["state"])
	require.Equal(t, map[string]any{"processed": 5.0, "valid": 4.0, "invalid": 1.0}, done["record_counts"])
	require.Equal(t, "not the 64 hexadecimal digits of a SHA-256", done["error_counts"].([]any)[0].(map[string]any)["message"])
	b.ok("PUT", upload+"/parts/1", text)
	require.Equal(t, 409, b.call("PUT", upload+"/parts/1", "another").status)

	// The customer list is an audience, whose users are those of ad requests.
	audience := b.ok("GET", "/v5/ad_accounts/{account}/audiences/"+id, "")
	require.InDelta(t, 3, audience["size"], 0)
	require.Equal(t, id, audience["rule"].(map[string]any)["customer_list_id"])
	users := b.ok("POST", "/v5/ad_accounts/{account}/audiences/"+id+"/users", `{"operation_type":"REMOVE","user_ids":["u1"]}`)
	require.InDelta(t, 1, users["changed"], 0)
	named := b.ok("POST", "/v5/ad_accounts/{account}/audiences", `{"name":"best","audience_type":"CUSTOMER_LIST","rule":{"customer_list_id":"`+id+`"}}`)
	require.Equal(t, id, named["id"])
	require.Equal(t, "best", b.ok("GET", list, "")["name"])
	require.Len(t, b.ok("GET", "/v5/ad_accounts/{account}/customer_lists", "")["items"], 1)
	changed := b.ok("PATCH", list, `{"operation_type":"ADD","records":"`+hash("u9")+`,`+hash("u2")+`"}`)
	require.InDelta(t, 3, changed["size"], 0)
	require.InDelta(t, 2, changed["num_batches"], 0)
}

func TestCustomerListsAreRefused(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	_, list := b.newList("USER_ID")
	upload := b.newUpload(list, `{"operation":"ADD"}`)
	for name, tt := range map[string]struct {
		method, path, body string
		status             int
		fields             []string
	}{
		"emails":           {"POST", "/v5/ad_accounts/{account}/customer_lists", `{"name":"a","list_type":"EMAIL","records":"a@b.c"}`, 400, []string{"list_type"}},
		"v5's default":     {"POST", "/v5/ad_accounts/{account}/customer_lists", `{"name":"a","records":"a@b.c"}`, 400, []string{"list_type"}},
		"nonsense":         {"POST", "/v5/ad_accounts/{account}/customer_lists", `{"list_type":"X"}`, 400, []string{"name", "list_type"}},
		"bad records":      {"POST", "/v5/ad_accounts/{account}/customer_lists", `{"name":"a","list_type":"HASHED_PINNER_ID","records":"x"}`, 400, []string{"records"}},
		"operation":        {"POST", list + "/uploads", `{"operation":"SET","total_parts":0}`, 400, []string{"operation", "total_parts"}},
		"patch":            {"PATCH", list, `{"operation_type":"REPLACE"}`, 400, []string{"records", "operation_type"}},
		"nothing to run":   {"POST", upload + "/run", "", 400, []string{""}},
		"part 0":           {"PUT", upload + "/parts/0", "u", 400, []string{"part_number"}},
		"part x":           {"PUT", upload + "/parts/x", "u", 400, []string{"part_number"}},
		"no upload":        {"PUT", list + "/uploads/5/parts/1", "u", 404, []string{}},
		"no list":          {"POST", "/v5/ad_accounts/{account}/customer_lists/5/uploads", `{"operation":"ADD"}`, 404, []string{}},
		"another account":  {"PUT", strings.ReplaceAll(upload, "{account}", b.other) + "/parts/1", "u", 403, []string{}},
		"no such list":     {"POST", "/v5/ad_accounts/{account}/audiences", `{"name":"a","audience_type":"CUSTOMER_LIST","rule":{"customer_list_id":"5"}}`, 400, []string{"rule.customer_list_id"}},
		"too many records": {"PUT", upload + "/parts/1", strings.Repeat("u\n", campaign.MaxPartRecords+1), 413, []string{}},
	} {
		r := b.call(tt.method, tt.path, tt.body)
		require.Equal(t, tt.status, r.status, "%s: %s", name, r.raw)
		require.ElementsMatch(t, tt.fields, r.fields(), name)
	}
	require.Equal(t, 400, b.call("PUT", upload+"/parts/1", "no gzip", "Content-Encoding", "gzip").status)
	require.Equal(t, 400, b.call("PUT", upload+"/parts/1", "u", "Content-Encoding", "br").status)
	require.Equal(t, 401, b.call("PUT", upload+"/parts/1", "u", "Authorization", "").status)
	require.Equal(t, 403, b.call("PUT", upload+"/parts/1", "u", "Authorization", "Bearer "+b.feed).status)
	require.Contains(t, b.call("POST", "/v5/ad_accounts/{account}/customer_lists", `{"name":"a","list_type":"MAID"}`).raw, "ad requests name users by the feed's own id")
}

// serve runs the app on a port, as a node does, and returns its address.
func (b *v5Bundle) serve() string {
	b.Helper()
	listener, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
	require.NoError(b, err)
	done := make(chan error, 1)
	go func() { done <- b.app.Listener(listener) }()
	b.Cleanup(func() { require.NoError(b, b.app.Shutdown()); require.NoError(b, <-done) })
	return "http://" + listener.Addr().String()
}

// endless is a body that counts what was read of it.
type endless struct{ read atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = "g\n"[i%2]
	}
	e.read.Add(int64(len(p)))
	return len(p), nil
}

func TestPartsAreStreamed(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	_, list := b.newList("USER_ID")
	upload := strings.ReplaceAll(b.newUpload(list, `{"operation":"ADD"}`), "{account}", b.account)
	url := b.serve()
	browser := &http.Client{Timeout: time.Minute}
	send := func(method, path string, body io.Reader, length int64) (*http.Response, error) {
		req, err := http.NewRequestWithContext(t.Context(), method, url+path, body)
		require.NoError(t, err)
		req.ContentLength = length
		req.Header.Set("Authorization", "Bearer "+b.advertiser)
		return browser.Do(req)
	}
	// 40 MB, ten times what other bodies may have, of known and of unknown length.
	const size = 40 << 20
	for n, length := range map[int]int64{1: size, 2: -1} {
		long := strings.Repeat("x", 99) + "\n"
		resp, err := send("PUT", fmt.Sprintf("%s/parts/%d", upload, n), io.LimitReader(&repeated{text: long}, size/100*100), length/100*100)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode)
	}
	// A part over the limit is refused while it is being sent.
	body := &endless{}
	resp, err := send("PUT", upload+"/parts/3", body, 10<<30)
	if err == nil {
		require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
		require.NoError(t, resp.Body.Close())
	}
	require.Less(t, body.read.Load(), int64(100<<20))
	// All others are as bounded as they were.
	for _, length := range []int64{10 << 20, -1} {
		body := &endless{}
		resp, err := send("POST", list, io.LimitReader(body, 10<<20), length)
		if err == nil {
			require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
			require.NoError(t, resp.Body.Close())
		}
	}
	require.Len(t, b.ok("GET", upload+"/parts", "")["items"], 2)
}

// A body of unknown length whose connection is closed between two chunks looks whole to a reader of chunks.
func TestAPartThatBreaksOffLeavesNothing(t *testing.T) {
	t.Parallel()
	b := setupV5(t)
	_, list := b.newList("USER_ID")
	upload := strings.ReplaceAll(b.newUpload(list, `{"operation":"ADD"}`), "{account}", b.account)
	address := strings.TrimPrefix(b.serve(), "http://")
	for name, tt := range map[string]struct {
		method, path, body string
		status             int
	}{
		"nothing of it":      {"PUT", upload + "/parts/4", "", 400},
		"in a chunk":         {"PUT", upload + "/parts/4", "6\r\nu1\n", 400},
		"between chunks":     {"PUT", upload + "/parts/4", "6\r\nu1\nu2\n\r\n", 400},
		"before the end":     {"PUT", upload + "/parts/4", "6\r\nu1\nu2\n\r\n0", 400},
		"another body":       {"POST", list + "/uploads", "13\r\n{\"operation\":\"ADD\"}\r\n", 400},
		"whole":              {"PUT", upload + "/parts/5", "6\r\nu1\nu2\n\r\n0\r\n\r\n", 200},
		"another, and whole": {"POST", list + "/uploads", "13\r\n{\"operation\":\"ADD\"}\r\n0\r\n\r\n", 200},
	} {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		require.NoError(t, err)
		_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n%s",
			tt.method, strings.ReplaceAll(tt.path, "{account}", b.account), b.advertiser, tt.body)
		require.NoError(t, err)
		require.NoError(t, conn.(*net.TCPConn).CloseWrite())
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err, name)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, tt.status, resp.StatusCode, "%s: %s", name, text)
		require.NoError(t, conn.Close())
	}
	require.Len(t, b.ok("GET", upload+"/parts", "")["items"], 1)
}

// repeated is a text over and over.
type repeated struct {
	text string
	at   int
}

func (r *repeated) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		c := copy(p[n:], r.text[r.at:])
		n, r.at = n+c, (r.at+c)%len(r.text)
	}
	return n, nil
}
