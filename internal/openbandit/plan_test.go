package openbandit

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func samplePlan(t *testing.T, rows, items int) *Plan {
	t.Helper()
	p, err := NewPlan(sampleLog(t, rows, items), "test")
	require.NoError(t, err)
	return p
}

func TestAPlanFollowsFromTheLogAndTheNameAlone(t *testing.T) {
	t.Parallel()
	a, b := samplePlan(t, 200, 34), samplePlan(t, 200, 34)
	require.Equal(t, a.Shops, b.Shops)
	ids := map[string]bool{}
	for n := range a.Log.Rows {
		req, user := a.page(n)
		again, _ := b.page(n)
		require.Equal(t, req, again)
		require.False(t, ids[req.RequestID], "a request id of its own")
		ids[req.RequestID] = true
		require.Equal(t, user.ID, req.User.ID)
		require.Len(t, req.Slots, 3)
	}
}

func TestUsersComeBackAndKeepTheirFeatures(t *testing.T) {
	t.Parallel()
	p := samplePlan(t, 2000, 4)
	seen := map[string]User{}
	for n := range p.Log.Rows {
		u := p.users.user(&p.Log.Rows[n])
		require.Equal(t, p.Log.Rows[n].Item, u.Item)
		u.Item = 0
		if known, ok := seen[u.ID]; ok {
			require.Equal(t, known, u)
		}
		seen[u.ID] = u
	}
	views := float64(len(p.Log.Rows)) / float64(len(seen))
	require.Greater(t, views, 0.5*viewsPerUser)
	require.Less(t, views, 2.0*viewsPerUser)
}

func TestThePlanHasEveryKindOfCampaign(t *testing.T) {
	t.Parallel()
	p := samplePlan(t, 50, 34)
	count := map[string]int{}
	for _, s := range p.Shops {
		count[s.Billable]++
		count[s.BudgetType]++
		count["zone "+s.TimeZone]++
		for _, l := range s.Limits {
			count[l.Scope+" "+l.Kind]++
			require.Positive(t, l.Most)
		}
		if s.FrequencyCap > 0 {
			require.Equal(t, billImpression, s.Billable, "v5 caps impressions only")
			count["capped"]++
		}
		a := s.Audience
		count[fmt.Sprintf("by taste %t, gender %t, age %t, country %t", a.Interests != nil, a.Genders != nil, a.AgeBuckets != nil, a.Countries != nil)]++
		if a.Visitors {
			count["retargeting"]++
			require.Equal(t, billClick, s.Billable)
			require.GreaterOrEqual(t, s.Limits[0].Most, 2*s.Bid, "it can pay for a click")
		}
	}
	for _, kind := range []string{
		billImpression, billClick, "DAILY", "LIFETIME", "CBO_ADGROUP", "AD_GROUP DAILY", "AD_GROUP LIFETIME", "CAMPAIGN DAILY", "CAMPAIGN LIFETIME",
		"capped", "retargeting", "zone UTC", "zone Asia/Tokyo", "zone America/Los_Angeles", "zone Europe/Berlin",
		"by taste false, gender false, age false, country false", "by taste true, gender false, age false, country false",
		"by taste false, gender true, age false, country false", "by taste false, gender false, age true, country false",
		"by taste true, gender false, age false, country true",
	} {
		require.Positive(t, count[kind], kind)
	}
}

// TestWhomAnAudienceAdmitsIsWhomItsSpecTargets evaluates the spec as v5 describes it, beside Admits.
func TestWhomAnAudienceAdmitsIsWhomItsSpecTargets(t *testing.T) {
	t.Parallel()
	p := samplePlan(t, 300, 34)
	admitted := 0
	for i := range p.Shops {
		s := &p.Shops[i]
		spec := p.spec(s)
		for n := range p.Log.Rows {
			req, user := p.page(n)
			want := targets(spec, &req)
			require.Equal(t, want, s.Admits(&user), "%v %+v", spec, user)
			if want {
				admitted++
			}
		}
	}
	all := len(p.Shops) * len(p.Log.Rows)
	require.Greater(t, admitted, all/5)
	require.Less(t, admitted, all*9/10, "targeting must keep somebody out")
}

// TestAPlanListsItsInterests finds what ads target and users have in the list, and nothing there that nobody needs.
func TestAPlanListsItsInterests(t *testing.T) {
	t.Parallel()
	p := samplePlan(t, 300, 34)
	used := map[string]bool{}
	for i := range p.Shops {
		used[p.visitor(p.Shops[i].Item.ID)] = true // also of items that nobody looks at
		for _, id := range p.spec(&p.Shops[i])["INTEREST"] {
			used[id] = true
		}
	}
	for n := range p.Log.Rows {
		req, _ := p.page(n)
		for _, id := range req.User.Interests {
			used[id] = true
		}
	}
	listed := map[string]bool{}
	for _, in := range p.Interests() {
		require.False(t, listed[in.ID], "%s is there twice", in.ID)
		require.NotEmpty(t, in.Name)
		listed[in.ID] = true
	}
	require.Equal(t, used, listed)
}

func TestOtherRunsAreNotEligibleOnAPage(t *testing.T) {
	t.Parallel()
	l := sampleLog(t, 20, 10)
	one, err := NewPlan(l, "one")
	require.NoError(t, err)
	two, err := NewPlan(l, "two")
	require.NoError(t, err)
	for n := range l.Rows {
		req, _ := one.page(n)
		for i := range two.Shops {
			require.False(t, targets(two.spec(&two.Shops[i]), &req))
		}
	}
	for _, name := range []string{"", "A", "a b", "-a", strings.Repeat("a", 25)} {
		_, err := NewPlan(l, name)
		require.Error(t, err, name)
	}
}

func TestARequestFitsTheServersLimits(t *testing.T) {
	t.Parallel()
	l := sampleLog(t, 20, 10)
	p, err := NewPlan(l, strings.Repeat("x", 24))
	require.NoError(t, err)
	for n := range l.Rows {
		req, _ := p.page(n)
		body, err := json.Marshal(req)
		require.NoError(t, err)
		require.Less(t, len(body), 64<<10)
		require.LessOrEqual(t, len(req.RequestID), 128)
		for _, i := range req.User.Interests {
			require.LessOrEqual(t, len(i), 64)
		}
	}
}

// targets evaluates a targeting_spec.
func targets(spec map[string][]string, req *pageRequest) bool {
	for key, list := range spec {
		has := false
		for _, v := range list {
			switch key {
			case "INTEREST":
				has = has || slices.Contains(req.User.Interests, v)
			case "GENDER":
				has = has || req.User.Gender == v
			case "LOCATION":
				has = has || req.User.Country == v
			case "APPTYPE":
				has = has || req.Device.AppType == v
			case "AGE_BUCKET":
				var from, to int
				if _, err := fmt.Sscanf(v, "%d-%d", &from, &to); err != nil {
					return false
				}
				has = has || req.User.Age >= from && req.User.Age <= to
			}
		}
		if !has {
			return false
		}
	}
	return true
}
