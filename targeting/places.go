package targeting

import "strings"

// countries are the ISO 3166-1 alpha-2 codes, each with a space on either side.
const countries = " AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ" +
	" CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR" +
	" GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP" +
	" KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT" +
	" MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW" +
	" SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG" +
	" UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW "

// isCountry reports whether s is an assigned ISO 3166-1 alpha-2 code in capitals.
func isCountry(s string) bool {
	return len(s) == 2 && isUpper(s) && strings.Contains(countries, " "+s+" ")
}

// isDMA reports whether s has the shape of a US Nielsen market area: three digits.
func isDMA(s string) bool { return len(s) == 3 && s[0] != '0' && isDigits(s) }

// isRegion reports whether s has the shape of an ISO 3166-2 code of a known country: "US-CA", "BE-VOV", "FR-75".
func isRegion(s string) bool {
	return len(s) >= 4 && len(s) <= 6 && s[2] == '-' && isCountry(s[:2]) && isUpperOrDigits(s[3:])
}

// isPostalCode reports whether s looks like the v5 API's other kind of GEO value: a country and a postal code, "US-94107".
func isPostalCode(s string) bool {
	return len(s) > 6 && s[2] == '-' && isCountry(s[:2]) && strings.ContainsAny(s[3:], "0123456789")
}

// splitLocale reads a locale as BCP 47 ("en", "en-US", "zh-Hant-TW") or as systems write it ("en_US"): language and region,
// the region empty when there is none. A script and what follows the region are left out.
func splitLocale(s string) (language, region string, ok bool) {
	rest := strings.ReplaceAll(s, "_", "-")
	language, rest, more := strings.Cut(rest, "-")
	if len(language) < 2 || len(language) > 3 || !isLetters(language) {
		return "", "", false
	}
	if part, after, _ := strings.Cut(rest, "-"); len(part) == 4 && isLetters(part) {
		rest, more = after, after != ""
	}
	if more {
		part, _, _ := strings.Cut(rest, "-")
		if !(len(part) == 2 && isLetters(part)) && !(len(part) == 3 && isDigits(part)) {
			return "", "", false
		}
		region = strings.ToUpper(part)
	}
	return strings.ToLower(language), region, true
}

func all(s string, is func(c byte) bool) bool {
	for i := range len(s) {
		if !is(s[i]) {
			return false
		}
	}
	return s != ""
}

func isDigits(s string) bool { return all(s, func(c byte) bool { return '0' <= c && c <= '9' }) }
func isUpper(s string) bool  { return all(s, func(c byte) bool { return 'A' <= c && c <= 'Z' }) }

func isLetters(s string) bool {
	return all(s, func(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' })
}

func isUpperOrDigits(s string) bool {
	return all(s, func(c byte) bool { return 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' })
}
