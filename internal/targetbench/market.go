package targetbench

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"gavel/campaign"
	"gavel/internal/money"
)

// Now is the time of every query, and the time around which the schedules of ads lie.
var Now = time.Date(2026, 11, 25, 15, 30, 0, 0, time.UTC)

// The first ids of a market, as the database counts them.
const (
	FirstAccount  = campaign.AdAccountID(549_755_813_889)
	FirstCampaign = campaign.CampaignID(626_735_565_001)
	FirstAdGroup  = campaign.AdGroupID(2_680_059_592_001)
	FirstAd       = campaign.AdID(687_195_134_001)
	FirstAudience = campaign.AudienceID(2_542_620_905_001)
)

// Audiences is how many lists of users there are: FirstAudience and those after it.
const Audiences = audienceMost

// Market makes ads, queries and changes from one seed.
type Market struct {
	seed   uint64
	values *values
}

// NewMarket returns the market of a seed.
func NewMarket(seed uint64) *Market {
	return &Market{seed: seed, values: newValues(seeded(seed, streamValues))}
}

// Streams of random numbers: each of what is generated has its own, so that one does not move when another gets longer.
const (
	streamValues = iota + 1
	streamAds
	streamQueries
	streamChanges
	streamChangeable
)

// Interests is the taxonomy, parents before children.
func (m *Market) Interests() []campaign.Interest { return m.values.interests }

// Ads makes n ads: those of an ad group, a campaign and an account follow each other. Every market of a seed begins with the
// same ads, however many are taken.
func (m *Market) Ads(n int) iter.Seq[campaign.ServingAd] {
	return func(yield func(campaign.ServingAd) bool) {
		g := &groups{values: m.values, r: seeded(m.seed, streamAds), account: FirstAccount - 1, campaign: FirstCampaign - 1, group: FirstAdGroup - 1}
		g.broad = make([]string, broadSpecs)
		for i := range g.broad {
			g.broad[i] = g.broadSpec()
		}
		for id := FirstAd; id < FirstAd+campaign.AdID(n); {
			ad := g.next()
			for range between(g.r, 1, 4) {
				ad.AdID = id
				ad.Creative = creative(g.r, id)
				if !yield(ad) {
					return
				}
				if id++; id == FirstAd+campaign.AdID(n) {
					return
				}
			}
		}
	}
}

// groups makes one ad group after the other.
type groups struct {
	*values
	r *rand.Rand

	account        campaign.AdAccountID
	campaign       campaign.CampaignID
	group          campaign.AdGroupID
	leftOfAccount  int // campaigns
	leftOfCampaign int // ad groups

	// Of the account.
	currency, zone, home string
	audiences            []campaign.AudienceID
	// recent are specs of the account, which it uses again.
	recent []string
	// broad are specs that all accounts use.
	broad []string
}

// broadSpecs is how many different specs there are that many accounts use.
const broadSpecs = 300

// next is an ad group as the ads of it are served, without id and creative.
func (g *groups) next() campaign.ServingAd {
	if g.leftOfCampaign == 0 {
		if g.leftOfAccount == 0 {
			g.open()
		}
		g.leftOfAccount--
		g.campaign++
		g.leftOfCampaign = between(g.r, 1, 8)
	}
	g.leftOfCampaign--
	g.group++
	ad := campaign.ServingAd{
		Objective: campaign.Awareness, BidStrategy: campaign.MaxBid,
		AdGroupID: g.group, CampaignID: g.campaign, AdAccountID: g.account, Currency: g.currency, TimeZone: g.zone,
		PlacementGroup: oneOf(g.r, []string{"ALL", "BROWSE", "SEARCH", "OTHER"}, 0.45, 0.27, 0.18, 0.10),
	}
	ad.BillableEvent, ad.BidMicros = g.bid()
	ad.Targeting = []byte(g.spec())
	ad.Keywords = g.keywords(ad.PlacementGroup)
	g.schedule(&ad)
	if share(g.r, 0.1) {
		ad.FrequencyCap = between(g.r, 3, 30)
	}
	return ad
}

// open starts another account.
func (g *groups) open() {
	g.account++
	g.leftOfAccount = 1 + int(logNormal(g.r, 12, 1))
	at := g.country.draw(g.r)
	g.home = countries[at]
	g.currency, g.zone = currencies[at%len(currencies)], timeZones[at%len(timeZones)]
	g.audiences = distinct(6, func() campaign.AudienceID { return FirstAudience + campaign.AudienceID(g.r.IntN(Audiences)) })
	g.recent = g.recent[:0]
}

// bid is log-normal: a median of 3.00 per 1,000 impressions, or of 0.40 per click.
func (g *groups) bid() (campaign.BillableEvent, money.Micros) {
	if share(g.r, 0.6) {
		return campaign.BillImpression, money.Micros(max(100_000, logNormal(g.r, 3_000_000, 0.8)))
	}
	return campaign.BillClickthrough, money.Micros(max(10_000, logNormal(g.r, 400_000, 0.7)))
}

// keywords are on four of five ad groups for search alone, and on a few of the others.
func (g *groups) keywords(placement string) []campaign.Keyword {
	p := 0.05
	switch placement {
	case "SEARCH":
		p = 0.8
	case "ALL":
		p = 0.12
	}
	if !share(g.r, p) {
		return nil
	}
	how := []campaign.MatchType{
		campaign.MatchBroad, campaign.MatchPhrase, campaign.MatchExact, campaign.MatchPhraseNegative, campaign.MatchExactNegative,
	}
	return distinct(between(g.r, 2, 12), func() campaign.Keyword {
		return campaign.Keyword{MatchType: oneOf(g.r, how, 0.5, 0.25, 0.15, 0.06, 0.04), Value: g.phrase(g.r, between(g.r, 1, 3))}
	})
}

// schedule gives some a start, some an end and some hours of the week.
func (g *groups) schedule(ad *campaign.ServingAd) {
	day := 24 * time.Hour
	if share(g.r, 0.25) {
		ad.StartTime = Now.Add(-time.Duration(g.r.IntN(90))*day + 8*day).Truncate(day)
	}
	if share(g.r, 0.3) {
		ad.EndTime = Now.Add(time.Duration(g.r.IntN(90))*day - 5*day).Truncate(day)
		if !ad.StartTime.IsZero() && !ad.EndTime.After(ad.StartTime) {
			ad.EndTime = ad.StartTime.Add(14 * day)
		}
	}
	if share(g.r, 0.1) {
		ad.Hours = pick(g.r, g.hours)
	}
}

func creative(r *rand.Rand, id campaign.AdID) campaign.Creative {
	titles := []string{"Handmade lamps", "The winter sale", "Running shoes that last", "Recipes for two", "A room of one's own", "New in: linen"}
	return campaign.Creative{
		Type: "REGULAR", Title: pick(r, titles), Description: "Free delivery from 40, and thirty days to change your mind.",
		ImageURL: fmt.Sprintf("https://img.example/%d.jpg", id), DestinationURL: fmt.Sprintf("https://shop.example/p/%d", id),
	}
}
