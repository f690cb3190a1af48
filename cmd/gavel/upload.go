package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"

	"gavel/campaign"
)

const (
	// partTimeout bounds one try to send a part.
	partTimeout = 2 * time.Minute
	// uploadRetry is how long a server may be away before an upload breaks off.
	uploadRetry = time.Minute
	// uploadPoll is how often the state of an upload is asked for.
	uploadPoll = 500 * time.Millisecond
)

// uploader sends one file through the API of customer lists. It holds one part in memory.
type uploader struct {
	http     *http.Client
	key      string
	list     string // the URL of the customer list
	retryFor time.Duration
	say      *uploadProgress

	id string // of the upload, once there is one
}

// uploadResult is what became of an upload.
type uploadResult struct {
	ID      string
	State   string
	Bytes   int64
	Parts   int
	Again   int // parts that were there already
	Records int64
	Invalid int64
	Sent    time.Duration // until the last part was there
	Took    time.Duration // until the server was done
}

// String is the result in a line.
func (r uploadResult) String() string {
	return fmt.Sprintf("upload %s: %d records in %d parts sent in %.1f s, done after %.1f s; %d records name no user",
		r.ID, r.Records, r.Parts, r.Sent.Seconds(), r.Took.Seconds(), r.Invalid)
}

// uploadState is what the server says of an upload.
type uploadState struct {
	ID      string `json:"id"`
	State   string `json:"state"`
	Parts   int    `json:"parts_received"`
	Records int64  `json:"records_received"`
	Counts  struct {
		Processed int64 `json:"processed"`
		Invalid   int64 `json:"invalid"`
	} `json:"record_counts"`
}

// sentPart is what the server says of a part.
type sentPart struct {
	Number  int    `json:"part_number"`
	SHA256  string `json:"sha256"`
	Records int64  `json:"records"`
}

// upload sends what in holds and waits until the server is done with it.
func (u *uploader) upload(ctx context.Context, in io.Reader, operation, resume string, partSize int) (uploadResult, error) {
	start := time.Now()
	there, err := u.begin(ctx, operation, resume)
	if err != nil {
		return uploadResult{}, err
	}
	r := uploadResult{ID: u.id}
	parts := newParts(in, partSize)
	for {
		part, err := parts.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return r, fmt.Errorf("read ids: %w", err)
		}
		r.Parts++
		r.Bytes += int64(len(part))
		sum := sha256.Sum256(part)
		sent, known := there[r.Parts]
		if known && sent.SHA256 == hex.EncodeToString(sum[:]) {
			r.Again++
		} else if err := u.call(ctx, http.MethodPut, fmt.Sprintf("%s/uploads/%s/parts/%d", u.list, u.id, r.Parts), "text/plain", part, &sent); err != nil {
			return r, err
		}
		r.Records += sent.Records
		u.say.sent(r.Parts, r.Bytes, r.Records, r.Again)
	}
	if r.Parts == 0 {
		return r, errors.New("there are no ids in the file")
	}
	for number := range there {
		if number > r.Parts {
			return r, fmt.Errorf("upload %s has a part %d, the file only %d: it is of another file or part size; run again without --resume", u.id, number, r.Parts)
		}
	}
	r.Sent = time.Since(start)
	if err := u.finish(ctx, &r); err != nil {
		return r, err
	}
	r.Took = time.Since(start)
	return r, nil
}

// begin creates an upload, or finds the parts of one that broke off.
func (u *uploader) begin(ctx context.Context, operation, resume string) (map[int]sentPart, error) {
	there := map[int]sentPart{}
	if resume == "" {
		var created struct {
			Upload uploadState `json:"customer_list_upload"`
		}
		body := fmt.Appendf(nil, `{"operation":%q}`, operation)
		if err := u.call(ctx, http.MethodPost, u.list+"/uploads", "application/json", body, &created); err != nil {
			return nil, err
		}
		u.id = created.Upload.ID
		return there, nil
	}
	var parts struct {
		Items []sentPart `json:"items"`
	}
	if err := u.call(ctx, http.MethodGet, u.list+"/uploads/"+resume+"/parts", "", nil, &parts); err != nil {
		return nil, err
	}
	u.id = resume
	for _, p := range parts.Items {
		there[p.Number] = p
	}
	return there, nil
}

// finish runs the upload and waits for its end.
func (u *uploader) finish(ctx context.Context, r *uploadResult) error {
	var now uploadState
	path := u.list + "/uploads/" + u.id
	if err := u.call(ctx, http.MethodPost, path+"/run", "", nil, &now); err != nil {
		return err
	}
	tick := time.NewTicker(uploadPoll)
	defer tick.Stop()
	for {
		u.say.worked(now.State, now.Counts.Processed, now.Records)
		switch campaign.UploadState(now.State) {
		case campaign.UploadSucceeded:
			r.State, r.Invalid, r.Records = now.State, now.Counts.Invalid, now.Records
			return nil
		case campaign.UploadFailed:
			return fmt.Errorf("upload %s has failed on the server", u.id)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server goes on without us: %w", ctx.Err())
		case <-tick.C:
		}
		if err := u.call(ctx, http.MethodGet, path, "", nil, &now); err != nil {
			return err
		}
	}
}

// refusedCall is an answer that will be the same however often it is asked for.
type refusedCall struct {
	status  int
	message string
}

func (e *refusedCall) Error() string { return e.message }

// call sends one request, again while the server is away or busy: every request of an upload may be sent twice.
func (u *uploader) call(ctx context.Context, method, url, contentType string, body []byte, into any) error {
	key := uuid.NewString()
	once := func() (struct{}, error) {
		answer, status, err := u.try(ctx, method, url, contentType, key, body)
		switch {
		case err != nil:
			return struct{}{}, err
		case status == http.StatusTooManyRequests || status >= http.StatusInternalServerError:
			return struct{}{}, fmt.Errorf("%s %s: status %d: %s", method, url, status, answer)
		case status != http.StatusOK:
			return struct{}{}, backoff.Permanent(&refusedCall{status, fmt.Sprintf("%s %s: status %d: %s", method, url, status, answer)})
		}
		if err := json.Unmarshal(answer, into); err != nil {
			return struct{}{}, backoff.Permanent(fmt.Errorf("%s %s: %w", method, url, err))
		}
		return struct{}{}, nil
	}
	wait := &backoff.ExponentialBackOff{InitialInterval: 200 * time.Millisecond, RandomizationFactor: 0.3, Multiplier: 2, MaxInterval: 5 * time.Second}
	_, err := backoff.Retry(ctx, once, backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(u.retryFor),
		backoff.WithNotify(func(err error, _ time.Duration) { u.say.trouble(err) }))
	return err
}

func (u *uploader) try(ctx context.Context, method, url, contentType, key string, body []byte) ([]byte, int, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, 0, backoff.Permanent(fmt.Errorf("%s: %w", method, err))
	}
	req.Header.Set("Authorization", "Bearer "+u.key)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if method == http.MethodPost {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := u.http.Do(req)
	if err != nil {
		return nil, 0, err
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	return answer, resp.StatusCode, errors.Join(err, resp.Body.Close())
}

// parts cuts a stream of records into parts that end where a record does.
type parts struct {
	r     io.Reader
	buf   []byte
	n     int // bytes of buf that are filled
	taken int // bytes of them that were the last part
	ended bool
}

func newParts(r io.Reader, size int) *parts { return &parts{r: r, buf: make([]byte, size)} }

// next returns the next part, which is valid until the call after, or io.EOF.
func (p *parts) next() ([]byte, error) {
	p.n = copy(p.buf, p.buf[p.taken:p.n])
	p.taken = 0
	for p.n < len(p.buf) && !p.ended {
		read, err := p.r.Read(p.buf[p.n:])
		p.n += read
		if errors.Is(err, io.EOF) {
			p.ended = true
		} else if err != nil {
			return nil, err
		}
	}
	if p.n == 0 {
		return nil, io.EOF
	}
	if p.taken = p.cut(); p.taken == 0 {
		return nil, fmt.Errorf("no id ends within %d bytes: the file must have one id a line, or commas between them", len(p.buf))
	}
	return p.buf[:p.taken], nil
}

// cut is how much of the buffer makes a part: whole records, and not too many.
func (p *parts) cut() int {
	end, records := 0, 0
	for end < p.n && records < campaign.MaxPartRecords {
		i := bytes.IndexAny(p.buf[end:p.n], "\n,")
		if i < 0 {
			if p.ended {
				return p.n // the last record
			}
			return end
		}
		end += i + 1
		records++
	}
	return end
}
