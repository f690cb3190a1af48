package targeting

import (
	"strings"

	"golang.org/x/text/language"
	"golang.org/x/text/language/display"

	"gavel/campaign"
)

// Options lists the values of a key of a spec with their English names, sorted by value. It is nil for a key whose values are
// not a list: of GEO and of US market areas only the shape is known.
func Options(key string) []campaign.TargetingOption {
	switch key {
	case keyAppType:
		return named(appTypes()...)
	case keyGender:
		return named(genders()...)
	case keyAgeBucket:
		return named(ageBucketNames()...)
	case keyLocation:
		return countryOptions()
	case keyLocale:
		return languageOptions()
	}
	return nil
}

// named are options that are their own names.
func named(values ...string) []campaign.TargetingOption {
	list := make([]campaign.TargetingOption, len(values))
	for i, v := range values {
		list[i] = campaign.TargetingOption{Value: v, Name: v}
	}
	return list
}

func countryOptions() []campaign.TargetingOption {
	names := display.English.Regions()
	var list []campaign.TargetingOption
	for code := range strings.FieldsSeq(countries) {
		list = append(list, campaign.TargetingOption{Value: code, Name: names.Name(language.MustParseRegion(code))})
	}
	return list
}

// languageOptions are the languages of ISO 639-1. The rarer ones of three letters are accepted and not listed.
func languageOptions() []campaign.TargetingOption {
	names := display.English.Languages()
	var list []campaign.TargetingOption
	for a := 'a'; a <= 'z'; a++ {
		for b := 'a'; b <= 'z'; b++ {
			code := string([]rune{a, b})
			if base, problem := checkLanguage(code); problem == "" {
				list = append(list, campaign.TargetingOption{Value: code, Name: names.Name(base)})
			}
		}
	}
	return list
}
