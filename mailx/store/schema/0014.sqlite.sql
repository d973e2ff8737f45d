-- MailX schema 14: the keys of users, as their domains attest them. Private halves are not here.
-- By address: serials go on when an address is given to somebody else.
CREATE TABLE user_keys (
    address TEXT NOT NULL,                      -- of an account, as it is stored
    serial INTEGER NOT NULL,                      -- the highest is the current one
    account_id INTEGER NOT NULL,                  -- whose it was then; the account may be gone
    statement BLOB NOT NULL,                    -- canonical JSON, signed
    signer BLOB NOT NULL,                       -- public half of the domain key that signed
    valid_until INTEGER NOT NULL,
    revoked INTEGER NOT NULL,                     -- 1: the address has no keys from this serial on
    PRIMARY KEY (address, serial)
);
CREATE INDEX user_keys_account ON user_keys (account_id);
