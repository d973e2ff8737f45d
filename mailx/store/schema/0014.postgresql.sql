-- MailX schema 14: the keys of users, as their domains attest them. Private halves are not here.
-- By address: serials go on when an address is given to somebody else.
CREATE TABLE user_keys (
    address TEXT NOT NULL,                      -- of an account, as it is stored
    serial BIGINT NOT NULL,                      -- the highest is the current one
    account_id BIGINT NOT NULL,                  -- whose it was then; the account may be gone
    statement BYTEA NOT NULL,                    -- canonical JSON, signed
    signer BYTEA NOT NULL,                       -- public half of the domain key that signed
    valid_until BIGINT NOT NULL,
    revoked BIGINT NOT NULL,                     -- 1: the address has no keys from this serial on
    PRIMARY KEY (address, serial)
);
CREATE INDEX user_keys_account ON user_keys (account_id);
