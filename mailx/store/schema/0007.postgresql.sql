-- Schema 7: settings that administrators change while the server runs.
--   settings.key      "section.name", as in mailx/config.py
--   settings.sealed   Cipher.seal(b"setting", key, the value as JSON)
CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    sealed BYTEA NOT NULL
);
