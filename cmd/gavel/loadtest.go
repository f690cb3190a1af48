package main

import (
	"context"
	"errors"
)

type loadtestCmd struct {
	Openbandit openBanditCmd `cmd:"" name:"openbandit" help:"Replay a feed log in the Open Bandit format."`
}

type openBanditCmd struct {
	Dir string `arg:"" type:"existingdir" help:"Directory of the log."`
}

// Run is being written.
func (openBanditCmd) Run(context.Context, world) error { return errors.New("not yet") }
