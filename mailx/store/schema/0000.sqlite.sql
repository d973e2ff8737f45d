-- The data keys, each wrapped by the server secret (docs/cipher.rst).
CREATE TABLE keys (
    id INTEGER PRIMARY KEY,                     -- 1 to 65535, in front of every sealed value
    kind TEXT NOT NULL,                         -- 'data' seals; 'lookup' hashes, there is one
    wrapped BLOB NOT NULL,
    created INTEGER NOT NULL
);
CREATE UNIQUE INDEX keys_lookup ON keys (kind) WHERE kind = 'lookup';
