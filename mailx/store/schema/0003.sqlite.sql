-- MailX schema 3: the timelines of messages, in pages that are only ever added, merged and dropped by their day.
--   hashes   sorted 32-bit beginnings, little-endian, of Cipher.hash(b"timeline", b"", key) of all that is found in the page
--   events   Cipher.seal_bulk(b"timeline", guid, zlib(JSON lines of store.timeline))
CREATE TABLE timeline (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    day INTEGER NOT NULL,                       -- since 1970, UTC
    guid BLOB NOT NULL,                         -- 16 random octets: binds the seal
    hashes BLOB NOT NULL,                       -- before the events, so that a search need not read those
    events BLOB NOT NULL                        -- sealed
);
CREATE INDEX timeline_day ON timeline (day);
