-- What open leases hold.
SELECT coalesce(sum(amount_nanos - posted_nanos), 0)::bigint FROM leases WHERE state = 'OPEN'
