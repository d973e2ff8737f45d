-- MailX schema 8: administrators, their sessions, API keys and the audit log.
--   admins.password       Cipher.seal(b"admin", admins.guid, bcrypt hash)
--   admins.totp           Cipher.seal(b"admin", admins.guid, secret of the one-time passwords)
--   admins.places         Cipher.seal(b"admin", admins.guid, JSON list)
--   admin_codes.hash      Cipher.hash(b"recovery", admins.guid, recovery code)
--   panel_secret.sealed   Cipher.seal(b"panel", guid, 32 octets); tokens are hashed under it, so that a new one ends every session
--   admin_sessions.hash   HMAC-SHA-256 of the token under the panel's secret
--   admin_sessions.origin Cipher.seal(b"session", hash, JSON: address, agent)
--   api_keys.hash         Cipher.hash(b"apikey", prefix, key)
--   audit.target, .domain Cipher.hash(b"audit", b"", what was changed; its domain): by these it is found
--   audit.sealed          Cipher.seal(b"audit", at 00 kind 00 name 00 action, JSON: target, address, before, after)
CREATE TABLE admins (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,                        -- active, disabled
    guid BLOB NOT NULL,                         -- 16 random octets: binds the seals
    generation BLOB NOT NULL,                   -- 16 random octets, new with whatever must end sessions
    password BLOB NOT NULL,                     -- sealed
    totp BLOB,                                  -- sealed; NULL: no second factor
    totp_pending BLOB,                          -- sealed; a secret that waits for its first code
    totp_step INTEGER NOT NULL DEFAULT 0,       -- of the last code that was used: none is used twice
    places BLOB,                                -- sealed; networks that the owner logged in from
    created INTEGER NOT NULL,
    last_login INTEGER
);
CREATE TABLE admin_codes (
    admin_id INTEGER NOT NULL REFERENCES admins (id) ON DELETE CASCADE,
    hash BLOB NOT NULL,
    PRIMARY KEY (admin_id, hash)
) WITHOUT ROWID;
CREATE TABLE panel_secret (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    guid BLOB NOT NULL,
    sealed BLOB NOT NULL
);
CREATE TABLE admin_sessions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    hash BLOB NOT NULL UNIQUE,
    admin_id INTEGER NOT NULL REFERENCES admins (id) ON DELETE CASCADE,
    generation BLOB NOT NULL,                   -- the administrator's when the session began
    origin BLOB NOT NULL,                       -- sealed
    created INTEGER NOT NULL,
    seen INTEGER NOT NULL
);
CREATE INDEX admin_sessions_admin ON admin_sessions (admin_id);
CREATE TABLE api_keys (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    prefix TEXT NOT NULL UNIQUE,
    hash BLOB NOT NULL,
    scopes TEXT NOT NULL,                       -- with a space between
    creator TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER,                            -- NULL: never
    revoked INTEGER,
    last_used INTEGER
);
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,                        -- milliseconds since 1970
    kind TEXT NOT NULL,                         -- of who did it: admin, key, mailxctl, server
    name TEXT NOT NULL,
    action TEXT NOT NULL,
    target BLOB,
    domain BLOB,
    sealed BLOB NOT NULL
);
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_name ON audit (name, id);
CREATE INDEX audit_action ON audit (action, id);
CREATE INDEX audit_target ON audit (target, id);
CREATE INDEX audit_domain ON audit (domain, id);
