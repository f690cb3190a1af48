-- What the ranking models learn from, and what they have learned.

-- +goose Up

-- served is what the model saw of an impression. posted_xid is the transaction that recorded the event: rows become visible in the order
-- in which transactions commit, which no clock tells, but none below the oldest transaction under way is still to come.
ALTER TABLE events
    ADD COLUMN served     bytea CHECK (octet_length(served) = 64),
    ADD COLUMN posted_xid bigint;
CREATE INDEX events_impressions_by_xid ON events (posted_xid) WHERE kind = 'IMPRESSION';
CREATE INDEX events_clicks_by_xid ON events (posted_xid) WHERE kind = 'CLICK';
-- For attribution by user. Not of impressions: it would make billing a quarter slower, and one that nobody could see caused nothing.
CREATE INDEX events_by_user ON events (user_hash, ad_account_id, accepted_at) WHERE kind IN ('VIEWABLE', 'CLICK') AND user_hash IS NOT NULL;

-- What advertisers report, and which click or view it is credited to. Nothing in it says who the user was.
CREATE TABLE conversions (
    ad_account_id bigint      NOT NULL REFERENCES ad_accounts (id),
    event_id      text        NOT NULL CHECK (octet_length(event_id) BETWEEN 1 AND 1024),
    event_name    text        NOT NULL CHECK (octet_length(event_name) BETWEEN 1 AND 64),
    action_source text        NOT NULL CHECK (octet_length(action_source) BETWEEN 1 AND 64),
    event_time    timestamptz NOT NULL,
    value_micros  bigint      CHECK (value_micros >= 0),
    currency      text        CHECK (currency ~ '^[A-Z]{3}$'),
    num_items     bigint      CHECK (num_items >= 0),
    -- what campaigns are for, such as a checkout; a page that was looked at is not
    goal          boolean     NOT NULL,
    -- the click or view, NULL for none; matched_by says how it was found
    kind          text        CHECK (kind IN ('VIEWABLE', 'CLICK')),
    matched_by    text        CHECK (matched_by IN ('CLICK_ID', 'EXTERNAL_ID')),
    day           date,
    impression_id uuid,
    campaign_id   bigint,
    ad_group_id   bigint,
    ad_id         bigint,
    received_at   timestamptz NOT NULL DEFAULT now(),
    posted_xid    bigint      NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
    PRIMARY KEY (ad_account_id, event_id, event_name),
    CHECK (num_nulls(kind, matched_by, day, impression_id, campaign_id, ad_group_id, ad_id) IN (0, 7)),
    CHECK (value_micros IS NULL OR currency IS NOT NULL)
);
CREATE INDEX conversions_by_xid ON conversions (posted_xid) WHERE kind = 'CLICK';
CREATE INDEX conversions_by_impression ON conversions (impression_id, day) WHERE kind = 'CLICK' AND goal;

-- Snapshots that nodes may use, and what was refused and why. Rows never change.
CREATE TABLE model_snapshots (
    number     bigint      PRIMARY KEY CHECK (number > 0),
    version    text        NOT NULL UNIQUE CHECK (octet_length(version) BETWEEN 1 AND 64),
    created_at timestamptz NOT NULL DEFAULT now(),
    metrics    jsonb       NOT NULL,
    refused    text,
    checksum   bytea       CHECK (octet_length(checksum) = 32),
    body       bytea,
    CHECK ((refused IS NULL) = (body IS NOT NULL)),
    CHECK ((body IS NULL) = (checksum IS NULL))
);

-- One row: who trains, what it has read, what it knows. epoch is larger with every new trainer; a save names the one that it belongs to.
-- Every event below a cursor is in state, and none from it on; see docs/learning.md.
CREATE TABLE model_trainer (
    only_row       boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch          bigint  NOT NULL DEFAULT 0,
    leader         uuid,
    lead_until     timestamptz,
    impressions    bigint  NOT NULL DEFAULT 0,
    clicks         bigint  NOT NULL DEFAULT 0,
    clicked        bigint  NOT NULL DEFAULT 0,
    conversions    bigint  NOT NULL DEFAULT 0,
    state          bytea,
    state_checksum bytea   CHECK (octet_length(state_checksum) = 32),
    published      bigint  NOT NULL DEFAULT 0,
    saved_at       timestamptz,
    -- nodes use this snapshot instead of the newest
    pinned         bigint REFERENCES model_snapshots (number),
    CHECK ((state IS NULL) = (state_checksum IS NULL)),
    CHECK ((leader IS NULL) = (lead_until IS NULL))
);
INSERT INTO model_trainer DEFAULT VALUES;
-- Weights do not compress, and trying takes longer than writing them.
ALTER TABLE model_trainer ALTER COLUMN state SET STORAGE EXTERNAL;
ALTER TABLE model_snapshots ALTER COLUMN body SET STORAGE EXTERNAL;

-- +goose Down
DROP TABLE model_trainer, model_snapshots, conversions;
DROP INDEX events_by_user, events_clicks_by_xid, events_impressions_by_xid;
ALTER TABLE events DROP COLUMN posted_xid, DROP COLUMN served;
