-- MailX schema 6: keys that sign what goes out (DKIM, ARC).
--   dkim_keys.private  Cipher.seal(b"dkim", selector._domainkey.domain in ASCII, PKCS #8)
CREATE TABLE dkim_keys (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    domain_id INTEGER NOT NULL REFERENCES domains (id) ON DELETE CASCADE,
    selector TEXT NOT NULL,
    algorithm TEXT NOT NULL,                    -- rsa-sha256, ed25519-sha256
    state TEXT NOT NULL,                        -- next, active, retired
    private BLOB NOT NULL,                      -- sealed
    public TEXT NOT NULL,                       -- what its record says behind p=
    created INTEGER NOT NULL,
    activated INTEGER,
    retired INTEGER,
    UNIQUE (domain_id, selector)
);
