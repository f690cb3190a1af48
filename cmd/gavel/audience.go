package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

type audienceCmd struct {
	Upload audienceUploadCmd `cmd:"" help:"Send a file of user ids to an audience and wait until ads know them."`
}

type audienceUploadCmd struct {
	File string `arg:"" help:"One id a line, or separated by commas; - is standard input. A list of type HASHED_PINNER_ID takes the SHA-256 of the id in hexadecimal digits."`

	URL      string `name:"url" required:"" env:"GAVEL_URL" help:"The server, for example http://127.0.0.1:8080."`
	Key      string `required:"" env:"GAVEL_KEY" help:"A key of the account, or an operator's. Better in the environment: other processes see arguments."`
	Account  string `required:"" placeholder:"ID" help:"The ad account."`
	Audience string `placeholder:"ID" help:"The audience; --list is the same."`
	List     string `placeholder:"ID" help:"The customer list; --audience is the same."`

	Replace  bool   `xor:"operation" help:"Make the ids of the file the only users, in one step at the end."`
	Remove   bool   `xor:"operation" help:"Remove the ids of the file instead of adding them."`
	Resume   string `placeholder:"ID" help:"Go on with an upload that broke off: what the server has is not sent again."`
	PartSize int    `default:"8" placeholder:"MIB" help:"Size of a part, which is held in memory."`
}

// Validate is called by kong.
func (c *audienceUploadCmd) Validate() error {
	switch u, err := url.Parse(c.URL); {
	case err != nil || u.Host == "":
		return errors.New("--url is not a URL with a host")
	case (c.Audience == "") == (c.List == ""):
		return errors.New("give one of --audience and --list")
	case c.PartSize < 1 || c.PartSize > 64:
		return errors.New("--part-size must be from 1 to 64")
	}
	return nil
}

func (c *audienceUploadCmd) operation() string {
	switch {
	case c.Replace:
		return "REPLACE"
	case c.Remove:
		return "REMOVE"
	}
	return "ADD"
}

// Run uploads. After an error it says how to go on.
func (c *audienceUploadCmd) Run(ctx context.Context, w world) (err error) {
	in, size, err := c.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	u := &uploader{
		http: &http.Client{Timeout: partTimeout}, key: c.Key, retryFor: uploadRetry,
		list: strings.TrimRight(c.URL, "/") + "/v5/ad_accounts/" + url.PathEscape(c.Account) + "/customer_lists/" + url.PathEscape(c.Audience+c.List),
		say:  newUploadProgress(w.stderr, size),
	}
	result, err := u.upload(ctx, in, c.operation(), c.Resume, c.PartSize<<20)
	if err != nil {
		return c.advise(err, u.id)
	}
	fmt.Fprintln(w.stdout, result)
	return nil
}

// open opens the file and says its size, 0 for one that is not known.
func (c *audienceUploadCmd) open() (io.ReadCloser, int64, error) {
	if c.File == "-" {
		return io.NopCloser(os.Stdin), 0, nil
	}
	f, err := os.Open(c.File)
	if err != nil {
		return nil, 0, fmt.Errorf("open file of ids: %w", err)
	}
	var size int64
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		size = info.Size()
	}
	return f, size, nil
}

// advise says what to do after an error.
func (c *audienceUploadCmd) advise(err error, id string) error {
	switch r, refused := errors.AsType[*refusedCall](err); {
	case refused && r.status == http.StatusUnauthorized, refused && r.status == http.StatusForbidden:
		return fmt.Errorf("%w\nGive a key of this account, or an operator's, with --key or GAVEL_KEY", err)
	case id == "" && refused:
		return err
	case id == "":
		return fmt.Errorf("%w\nNothing was sent: run the same command again", err)
	}
	return fmt.Errorf("%w\nWhat was sent is kept. Run the same command again with: --resume %s --part-size %d", err, id, c.PartSize)
}

// uploadProgress tells on one line of a terminal how far an upload is, and elsewhere now and then.
type uploadProgress struct {
	w     io.Writer
	size  int64 // of the file, 0 if it is not known
	live  bool
	every time.Duration
	start time.Time
	said  time.Time
}

func newUploadProgress(w io.Writer, size int64) *uploadProgress {
	p := &uploadProgress{w: w, size: size, every: 5 * time.Second, start: time.Now()}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.live, p.every = true, 200*time.Millisecond
	}
	return p
}

// sent tells how much of the file is there.
func (p *uploadProgress) sent(part int, bytes, records int64, again int) {
	text := fmt.Sprintf("sent %.1f MB", float64(bytes)/1e6)
	if p.size > 0 {
		text += fmt.Sprintf(" of %.1f MB (%d %%)", float64(p.size)/1e6, bytes*100/p.size)
	}
	text += fmt.Sprintf(", part %d, %d records", part, records)
	if again > 0 {
		text += fmt.Sprintf(", %d parts were there", again)
	}
	p.tell(text, false)
}

// worked tells how far the server is.
func (p *uploadProgress) worked(state string, processed, records int64) {
	percent := int64(100)
	if records > 0 {
		percent = processed * 100 / records
	}
	p.tell(fmt.Sprintf("%s: %d of %d records (%d %%)", strings.ToLower(state), processed, records, percent), state != "RUNNING")
}

// trouble tells of an error that is tried again.
func (p *uploadProgress) trouble(err error) { p.tell("trying again: "+err.Error(), true) }

func (p *uploadProgress) tell(text string, now bool) {
	if !now && time.Since(p.said) < p.every {
		return
	}
	p.said = time.Now()
	text = fmt.Sprintf("[%4.0f s] %s", time.Since(p.start).Seconds(), text)
	if p.live {
		fmt.Fprintf(p.w, "\r\x1b[K%s", text)
		if now {
			fmt.Fprintln(p.w)
		}
		return
	}
	fmt.Fprintln(p.w, text)
}
