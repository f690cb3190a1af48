package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/goccy/go-json"
	"github.com/gofiber/fiber/v2"

	"gavel/campaign"
	index "gavel/targeting/redis"
)

// floorServer is the least that an answer to an ad request can cost: parse the body, make the one round trip to Redis, send
// as many bytes. What /v1/ads takes beyond it is what Gavel costs.
type floorServer struct {
	url  string
	stop func() error
}

// floorAnswerBytes is about the size of a page with one ad.
const floorAnswerBytes = 800

// startFloor serves the floor on a free port of the loopback.
func startFloor(redisURL string) (*floorServer, error) {
	client, err := index.Open(redisURL)
	if err != nil {
		return nil, fmt.Errorf("redis_url: %w", err)
	}
	users := index.NewUsers(client, time.Now)
	answer := make([]byte, floorAnswerBytes)
	for i := range answer {
		answer[i] = ' '
	}
	copy(answer, `{"ads":[]}`)
	app := fiber.New(fiber.Config{DisableStartupMessage: true, ReadTimeout: 10 * time.Second, IdleTimeout: 75 * time.Second})
	app.Post("/v1/ads", func(c *fiber.Ctx) error {
		var body struct {
			Slots []struct {
				ID       string `json:"id"`
				Position int    `json:"position"`
			} `json:"slots"`
			User struct {
				ID        string   `json:"id"`
				Country   string   `json:"country"`
				Gender    string   `json:"gender"`
				Age       int      `json:"age"`
				Interests []string `json:"interests"`
			} `json:"user"`
		}
		if err := json.Unmarshal(c.Body(), &body); err != nil {
			return fiber.ErrBadRequest
		}
		ctx, cancel := context.WithTimeout(c.UserContext(), time.Second)
		defer cancel()
		if _, err := users.LoadUser(ctx, campaign.UserHash(body.User.ID)); err != nil {
			return fiber.ErrServiceUnavailable
		}
		c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
		return c.Send(answer)
	})
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the floor: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- app.Listener(l) }()
	return &floorServer{url: "http://" + l.Addr().String() + "/v1/ads", stop: func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := stopServing(ctx, app, l); err != nil {
			return fmt.Errorf("stop the floor: %w", err)
		}
		if err := <-done; err != nil {
			return fmt.Errorf("serve the floor: %w", err)
		}
		return client.Close()
	}}, nil
}
