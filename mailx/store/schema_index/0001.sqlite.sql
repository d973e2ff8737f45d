-- The search index, in a file of its own that may be deleted at any time (docs/search.rst).
CREATE TABLE index_state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    position INTEGER NOT NULL,                  -- every message up to this id was looked at
    anchor BLOB NOT NULL                        -- guid of the last one indexed: the index belongs to its database
);
INSERT INTO index_state (id, position, anchor) VALUES (1, 0, x'');
CREATE TABLE index_segments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id INTEGER NOT NULL,
    last INTEGER NOT NULL,                      -- number of its last document
    documents INTEGER NOT NULL,
    guid BLOB NOT NULL,                         -- 16 random octets: binds the seals
    words BLOB NOT NULL,                        -- sealed
    postings BLOB NOT NULL                      -- sealed
);
CREATE INDEX index_segments_account ON index_segments (account_id, last, documents);
