-- The index also carries which list of users an audience has, and the taxonomy of interests.

-- +goose Up
ALTER TABLE outbox DROP CONSTRAINT outbox_entity_check;
ALTER TABLE outbox ADD CONSTRAINT outbox_entity_check
    CHECK (entity IN ('AD_ACCOUNT', 'CAMPAIGN', 'AD_GROUP', 'AD', 'USER', 'AUDIENCE', 'INTERESTS'));

-- +goose Down
DELETE FROM outbox WHERE entity IN ('AUDIENCE', 'INTERESTS');
ALTER TABLE outbox DROP CONSTRAINT outbox_entity_check;
ALTER TABLE outbox ADD CONSTRAINT outbox_entity_check CHECK (entity IN ('AD_ACCOUNT', 'CAMPAIGN', 'AD_GROUP', 'AD', 'USER'));
