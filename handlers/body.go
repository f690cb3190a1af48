package handlers

import (
	"bytes"
	"errors"
	"io"
	"time"

	"github.com/gofiber/fiber/v2"

	"gavel/internal/fault"
)

// wholeBody reads the body of a request, up to maxBodyBytes. The app streams bodies, for parts of uploads: all other handlers want
// theirs whole, and bounded before they ask for it.
func wholeBody(c *fiber.Ctx) error {
	stream := c.Context().RequestBodyStream()
	if stream == nil || c.Method() == fiber.MethodPut {
		return c.Next()
	}
	length := c.Request().Header.ContentLength()
	if length > maxBodyBytes {
		return tooLarge(c)
	}
	body := bytes.NewBuffer(make([]byte, 0, max(length, 0)+bytes.MinRead))
	if _, err := body.ReadFrom(io.LimitReader(stream, maxBodyBytes+1)); err != nil {
		c.Context().SetConnectionClose()
		return fault.Wrap(fault.Invalid, "the body ended early", err)
	}
	if body.Len() > maxBodyBytes {
		return tooLarge(c)
	}
	if err := whole(c, stream); err != nil {
		c.Context().SetConnectionClose()
		return fault.Wrap(fault.Invalid, "the body ended early", err)
	}
	c.Request().SetBodyStream(body, body.Len())
	return c.Next()
}

// whole returns an error when a stream that has ended did so because the connection was closed between two chunks of a body of
// unknown length: fasthttp reports that as an end like any other (valyala/fasthttp, parseChunkSize). A stream that has ended says so
// again without asking the connection; one that has not asks, and is told that its time is over.
func whole(c *fiber.Ctx, stream io.Reader) error {
	conn := c.Context().Conn()
	if conn == nil || c.Request().Header.ContentLength() >= 0 {
		return nil
	}
	if err := conn.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return err
	}
	var one [1]byte
	if _, err := stream.Read(one[:]); !errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return conn.SetReadDeadline(time.Now().Add(partSilence))
}

func tooLarge(c *fiber.Ctx) error {
	c.Context().SetConnectionClose()
	return fault.New(fault.TooLarge, "the body is too large")
}
