-- What advertisers say about bids, and what the controller of bids remembers.

-- +goose Up
-- What the account sells, as a tier-1 code of the IAB Content Taxonomy 1.0.
ALTER TABLE ad_accounts ADD COLUMN iab_category text CHECK (iab_category ~ '^IAB([1-9]|1[0-9]|2[0-6])$');

-- {"app_type": {"iphone": 1200}, "placement": {"search": 900}, "audience": {"123": 0}}: thousandths; NULL is none.
ALTER TABLE campaigns ADD COLUMN bid_options jsonb CHECK (jsonb_typeof(bid_options) = 'object' AND bid_options <> '{}');

-- Amounts are in the unit of bid_micros, but a CPA goal is per conversion.
ALTER TABLE ad_groups
    ADD COLUMN bid_strategy text NOT NULL DEFAULT 'MAX_BID' CHECK (bid_strategy IN ('MAX_BID', 'AUTOMATIC_BID', 'TARGET_AVG')),
    ADD COLUMN bid_floor_micros bigint CHECK (bid_floor_micros > 0),
    ADD COLUMN bid_multiplier_per_mille int CHECK (bid_multiplier_per_mille BETWEEN 100 AND 10000),
    ADD COLUMN cpa_goal_micros bigint CHECK (cpa_goal_micros > 0),
    ALTER COLUMN bid_micros DROP NOT NULL,
    ADD CHECK (bid_micros IS NOT NULL OR bid_strategy = 'AUTOMATIC_BID' OR cpa_goal_micros IS NOT NULL),
    ADD CHECK (bid_floor_micros IS NULL OR (bid_micros IS NOT NULL AND bid_floor_micros <= bid_micros)),
    ADD CHECK (bid_multiplier_per_mille IS NULL OR bid_strategy = 'AUTOMATIC_BID');
CREATE INDEX ad_groups_paced ON ad_groups (id) WHERE bid_strategy <> 'MAX_BID' AND status = 'ACTIVE';

-- The multiplier of an ad group with another strategy than MAX_BID, and what its controller goes on from. Only the session that holds
-- the controller's lock writes here; round grows with each write, and nodes read what is of later rounds than they know.
-- budget_id and period say which budget line posted_nanos was read of; counted_from from when on billed and charged_nanos are counted.
CREATE TABLE bid_states (
    ad_group_id   bigint           PRIMARY KEY REFERENCES ad_groups (id),
    strategy      text             NOT NULL,
    multiplier    double precision NOT NULL CHECK (multiplier > 0 AND multiplier <= 3),
    at            timestamptz      NOT NULL,
    budget_id     bigint           NOT NULL,
    period        int              NOT NULL,
    posted_nanos  bigint           NOT NULL,
    counted_from  timestamptz      NOT NULL,
    billed        bigint           NOT NULL,
    charged_nanos bigint           NOT NULL,
    round         bigint           NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX bid_states_by_round ON bid_states (round);
CREATE SEQUENCE bid_rounds;

-- +goose Down
DROP SEQUENCE bid_rounds;
DROP TABLE bid_states;
DROP INDEX ad_groups_paced;
UPDATE ad_groups SET bid_micros = CASE billable_event WHEN 'IMPRESSION' THEN 50000000 ELSE 5000000 END WHERE bid_micros IS NULL;
ALTER TABLE ad_groups ALTER COLUMN bid_micros SET NOT NULL, DROP COLUMN bid_strategy, DROP COLUMN bid_floor_micros,
    DROP COLUMN bid_multiplier_per_mille, DROP COLUMN cpa_goal_micros;
ALTER TABLE campaigns DROP COLUMN bid_options;
ALTER TABLE ad_accounts DROP COLUMN iab_category;
