package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"gavel/campaign"
	campaigns "gavel/campaign/postgres"
	"gavel/targeting"
)

type keyCmd struct {
	Create keyCreateCmd `cmd:"" help:"Make a key and print its text, once."`
	List   keyListCmd   `cmd:"" help:"List keys, without their texts."`
	Revoke keyRevokeCmd `cmd:"" help:"Revoke a key; nodes stop accepting it within seconds."`
}

type keyCreateCmd struct {
	databaseFlag
	Role        string `required:"" enum:"FEED,ADVERTISER,OPERATOR" help:"FEED asks for ads, ADVERTISER manages one account, OPERATOR manages all."`
	Name        string `required:"" help:"Who has it."`
	AdAccountID int64  `name:"ad-account-id" help:"The account of an ADVERTISER key."`
	MayExplain  bool   `help:"The key may ask why an auction went as it did."`
}

type keyListCmd struct{ databaseFlag }

type keyRevokeCmd struct {
	databaseFlag
	ID int64 `arg:"" help:"As key list shows it."`
}

// withService runs f with the management service on the database.
func (f databaseFlag) withService(ctx context.Context, do func(*campaign.Service) error) (err error) {
	db, err := f.open(ctx)
	if err != nil {
		return err
	}
	store := campaigns.NewStore(db)
	defer func() { err = errors.Join(err, store.Close(), db.Close()) }()
	return do(campaign.NewService(campaign.Config{
		Store: store, ValidateTargeting: targeting.Canonicalize, CheckKeyword: targeting.CheckKeyword, CheckInterests: targeting.CheckTaxonomy,
		TargetingOptions: targeting.Options, Now: time.Now, Random: rand.Reader,
	}))
}

// Run makes a key.
func (c keyCreateCmd) Run(ctx context.Context, w world) error {
	return c.withService(ctx, func(s *campaign.Service) error {
		key, text, err := s.CreateKey(ctx, campaign.KeyInput{
			Name: c.Name, Role: campaign.Role(c.Role), AdAccountID: campaign.AdAccountID(c.AdAccountID), MayExplain: c.MayExplain,
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(w.stderr, "key %d (%s, %s); this is the only time it is shown:\n", key.ID, key.Role, key.Name)
		fmt.Fprintln(w.stdout, text)
		return nil
	})
}

// Run lists keys.
func (c keyListCmd) Run(ctx context.Context, w world) error {
	return c.withService(ctx, func(s *campaign.Service) error {
		keys, err := s.ListKeys(ctx)
		if err != nil {
			return err
		}
		t := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "ID\tROLE\tACCOUNT\tEXPLAIN\tCREATED\tREVOKED\tNAME")
		for _, k := range keys {
			account, revoked := "-", "-"
			if k.AdAccountID != 0 {
				account = fmt.Sprint(int64(k.AdAccountID))
			}
			if !k.RevokedAt.IsZero() {
				revoked = k.RevokedAt.UTC().Format(time.RFC3339)
			}
			fmt.Fprintf(t, "%d\t%s\t%s\t%t\t%s\t%s\t%s\n", k.ID, k.Role, account, k.MayExplain, k.CreatedAt.UTC().Format(time.RFC3339), revoked, k.Name)
		}
		return t.Flush()
	})
}

// Run revokes a key.
func (c keyRevokeCmd) Run(ctx context.Context, w world) error {
	return c.withService(ctx, func(s *campaign.Service) error {
		key, err := s.RevokeKey(ctx, c.ID)
		if err != nil {
			return err
		}
		fmt.Fprintf(w.stdout, "revoked key %d (%s)\n", key.ID, key.Name)
		return nil
	})
}
