-- Leases that hold escrow.
SELECT count(*) FROM leases WHERE state = 'OPEN'
