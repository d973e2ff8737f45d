-- Schema 2: the queue of mail that goes out (docs/queue.rst). What binds its seals and hashes:
--   dispatches.details        Cipher.seal(b"dispatch", guid, JSON): sender, origin, demands, ...
--   queue.recipient           Cipher.seal(b"recipient", guid of the dispatch, JSON): address, wish, original, ...
--   queue.history             Cipher.seal(b"history", guid of the dispatch, JSON): the attempts; empty: none
--   queue.word                Cipher.seal(b"word", destination, JSON): the last attempt at the destination as a whole
--   hash of a destination     Cipher.hash(b"destination", b"", the domain in A-labels, or "relay:" and a relay's name)
-- A destination has a row in destinations as long as recipients wait for it, due not after the first of them.
CREATE TABLE dispatches (
    id INTEGER PRIMARY KEY,                     -- of the message, whose content is needed while open > 0
    guid BLOB NOT NULL,                         -- 16 octets: binds the seals
    envelope TEXT NOT NULL,                     -- the id that log and timeline know it by
    details BLOB NOT NULL,                      -- sealed
    account_id INTEGER,                         -- that sent it
    size INTEGER NOT NULL,
    created INTEGER NOT NULL,
    open INTEGER NOT NULL                       -- recipients that are not sent; above 0 it counts one of messages.refs
);
CREATE INDEX dispatches_envelope ON dispatches (envelope);
CREATE TABLE queue (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    dispatch_id INTEGER NOT NULL REFERENCES dispatches (id),
    destination BLOB NOT NULL,                  -- hash
    recipient BLOB NOT NULL,                    -- sealed
    state TEXT NOT NULL,                        -- pending, sending, deferred, held, sent, failed
    priority INTEGER NOT NULL,                  -- 0 first, 1, 2
    due INTEGER NOT NULL,                       -- when to try again
    attempts INTEGER NOT NULL DEFAULT 0,
    waits INTEGER NOT NULL,                     -- attempts that may fail before one that fails is the last
    warn INTEGER NOT NULL,                      -- when to tell the sender of the delay; 0: not, or done
    node TEXT NOT NULL,                         -- who is sending it
    history BLOB NOT NULL DEFAULT x'',          -- sealed
    word BLOB NOT NULL DEFAULT x'',             -- sealed
    finished INTEGER NOT NULL DEFAULT 0         -- when it was sent or failed; 0: neither
);
CREATE INDEX queue_dispatch ON queue (dispatch_id);
CREATE INDEX queue_waiting ON queue (destination, priority, due, state) WHERE state IN ('pending', 'deferred');
CREATE INDEX queue_held ON queue (id) WHERE state = 'held';
CREATE INDEX queue_warn ON queue (warn) WHERE state = 'deferred' AND warn > 0;
CREATE INDEX queue_sending ON queue (node) WHERE state = 'sending';
CREATE INDEX queue_finished ON queue (state, finished) WHERE finished > 0;
CREATE TABLE destinations (
    hash BLOB PRIMARY KEY,
    due INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX destinations_due ON destinations (due);
CREATE TABLE nodes (
    node TEXT PRIMARY KEY,                      -- a running server of several on one database
    seen INTEGER NOT NULL                       -- when it last said that it lives, by the database's clock
);
