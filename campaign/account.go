package campaign

import (
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // a day must not depend on what the machine has installed

	"gavel/internal/fault"
	"gavel/internal/money"
)

// AdAccount is who pays. Its currency and its time zone are fixed: they are what its money is counted in.
type AdAccount struct {
	ID   AdAccountID
	Name string
	// Country is ISO 3166-1 alpha-2, Currency ISO 4217.
	Country, Currency string
	// TimeZone is an IANA name; it decides what a day of a daily budget is.
	TimeZone string
	// Category is what it sells, as a tier-1 code of the IAB Content Taxonomy 1.0 ("IAB2"); "" = not said. It is fixed.
	Category string
	// DailySpendCap and LifetimeSpendCap stop the account whatever its campaigns and ad groups may spend; 0 = none. Unlike
	// those of a campaign they do not exclude each other.
	DailySpendCap, LifetimeSpendCap money.Micros
	CreatedAt, UpdatedAt            time.Time
}

// AdAccountInput creates an ad account. TimeZone defaults to UTC.
type AdAccountInput struct {
	Name, Country, Currency, TimeZone, Category Opt[string]
}

// AdAccountUpdate changes the spend limit of an ad account: an absent field stays, null removes it.
type AdAccountUpdate struct {
	DailySpendCap, LifetimeSpendCap Opt[money.Micros]
}

// The v5 enumerations.
const (
	countries = " AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW "
	// UNK, which v5 lists too, is no currency to be billed in.
	currencies = " USD GBP CAD EUR AUD NZD SEK ILS CHF HKD JPY SGD KRW NOK DKK PLN RON HUF CZK BRL MXN ARS CLP COP INR TRY "
)

func newAdAccount(in AdAccountInput) (AdAccount, []fault.Field) {
	var p fault.Fields
	a := AdAccount{TimeZone: "UTC"}
	required(&p, "name", in.Name)
	required(&p, "country", in.Country)
	required(&p, "currency", in.Currency)
	apply(&p, "name", in.Name, &a.Name)
	apply(&p, "country", in.Country, &a.Country)
	apply(&p, "currency", in.Currency, &a.Currency)
	apply(&p, "time_zone", in.TimeZone, &a.TimeZone)
	applyNullable(in.Category, &a.Category)
	if in.Name.Given() {
		checkText(&p, "name", a.Name, 1, 256)
	}
	if in.Country.Given() && !IsCountry(a.Country) {
		p.Add("country", "must be an ISO 3166-1 alpha-2 country code")
	}
	if in.Currency.Given() && !inList(currencies, a.Currency) {
		p.Add("currency", "must be one of"+strings.TrimSuffix(currencies, " "))
	}
	if _, err := LoadZone(a.TimeZone); err != nil {
		p.Add("time_zone", "must be an IANA time zone such as Europe/Berlin")
	}
	if in.Category.Given() && CategoryCode(a.Category) == 0 {
		p.Add("iab_category", "must be a tier-1 category of the IAB Content Taxonomy 1.0: IAB1 to IAB26")
	}
	return a, p
}

// IABCategories is how many tier-1 categories the IAB Content Taxonomy 1.0 has: IAB1 to IAB26.
const IABCategories = 26

// CategoryCode is the number of a tier-1 category, 1 for IAB1; 0 for what is none.
func CategoryCode(category string) int {
	for code := 1; code <= IABCategories; code++ {
		if category == CategoryOf(code) {
			return code
		}
	}
	return 0
}

// CategoryOf is the category of a code of CategoryCode; "" for 0 and what is none.
func CategoryOf(code int) string {
	if code < 1 || code > IABCategories {
		return ""
	}
	return "IAB" + strconv.Itoa(code)
}

func changedAdAccount(a AdAccount, in AdAccountUpdate) (AdAccount, []fault.Field) {
	var p fault.Fields
	applyNullable(in.DailySpendCap, &a.DailySpendCap)
	applyNullable(in.LifetimeSpendCap, &a.LifetimeSpendCap)
	checkAmount(&p, "daily_spend_cap", in.DailySpendCap, MaxAmountMicros)
	checkAmount(&p, "lifetime_spend_cap", in.LifetimeSpendCap, MaxAmountMicros)
	return a, p
}

// budgets are the two lines of a. They always exist: without a limit they count.
func (a AdAccount) budgets() []Budget {
	return []Budget{
		{AdAccountID: a.ID, Scope: EntityAdAccount, ScopeID: int64(a.ID), Kind: BudgetDaily, LimitMicros: a.DailySpendCap},
		{AdAccountID: a.ID, Scope: EntityAdAccount, ScopeID: int64(a.ID), Kind: BudgetLifetime, LimitMicros: a.LifetimeSpendCap},
	}
}

// IsCountry reports whether a code is an ISO 3166-1 alpha-2 country.
func IsCountry(code string) bool { return inList(countries, code) }

func inList(list, code string) bool {
	return code != "" && !strings.Contains(code, " ") && strings.Contains(list, " "+code+" ")
}

// LoadZone returns the location of an account's time zone. Names that depend on the machine ("Local", "") are refused.
func LoadZone(name string) (*time.Location, error) {
	if name == "" || name == "Local" {
		return nil, fault.New(fault.Invalid, "time zone must be an IANA name")
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, "time zone must be an IANA name", err)
	}
	return zone, nil
}
