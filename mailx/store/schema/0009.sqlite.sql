-- MailX schema 9: calls of the webhook receiver, and the templates of mail.
--   calls.replay       Cipher.hash(b"replay", b"", signature and body); NULL when the call was not signed
--   calls.idempotency  Cipher.hash(b"idempotency", b"", the caller's key); NULL without one
--   calls.details      Cipher.seal(b"call", envelope, JSON of core.calls)
--   templates.content  Cipher.seal(b"template", type, JSON of core.templates)
CREATE TABLE calls (
    id INTEGER PRIMARY KEY AUTOINCREMENT,       -- what callers know as queued_id
    envelope TEXT NOT NULL UNIQUE,
    replay BLOB,
    idempotency BLOB,
    created INTEGER NOT NULL,
    type TEXT NOT NULL,
    state TEXT NOT NULL,                        -- queued, deferred, delivered or bounced
    changed INTEGER NOT NULL,
    details BLOB NOT NULL                       -- sealed
);
CREATE UNIQUE INDEX calls_replay ON calls (replay) WHERE replay IS NOT NULL;
CREATE UNIQUE INDEX calls_idempotency ON calls (idempotency) WHERE idempotency IS NOT NULL;
CREATE INDEX calls_created ON calls (created);
CREATE TABLE templates (
    type TEXT PRIMARY KEY,
    content BLOB NOT NULL                       -- sealed
);
