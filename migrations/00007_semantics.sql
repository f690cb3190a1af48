-- Hours of the week in which an ad group serves, and what is part of what among interests.

-- +goose Up
-- 42 hexadecimal digits, one bit for each of the 168 hours, Monday 00:00 in the lowest bit of the last; NULL is every hour, so
-- that there is one way to say it.
ALTER TABLE ad_groups ADD COLUMN ad_schedule text
    CHECK (ad_schedule ~ '^[0-9a-f]{42}$' AND ad_schedule <> repeat('0', 42) AND ad_schedule <> repeat('f', 42));

-- A parent is one level above, so no row can be below itself, and none has more than seven ancestors. Ids sort as bytes, as they do
-- in Go.
CREATE TABLE interests (
    id           text COLLATE "C" PRIMARY KEY CHECK (id ~ '^[!-~]{1,64}$'),
    parent_id    text COLLATE "C",
    name         text     NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 256),
    level        smallint NOT NULL CHECK (level BETWEEN 1 AND 8),
    parent_level smallint GENERATED ALWAYS AS (level - 1) STORED,
    UNIQUE (id, level),
    CHECK ((level = 1) = (parent_id IS NULL)),
    FOREIGN KEY (parent_id, parent_level) REFERENCES interests (id, level) DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX interests_by_parent ON interests (parent_id);

-- +goose Down
DROP TABLE interests;
ALTER TABLE ad_groups DROP COLUMN ad_schedule;
