-- MailX schema 11: the delivery log, alerts, and mailboxes on other servers.
--   delivery_log.lines         Cipher.seal_bulk(b"delivery log", guid, lines of text, compressed)
--   alerts.hash                Cipher.hash(b"alert", kind, subject)
--   alerts.sealed              Cipher.seal(b"alert", guid, {"subject": ..., "text": ...} as JSON)
--   remote_mailboxes.sealed    Cipher.seal(b"remote mailbox", guid, where it is and how to log in, as JSON)
--   remote_mailboxes.result    Cipher.seal(b"remote mailbox result", guid, what the last test brought, as JSON)
CREATE TABLE delivery_log (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    octets INTEGER NOT NULL,                    -- of its lines as text: what the limit counts
    guid BLOB NOT NULL,
    lines BLOB NOT NULL                         -- sealed
);
CREATE INDEX delivery_log_octets ON delivery_log (id, octets);
CREATE TABLE alerts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    hash BLOB NOT NULL,
    guid BLOB NOT NULL,
    sealed BLOB NOT NULL,
    opened INTEGER NOT NULL,                    -- seconds since 1970
    closed INTEGER,                             -- NULL: open
    acknowledged INTEGER,
    acknowledged_by TEXT NOT NULL DEFAULT '',   -- name of an administrator
    mailed INTEGER,                             -- when it was mailed; 0: to nobody; NULL: not yet; negative: when it began to be
    posted INTEGER,                             -- likewise
    seen INTEGER NOT NULL                       -- when a node found last that it holds
);
CREATE UNIQUE INDEX alerts_open ON alerts (hash) WHERE closed IS NULL;
CREATE INDEX alerts_unmailed ON alerts (id) WHERE (mailed IS NULL OR mailed < 0);
CREATE INDEX alerts_unposted ON alerts (id) WHERE (posted IS NULL OR posted < 0);
CREATE TABLE remote_mailboxes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,                         -- imap, imaps, pop3, pop3s
    name TEXT NOT NULL UNIQUE,                  -- what administrators call it
    guid BLOB NOT NULL,                         -- new with every change
    sealed BLOB NOT NULL,
    tested INTEGER,
    result BLOB                                 -- sealed
);
CREATE INDEX queue_oldest ON queue (dispatch_id) WHERE state IN ('pending', 'deferred');
