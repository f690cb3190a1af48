-- +goose Up

-- Since when a node has been heard of without a gap: only a node that was there all the time may say that another is silent.
ALTER TABLE nodes ADD COLUMN heard_since timestamptz NOT NULL DEFAULT now();

-- +goose Down
ALTER TABLE nodes DROP COLUMN heard_since;
