-- +goose Up

-- Since when a node has been heard of without a gap: only a node that was there all the time may say that another is silent.
ALTER TABLE nodes ADD COLUMN heard_since timestamptz NOT NULL DEFAULT now();

-- What happened, per ad, hour and kind: reports read this instead of events, and the audit compares both. day is the account's day in
-- the token, as in events; hour is the UTC hour in which the node accepted the event. Written by the statement that writes the events.
-- Of an event that is not billed, over_budget_nanos is what it would have cost.
CREATE TABLE event_rollups (
    ad_account_id     bigint      NOT NULL,
    day               date        NOT NULL,
    hour              timestamptz NOT NULL,
    ad_id             bigint      NOT NULL,
    kind              text        NOT NULL,
    campaign_id       bigint      NOT NULL,
    ad_group_id       bigint      NOT NULL,
    events            bigint      NOT NULL DEFAULT 0 CHECK (events >= 0),
    billed            bigint      NOT NULL DEFAULT 0 CHECK (billed >= 0),
    over_budget       bigint      NOT NULL DEFAULT 0 CHECK (over_budget >= 0),
    charge_nanos      bigint      NOT NULL DEFAULT 0 CHECK (charge_nanos >= 0),
    over_budget_nanos bigint      NOT NULL DEFAULT 0 CHECK (over_budget_nanos >= 0),
    refunds           bigint      NOT NULL DEFAULT 0 CHECK (refunds >= 0),
    refund_nanos      bigint      NOT NULL DEFAULT 0 CHECK (refund_nanos >= 0),
    PRIMARY KEY (ad_account_id, day, hour, ad_id, kind),
    CHECK (billed + over_budget <= events),
    CHECK (refunds <= billed),
    CHECK (refund_nanos <= charge_nanos)
) WITH (fillfactor = 50);
INSERT INTO event_rollups (ad_account_id, day, hour, ad_id, kind, campaign_id, ad_group_id, events, billed, over_budget, charge_nanos, over_budget_nanos, refunds, refund_nanos)
SELECT e.ad_account_id, e.day, date_trunc('hour', e.accepted_at, 'UTC'), e.ad_id, e.kind, min(e.campaign_id), min(e.ad_group_id),
    count(*), count(*) FILTER (WHERE e.outcome = 'BILLED'), count(*) FILTER (WHERE e.outcome = 'OVER_BUDGET'),
    sum(e.charge_nanos), coalesce(sum(e.price_nanos) FILTER (WHERE e.outcome = 'OVER_BUDGET'), 0), count(r.amount_nanos), coalesce(sum(r.amount_nanos), 0)
FROM events e LEFT JOIN refunds r USING (day, impression_id, kind)
GROUP BY e.ad_account_id, e.day, date_trunc('hour', e.accepted_at, 'UTC'), e.ad_id, e.kind;

-- Rows that are updated by every batch: room on their pages keeps the updates off the indexes.
ALTER TABLE budget_periods SET (fillfactor = 25);
ALTER TABLE leases SET (fillfactor = 50);

-- A transaction of the ledger is written by one statement, so it is checked once at its end, not once for every row at the commit.
DROP TRIGGER ledger_is_balanced ON ledger_entries;
DROP FUNCTION ledger_is_balanced;
-- +goose StatementBegin
CREATE FUNCTION ledger_is_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    bad record;
BEGIN
    SELECT transaction_id, currency, sum(debit_nanos) AS debits, sum(credit_nanos) AS credits INTO bad
    FROM ledger_entries WHERE transaction_id IN (SELECT transaction_id FROM added)
    GROUP BY transaction_id, currency HAVING sum(debit_nanos) <> sum(credit_nanos) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'ledger transaction % does not balance in %: % <> %', bad.transaction_id, bad.currency, bad.debits, bad.credits
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER ledger_is_balanced AFTER INSERT ON ledger_entries
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_balanced();

-- What the audit of a live database has seen. A unit is "books", "ledger" or "day 2026-11-23"; seen is what a day looks like now, checked
-- what it looked like when it was checked.
CREATE TABLE audit_units (
    unit       text   PRIMARY KEY,
    checked_at timestamptz,
    took_ms    bigint NOT NULL DEFAULT 0,
    seen       text,
    checked    text,
    violations jsonb  NOT NULL DEFAULT '[]'
);
-- The sums of the ledger over its transactions up to the mark "ledger". A mark moves to next when all transactions that were under way
-- when next was noted have ended, that is all before next_xmax: numbers are drawn before they are committed.
CREATE TABLE audit_ledger (
    account  text    NOT NULL,
    currency text    NOT NULL,
    nanos    numeric NOT NULL,
    PRIMARY KEY (account, currency)
);
CREATE TABLE audit_marks (
    name      text   PRIMARY KEY,
    through   bigint NOT NULL,
    next      bigint NOT NULL,
    next_xmax xid8   NOT NULL
);
-- Days whose events, refunds and leases are kept elsewhere: the audit takes what was posted on them for granted.
CREATE TABLE archived_days (
    day         date PRIMARY KEY,
    archived_at timestamptz NOT NULL DEFAULT now()
);
-- Days never change, so these cost nothing when the rows are updated.
CREATE INDEX budget_periods_by_period ON budget_periods (period);
CREATE INDEX leases_by_day ON leases (day);
CREATE INDEX event_rollups_by_day ON event_rollups (day);

-- +goose Down
DROP INDEX leases_by_day, budget_periods_by_period;
DROP TABLE archived_days, audit_marks, audit_ledger, audit_units;
DROP TRIGGER ledger_is_balanced ON ledger_entries;
DROP FUNCTION ledger_is_balanced;
-- +goose StatementBegin
CREATE FUNCTION ledger_is_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    bad record;
BEGIN
    SELECT currency, sum(debit_nanos) AS debits, sum(credit_nanos) AS credits INTO bad
    FROM ledger_entries WHERE transaction_id = NEW.transaction_id
    GROUP BY currency HAVING sum(debit_nanos) <> sum(credit_nanos) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'ledger transaction % does not balance in %: % <> %', NEW.transaction_id, bad.currency, bad.debits, bad.credits
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE CONSTRAINT TRIGGER ledger_is_balanced AFTER INSERT ON ledger_entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_is_balanced();
ALTER TABLE leases RESET (fillfactor);
ALTER TABLE budget_periods RESET (fillfactor);
DROP TABLE event_rollups;
ALTER TABLE nodes DROP COLUMN heard_since;
