-- Accounts that the index follows one by one, and what seals a segment besides the server's own encryption.
CREATE TABLE index_accounts (
    account_id BIGINT PRIMARY KEY,
    position BIGINT NOT NULL,                  -- every message of it up to this id was looked at
    vault BYTEA NOT NULL                         -- hash that tells which vault key seals its segments; empty: none, it is catching up
);
ALTER TABLE index_segments ADD COLUMN vault BYTEA NOT NULL DEFAULT '';
DROP INDEX index_segments_account;
CREATE INDEX index_segments_account ON index_segments (account_id, last, documents, vault);
