package redis

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/zeebo/xxh3"

	"gavel/campaign"
)

// ErrDamaged says that bytes in Redis are not what was written there.
var ErrDamaged = errors.New("damaged record")

// checksumDigits is the length of the checksum at the head of a record.
const checksumDigits = 16

// Encode is the record of an ad: 16 hexadecimal digits of the XXH3 of the ad id and the JSON, then the JSON. One ad has one
// record: times are in UTC.
func Encode(ad campaign.ServingAd) (string, error) {
	ad.StartTime, ad.EndTime = ad.StartTime.UTC(), ad.EndTime.UTC()
	doc, err := json.Marshal(ad)
	if err != nil {
		return "", fmt.Errorf("encode ad %d: %w", ad.AdID, err)
	}
	return checksum(ad.AdID, string(doc)) + string(doc), nil
}

// Decode reads the record that was found under id. It returns ErrDamaged for anything but what Encode made for this id.
func Decode(id campaign.AdID, record string) (campaign.ServingAd, error) {
	if len(record) < checksumDigits || record[:checksumDigits] != checksum(id, record[checksumDigits:]) {
		return campaign.ServingAd{}, fmt.Errorf("decode ad %d: checksum: %w", id, ErrDamaged)
	}
	var ad campaign.ServingAd
	if err := json.Unmarshal([]byte(record[checksumDigits:]), &ad); err != nil {
		return campaign.ServingAd{}, fmt.Errorf("decode ad %d: %w: %w", id, ErrDamaged, err)
	}
	if ad.AdID != id {
		return campaign.ServingAd{}, fmt.Errorf("decode ad %d: the record is of ad %d: %w", id, ad.AdID, ErrDamaged)
	}
	return ad, nil
}

// checksum covers the id too, so that a record under another ad's id is found out.
func checksum(id campaign.AdID, doc string) string {
	sum := xxh3.HashStringSeed(doc, uint64(id))
	hex := strconv.FormatUint(sum, 16)
	return strings.Repeat("0", checksumDigits-len(hex)) + hex
}
