-- One time zone for every ad account. $1: the zone.
UPDATE ad_accounts SET time_zone = $1
