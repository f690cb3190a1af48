-- What auctions depended on and what was decided, for a day: read by GET /v1/auctions/{auction_id} and gavel replay.

-- +goose Up
-- Ids of auctions are UUIDs of version 7: they begin with their time in milliseconds, so that an hour of them is a range, and to forget
-- an hour is to drop its partition. The record is the binary form of auction/record.
CREATE TABLE auction_records (
    auction_id uuid  PRIMARY KEY,
    record     bytea NOT NULL
) PARTITION BY RANGE (auction_id);

-- The least UUID of version 7 at a time.
-- +goose StatementBegin
CREATE FUNCTION first_uuid_of(at timestamptz) RETURNS uuid LANGUAGE sql STABLE STRICT AS $$
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;
-- +goose StatementEnd

-- Makes the partitions of the hours from..to exist. Safe from any number of sessions at once. To attach a table waits for no reader
-- and no writer, and makes none wait; CREATE TABLE … PARTITION OF would.
-- +goose StatementBegin
CREATE FUNCTION ensure_auction_record_partitions(from_time timestamptz, to_time timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    h timestamptz := date_trunc('hour', from_time, 'UTC');
    partition_name text;
BEGIN
    WHILE h <= to_time LOOP
        partition_name := 'auction_records_' || to_char(h AT TIME ZONE 'UTC', 'YYYYMMDDHH24');
        IF to_regclass(partition_name) IS NULL THEN
            PERFORM pg_advisory_xact_lock(hashtext('auction_records'));
            -- A query, since to_regclass may remember what was so before the lock.
            IF NOT EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                WHERE i.inhparent = 'auction_records'::regclass AND c.relname = partition_name) THEN
                EXECUTE format('CREATE TABLE %I (LIKE auction_records INCLUDING ALL)', partition_name);
                EXECUTE format('ALTER TABLE auction_records ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                    partition_name, first_uuid_of(h), first_uuid_of(h + interval '1 hour'));
            END IF;
        END IF;
        h := h + interval '1 hour';
    END LOOP;
END $$;
-- +goose StatementEnd

-- Drops the partitions whose hours had ended before a time, and returns how many. When somebody else is at it, or readers keep a
-- partition busy, it leaves them for the next time.
-- +goose StatementBegin
CREATE FUNCTION drop_auction_record_partitions(ended_before timestamptz) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    last_name text := 'auction_records_' || to_char(ended_before AT TIME ZONE 'UTC' - interval '1 hour', 'YYYYMMDDHH24');
    old_name  text;
    dropped   int := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('auction_records')) THEN
        RETURN 0;
    END IF;
    PERFORM set_config('lock_timeout', '1s', true);
    FOR old_name IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'auction_records'::regclass AND c.relname <= last_name
    LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I', old_name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
EXCEPTION WHEN lock_not_available THEN
    RETURN 0;
END $$;
-- +goose StatementEnd

SELECT ensure_auction_record_partitions(now() - interval '1 hour', now() + interval '2 hours');

-- +goose Down
DROP FUNCTION drop_auction_record_partitions;
DROP FUNCTION ensure_auction_record_partitions;
DROP TABLE auction_records;
DROP FUNCTION first_uuid_of;
