package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"gavel/internal/telemetry"
)

type serveCmd struct{}

// Run serves until ctx ends.
func (serveCmd) Run(ctx context.Context, w world) error {
	c, err := loadConfig(w.getenv, w.environ)
	if err != nil {
		return fmt.Errorf("the configuration is not complete:\n%w", err)
	}
	return serve(ctx, c, w.stderr, w.getenv, nil, func(*node) error { return nil })
}

// serve runs a node until ctx ends or it fails. started is called once it serves.
func serve(ctx context.Context, c config, logs io.Writer, getenv func(string) string, recorder *telemetry.Recorder, started func(*node) error) (err error) {
	level, err := logLevel(c.LogLevel)
	if err != nil {
		return err
	}
	tel, err := telemetry.Start(ctx, telemetry.Options{
		ServiceName: "gavel", ServiceVersion: version, Getenv: getenv, Recorder: recorder, Log: logs,
		LogFormat: telemetry.LogFormat(c.LogFormat), LogLevel: level,
	})
	if err != nil {
		return fmt.Errorf("telemetry: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.StopTimeout)
		defer cancel()
		err = errors.Join(err, tel.Shutdown(ctx))
	}()
	slog.SetDefault(tel.Logger()) // for libraries, and for what happens far from anything that was handed a log
	n, err := startNode(ctx, c, tel, recorder)
	if err != nil {
		return err
	}
	tel.Logger().Info("serving", "ads", n.adsAddr.String(), "admin", n.adminAdr.String(), "version", version)
	err = started(n)
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-n.failed:
		}
	}
	return errors.Join(err, n.stop(context.WithoutCancel(ctx)))
}

func logLevel(text string) (slog.Level, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(text)); err != nil {
		return 0, fmt.Errorf("GAVEL_LOG_LEVEL: %q is not debug, info, warn or error", text)
	}
	return level, nil
}
