-- MailX schema 19: the key logs of our own domains. All of it is published; nothing in it names a person.
CREATE TABLE key_logs (
    domain TEXT PRIMARY KEY,                    -- A-labels; a log outlives its domain here
    size BIGINT NOT NULL,                      -- entries
    epoch BIGINT NOT NULL,                     -- 0: never restored
    confirmed BIGINT NOT NULL                  -- so many entries were with peers for certain: a restored log has these in common with them
);
CREATE TABLE key_log_leaves (
    domain TEXT NOT NULL,
    number BIGINT NOT NULL,                    -- from 0, without gaps
    label BYTEA NOT NULL,                        -- VRF output: whom it is about, readable with a proof only
    leaf BYTEA NOT NULL,
    PRIMARY KEY (domain, number)
);
CREATE INDEX key_log_labels ON key_log_leaves (domain, label, number);
CREATE TABLE key_log_nodes (
    domain TEXT NOT NULL,
    level BIGINT NOT NULL,                     -- 0: hashes of leaves
    number BIGINT NOT NULL,                    -- covers leaves number << level up to (number + 1) << level
    hash BYTEA NOT NULL,
    PRIMARY KEY (domain, level, number)
);
CREATE TABLE key_log_epochs (
    domain TEXT NOT NULL,
    epoch BIGINT NOT NULL,                     -- 1: after the first restore
    statement BYTEA NOT NULL,                    -- signed, as JSON
    PRIMARY KEY (domain, epoch)
);
