package torture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

const maxAnswer = 8 << 20

// get is a GET that must be answered 200; the body goes to into, if that is not nil.
func get(ctx context.Context, client *http.Client, url string, into func([]byte) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %.300s", url, resp.Status, body)
	}
	if into == nil {
		return nil
	}
	return into(body)
}
