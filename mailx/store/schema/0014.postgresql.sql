-- MailX schema 14: the keys of users, as their domains attest them. Private halves are not here.
-- By address: serials go on when an address is given to somebody else, and when its domain is deleted and comes back.
CREATE TABLE user_keys (
    address TEXT NOT NULL,                      -- of an account, as it is stored
    serial BIGINT NOT NULL,
    domain TEXT NOT NULL,
    account_id BIGINT NOT NULL,                  -- whose it was then; the account may be gone
    holder TEXT NOT NULL,                       -- server, client
    statement BYTEA NOT NULL,                    -- canonical JSON, signed
    signer BYTEA NOT NULL,                       -- public half of the domain key that signed
    valid_until BIGINT NOT NULL,
    revoked BIGINT NOT NULL,                     -- 1: the address has no keys from this serial on
    latest BIGINT NOT NULL,                      -- 1: the one with the highest serial of the address
    PRIMARY KEY (address, serial)
);
CREATE INDEX user_keys_account ON user_keys (account_id) WHERE latest = 1;
CREATE INDEX user_keys_due ON user_keys (domain, valid_until) WHERE latest = 1 AND revoked = 0;
