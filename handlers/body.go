package handlers

import (
	"bytes"
	"io"

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
	c.Request().SetBodyStream(body, body.Len())
	return c.Next()
}

func tooLarge(c *fiber.Ctx) error {
	c.Context().SetConnectionClose()
	return fault.New(fault.TooLarge, "the body is too large")
}
