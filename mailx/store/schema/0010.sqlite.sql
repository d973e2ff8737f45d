-- Schema 10: callbacks that tell of a call's fate, and the suppression list.
-- The states of a call are derived from the rows of the queue; each change of state is a row of callbacks, if its caller wants them.
--   callbacks.host      Cipher.hash(b"callback host", b"", scheme, host and port of the caller's URL; empty: that of the settings)
--   suppressions.hash   Cipher.hash(b"suppression", b"", the address, lower case)
--   suppressions.sealed Cipher.seal(b"suppression", hash, JSON: address, what was said)
CREATE INDEX calls_open ON calls (id) WHERE state IN ('queued', 'deferred');
CREATE TABLE callbacks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    call_id INTEGER NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    event TEXT NOT NULL,                        -- queued, deferred, delivered or bounced
    happened INTEGER NOT NULL,
    host BLOB NOT NULL,
    state TEXT NOT NULL,                        -- waiting, posting, behind (an earlier one of the call), done, given_up
    due INTEGER NOT NULL,                       -- when to try next; while one is being tried: when to take it for lost
    attempts INTEGER NOT NULL DEFAULT 0,
    history TEXT NOT NULL DEFAULT ''            -- a line for each attempt: seconds since 1970, what came of it
);
CREATE INDEX callbacks_call ON callbacks (call_id);
CREATE INDEX callbacks_due ON callbacks (due) WHERE state IN ('waiting', 'posting');
CREATE INDEX callbacks_host ON callbacks (host, due) WHERE state = 'waiting';
CREATE INDEX callbacks_given_up ON callbacks (id) WHERE state = 'given_up';
CREATE TABLE suppressions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    hash BLOB NOT NULL UNIQUE,
    sealed BLOB NOT NULL,
    reason TEXT NOT NULL,                       -- enhanced status of the reply; empty: added by hand
    created INTEGER NOT NULL
);
