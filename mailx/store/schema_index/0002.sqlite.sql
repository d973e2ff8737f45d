-- Accounts that the index follows one by one, and what seals a segment besides the server's own encryption.
CREATE TABLE index_accounts (
    account_id INTEGER PRIMARY KEY,
    position INTEGER NOT NULL,                  -- every message of it up to this id was looked at
    vault BLOB NOT NULL                         -- hash that tells which vault key seals its segments; empty: none, it is catching up
);
ALTER TABLE index_segments ADD COLUMN vault BLOB NOT NULL DEFAULT x'';
DROP INDEX index_segments_account;
CREATE INDEX index_segments_account ON index_segments (account_id, last, documents, vault);
