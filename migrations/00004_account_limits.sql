-- +goose Up

-- An account's spend limits, as those of a campaign; unlike those, both may be set. What they stop is in budgets.
ALTER TABLE ad_accounts
    ADD COLUMN daily_spend_cap_micros    bigint CHECK (daily_spend_cap_micros > 0),
    ADD COLUMN lifetime_spend_cap_micros bigint CHECK (lifetime_spend_cap_micros > 0);

-- The list of an account's budget lines goes by this.
CREATE INDEX budgets_by_account ON budgets (ad_account_id, id);

-- +goose Down
DROP INDEX budgets_by_account;
ALTER TABLE ad_accounts DROP COLUMN daily_spend_cap_micros, DROP COLUMN lifetime_spend_cap_micros;
