package postgres_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/internal/money"
)

func interest(id, parent string) campaign.Interest {
	return campaign.Interest{ID: id, ParentID: parent, Name: "the " + id}
}

func (b *bundle) interests(all ...campaign.Interest) int {
	b.Helper()
	changed, err := b.svc.ReplaceInterests(b.Context(), all)
	require.NoError(b, err)
	return changed
}

func TestInterestsAreReplacedAsAWhole(t *testing.T) {
	t.Parallel()
	b := setup(t)
	got, err := b.serving.Interests(t.Context())
	require.NoError(t, err)
	require.NotNil(t, got)
	require.Empty(t, got)
	b.drain()

	require.Equal(t, 4, b.interests(interest("chairs", "home"), interest("home", ""), interest("armchairs", "chairs"), interest("Z", "")))
	require.Equal(t, []change{{"INTERESTS", 0}}, b.drain())
	require.Zero(t, b.interests(interest("Z", ""), interest("home", ""), interest("chairs", "home"), interest("armchairs", "chairs")), "the same again")
	require.Empty(t, b.drain(), "nothing changed, so nobody is told")
	got, err = b.serving.Interests(t.Context())
	require.NoError(t, err)
	require.Equal(t, []campaign.Interest{interest("Z", ""), interest("armchairs", "chairs"), interest("chairs", "home"), interest("home", "")}, got, "ids sort as bytes")

	n, err := b.svc.Interest(t.Context(), "chairs")
	require.NoError(t, err)
	require.Equal(t, campaign.InterestNode{Interest: interest("chairs", "home"), Level: 2, Children: []string{"armchairs"}}, n)
	_, err = b.svc.Interest(t.Context(), "cars")
	require.ErrorIs(t, err, campaign.ErrInterestNotFound)

	// Upside down: every row keeps its id and changes its place.
	require.Equal(t, 3, b.interests(interest("armchairs", ""), interest("chairs", "armchairs"), interest("home", "chairs"), interest("Z", "")))
	n, err = b.svc.Interest(t.Context(), "home")
	require.NoError(t, err)
	require.Equal(t, 3, n.Level)

	delta := b.resolve(change{"INTERESTS", 0})
	require.Len(t, delta.Interests, 4)
	require.Empty(t, delta.Upserts)
	_, _, g, ad := b.tree()
	delta = b.resolve(change{"INTERESTS", 0}, change{"AD_GROUP", int64(g.ID)}, change{"USER", 5})
	require.Len(t, delta.Interests, 4)
	require.Equal(t, []campaign.AdID{ad.ID}, adIDs(delta.Upserts))
	require.Nil(t, b.resolve(change{"AD", int64(ad.ID)}).Interests)

	require.Equal(t, 4, b.interests())
	delta = b.resolve(change{"INTERESTS", 0})
	require.NotNil(t, delta.Interests, "no taxonomy any more is a change, too")
	require.Empty(t, delta.Interests)
}

// TestTheDatabaseHoldsNoInterestBelowItself: the check is left out here (see setup), so that the schema stands alone.
func TestTheDatabaseHoldsNoInterestBelowItself(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.interests(interest("a", ""))
	deep := []campaign.Interest{interest("1", "")}
	for i := range 8 {
		deep = append(deep, interest(fmt.Sprint(i+2), fmt.Sprint(i+1)))
	}
	for name, all := range map[string][]campaign.Interest{
		"circle": {interest("a", "b"), interest("b", "a")}, "itself": {interest("a", "a")}, "no parent": {interest("a", ""), interest("b", "c")},
		"twice": {interest("b", ""), interest("b", "")}, "too deep": deep, "no id": {interest("", "")}, "space": {interest("a b", "")},
	} {
		_, err := b.svc.ReplaceInterests(t.Context(), all)
		require.Error(t, err, name)
	}
	for _, sql := range []string{
		`INSERT INTO interests (id, parent_id, name, level) VALUES ('x', 'x', 'n', 2)`,
		`INSERT INTO interests (id, parent_id, name, level) VALUES ('x', 'y', 'n', 3), ('y', 'x', 'n', 2)`,
		`INSERT INTO interests (id, parent_id, name, level) VALUES ('x', NULL, 'n', 2)`,
		`INSERT INTO interests (id, parent_id, name, level) VALUES ('x', 'a', 'n', 3)`,
	} {
		_, err := b.db.ExecContext(t.Context(), sql)
		require.Error(t, err, sql)
	}
	require.Equal(t, 1, b.count(`SELECT count(*) FROM interests`))
}

func TestTwoLoadsOfInterestsAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	loads := [][]campaign.Interest{{interest("a", ""), interest("b", "a")}, {interest("b", ""), interest("a", "b"), interest("c", "a")}}
	atOnce(8, func(i int) {
		_, err := b.svc.ReplaceInterests(t.Context(), loads[i%2])
		if err != nil {
			t.Error(err)
		}
	})
	got, err := b.serving.Interests(t.Context())
	require.NoError(t, err)
	require.Contains(t, [][]campaign.Interest{{interest("a", ""), interest("b", "a")}, {interest("a", "b"), interest("b", ""), interest("c", "a")}}, got, "one or the other, never both")
}

func TestAnInterestThatIsNotInTheTaxonomyCannotBeTargeted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, c, _, _ := b.tree()
	target := func(spec string) ([]campaign.Result[campaign.AdGroup], error) {
		return b.svc.CreateAdGroups(t.Context(), c.AdAccountID, items(campaign.AdGroupInput{
			CampaignID: campaign.Some(c.ID), Name: campaign.Some("g"), BillableEvent: campaign.Some(campaign.BillImpression),
			Bid: campaign.Some[money.Micros](1), Budget: campaign.Some[money.Micros](1), TargetingSpec: campaign.Some(json.RawMessage(spec)),
		}))
	}
	results, err := target(`{"INTEREST":["anything"]}`)
	old := written(b, results, err) // no taxonomy is loaded
	b.interests(interest("a", ""), interest("b", "a"))
	results, err = target(`{"INTEREST":["a","b"]}`)
	g := written(b, results, err)
	results, err = target(`{"INTEREST":["a","x","b","y"]}`)
	require.Equal(t, []string{"targeting_spec.INTEREST", "targeting_spec.INTEREST"}, refused(b, results, err))
	require.Equal(t, `names the interest "x", which the taxonomy does not have`, results[0].Err.Fields[0].Message)

	update := func(id campaign.AdGroupID, in campaign.AdGroupInput) ([]campaign.Result[campaign.AdGroup], error) {
		return b.svc.UpdateAdGroups(t.Context(), c.AdAccountID, items(campaign.AdGroupUpdate{ID: id, AdGroupInput: in}))
	}
	results, err = update(g.ID, campaign.AdGroupInput{TargetingSpec: campaign.Some(json.RawMessage(`{"INTEREST":["z"]}`))})
	require.Equal(t, []string{"targeting_spec.INTEREST"}, refused(b, results, err))
	results, err = update(old.ID, campaign.AdGroupInput{Name: campaign.Some("renamed")})
	require.Equal(t, "renamed", written(b, results, err).Name, "what was targeted before the taxonomy can still be touched")
}
