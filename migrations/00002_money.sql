-- +goose Up

-- A serving node. Its watermark says: every event I accepted before this time is posted. It never goes back.
CREATE TABLE nodes (
    id           uuid        PRIMARY KEY,
    epoch        bigint      NOT NULL CHECK (epoch > 0),
    state        text        NOT NULL CHECK (state IN ('LIVE', 'STOPPED', 'FENCED')),
    watermark    timestamptz NOT NULL,
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    started_at   timestamptz NOT NULL DEFAULT now()
);

-- One row. Leases whose tokens expired before closed_through may be closed; a node that joins must not let its clock be behind it.
CREATE TABLE protocol (
    only_row       boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    closed_through timestamptz NOT NULL,
    -- tells this database from any other, for what is derived from it and kept elsewhere
    database_id    uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO protocol (closed_through) VALUES ('2000-01-01');

-- What an advertiser allows: one row per entity and kind of period; no limit means "count, but do not stop".
CREATE TABLE budgets (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ad_account_id bigint NOT NULL REFERENCES ad_accounts (id),
    scope         text   NOT NULL CHECK (scope IN ('AD_ACCOUNT', 'CAMPAIGN', 'AD_GROUP')),
    scope_id      bigint NOT NULL,
    kind          text   NOT NULL CHECK (kind IN ('DAILY', 'LIFETIME')),
    limit_nanos   bigint CHECK (limit_nanos >= 0),
    UNIQUE (scope, scope_id, kind)
);

-- Invariant I1. period is the account's local day as yyyymmdd, or 0 for the lifetime.
-- cap_nanos is limit_nanos, except after a cut below what is already posted and escrowed: then it is that sum,
-- and follows it down. Grants look at the limit, the CHECK at the cap.
CREATE TABLE budget_periods (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    budget_id    bigint NOT NULL REFERENCES budgets (id),
    period       int    NOT NULL CHECK (period >= 0),
    limit_nanos  bigint CHECK (limit_nanos >= 0),
    cap_nanos    bigint,
    posted_nanos bigint NOT NULL DEFAULT 0 CHECK (posted_nanos >= 0),
    escrow_nanos bigint NOT NULL DEFAULT 0 CHECK (escrow_nanos >= 0),
    UNIQUE (budget_id, period),
    CHECK ((limit_nanos IS NULL) = (cap_nanos IS NULL)),
    CHECK (cap_nanos >= limit_nanos),
    CONSTRAINT i1_never_past_the_cap CHECK (posted_nanos + escrow_nanos <= cap_nanos)
);

-- A lease moves amount from free to escrow on every period in period_ids (ad group, campaign and account, day and lifetime).
-- request_id makes a grant idempotent. max_exp bounds the expiry of every token that draws on it.
CREATE TABLE leases (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    request_id    uuid        NOT NULL UNIQUE,
    node_id       uuid        NOT NULL REFERENCES nodes (id),
    node_epoch    bigint      NOT NULL,
    ad_account_id bigint      NOT NULL,
    campaign_id   bigint      NOT NULL,
    ad_group_id   bigint      NOT NULL,
    day           int         NOT NULL,
    currency      text        NOT NULL,
    period_ids    bigint[]    NOT NULL CHECK (cardinality(period_ids) > 0),
    amount_nanos  bigint      NOT NULL CHECK (amount_nanos >= 0),
    posted_nanos  bigint      NOT NULL DEFAULT 0 CHECK (posted_nanos >= 0),
    max_exp       timestamptz NOT NULL,
    state         text        NOT NULL DEFAULT 'OPEN' CHECK (state IN ('OPEN', 'CLOSED')),
    granted_at    timestamptz NOT NULL DEFAULT now(),
    closed_at     timestamptz,
    CHECK (posted_nanos <= amount_nanos),
    CHECK ((state = 'CLOSED') = (closed_at IS NOT NULL))
);
CREATE INDEX leases_open ON leases (max_exp) WHERE state = 'OPEN';

-- Invariant I2: the primary key. day is the one in the token, so a duplicate always meets its original in the same partition.
-- charge_nanos is what was billed; free_nanos the part of it that did not come out of the lease.
CREATE TABLE events (
    day           date        NOT NULL,
    impression_id uuid        NOT NULL,
    kind          text        NOT NULL CHECK (kind IN ('IMPRESSION', 'VIEWABLE', 'CLICK')),
    outcome       text        NOT NULL CHECK (outcome IN ('BILLED', 'OVER_BUDGET', 'INVALID')),
    price_nanos   bigint      NOT NULL CHECK (price_nanos >= 0),
    charge_nanos  bigint      NOT NULL CHECK (charge_nanos >= 0 AND charge_nanos <= price_nanos),
    free_nanos    bigint      NOT NULL CHECK (free_nanos >= 0 AND free_nanos <= charge_nanos),
    lease_id      bigint      NOT NULL,
    ad_account_id bigint      NOT NULL,
    campaign_id   bigint      NOT NULL,
    ad_group_id   bigint      NOT NULL,
    ad_id         bigint      NOT NULL,
    user_hash     bigint,
    accepted_at   timestamptz NOT NULL,
    posted_at     timestamptz NOT NULL DEFAULT now(),
    node_id       uuid        NOT NULL,
    PRIMARY KEY (day, impression_id, kind),
    CHECK (outcome = 'BILLED' OR charge_nanos = 0)
) PARTITION BY RANGE (day);
CREATE TABLE events_default PARTITION OF events DEFAULT;

-- Makes the daily partitions from..to exist. A day whose rows already fell into the default partition stays there.
-- +goose StatementBegin
CREATE FUNCTION ensure_event_partitions(from_day date, to_day date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    d date := from_day;
    partition_name text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('ensure_event_partitions'));
    WHILE d <= to_day LOOP
        partition_name := 'events_' || to_char(d, 'YYYYMMDD');
        IF to_regclass(partition_name) IS NULL AND NOT EXISTS (SELECT 1 FROM events_default WHERE day = d) THEN
            EXECUTE format('CREATE TABLE %I PARTITION OF events FOR VALUES FROM (%L) TO (%L)', partition_name, d, d + 1);
        END IF;
        d := d + 1;
    END LOOP;
END $$;
-- +goose StatementEnd
SELECT ensure_event_partitions(current_date - 1, current_date + 7);

-- Invariant I4: each event is refunded at most once, and never more than it was billed (checked by trigger).
CREATE TABLE refunds (
    day           date        NOT NULL,
    impression_id uuid        NOT NULL,
    kind          text        NOT NULL,
    amount_nanos  bigint      NOT NULL CHECK (amount_nanos > 0),
    reason        text        NOT NULL CHECK (length(reason) BETWEEN 1 AND 256),
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (day, impression_id, kind),
    FOREIGN KEY (day, impression_id, kind) REFERENCES events (day, impression_id, kind)
);
-- +goose StatementBegin
CREATE FUNCTION refund_within_charge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.amount_nanos > (SELECT charge_nanos FROM events e
        WHERE e.day = NEW.day AND e.impression_id = NEW.impression_id AND e.kind = NEW.kind) THEN
        RAISE EXCEPTION 'refund of % nanos is more than was billed', NEW.amount_nanos USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER refund_within_charge BEFORE INSERT ON refunds FOR EACH ROW EXECUTE FUNCTION refund_within_charge();

-- Invariant I5: double entry. A transaction's debits equal its credits per currency when it commits; rows never change.
CREATE TABLE ledger_transactions (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text        NOT NULL CHECK (kind IN ('BATCH', 'REFUND')),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE ledger_entries (
    transaction_id bigint NOT NULL REFERENCES ledger_transactions (id),
    account        text   NOT NULL CHECK (account ~ '^(advertiser:[0-9]+|revenue)$'),
    currency       text   NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    debit_nanos    bigint NOT NULL DEFAULT 0 CHECK (debit_nanos >= 0),
    credit_nanos   bigint NOT NULL DEFAULT 0 CHECK (credit_nanos >= 0),
    PRIMARY KEY (transaction_id, account, currency),
    CHECK ((debit_nanos = 0) <> (credit_nanos = 0))
);
-- +goose StatementBegin
CREATE FUNCTION ledger_is_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'restrict_violation';
END $$;
-- +goose StatementEnd
CREATE TRIGGER ledger_is_immutable BEFORE UPDATE OR DELETE ON ledger_entries FOR EACH ROW EXECUTE FUNCTION ledger_is_immutable();
CREATE TRIGGER ledger_is_immutable BEFORE UPDATE OR DELETE ON ledger_transactions FOR EACH ROW EXECUTE FUNCTION ledger_is_immutable();
CREATE TRIGGER ledger_no_truncate BEFORE TRUNCATE ON ledger_entries FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_immutable();
REVOKE UPDATE, DELETE, TRUNCATE ON ledger_entries, ledger_transactions FROM PUBLIC;
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

-- +goose Down
DROP TABLE ledger_entries, ledger_transactions, refunds, events, leases, budget_periods, budgets, protocol, nodes;
DROP FUNCTION ledger_is_balanced, ledger_is_immutable, refund_within_charge, ensure_event_partitions;
