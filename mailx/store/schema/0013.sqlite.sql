-- MailX schema 13: the keys of our domains.
--   domain_keys.private    the keystore's: Cipher.seal(b"domain key", domain NUL public, 01 seed); NULL: erased
--   domain_secrets.secret  Cipher.seal(b"log secret", domain, 32 octets)
-- Both go by name: what a domain's key once was stays known when the domain is deleted and comes back.
CREATE TABLE domain_keys (
    domain TEXT NOT NULL,
    serial INTEGER NOT NULL,                      -- the highest is the current one
    public BLOB NOT NULL,
    statement BLOB NOT NULL,                    -- canonical JSON, signed
    created INTEGER NOT NULL,
    private BLOB,
    PRIMARY KEY (domain, serial)
);
CREATE TABLE domain_secrets (
    domain TEXT NOT NULL PRIMARY KEY,
    secret BLOB NOT NULL
);
