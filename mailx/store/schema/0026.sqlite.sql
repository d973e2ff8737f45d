-- MailX schema 26: imports, how far they are.
-- A row of imported enters in the transaction that stores its message: so a message is there once, however often an import is broken off.
--   imports.source     Cipher.hash(b"import", scope, kind 00 label): the same source and account are the same import
--   imports.sealed     Cipher.seal(b"import", scope + source, JSON: kind, label, counts of the last run)
--   imported.key       Cipher.hash(b"imported", id of the import, what names the message at its source)
--   imported.digest    Cipher.hash(b"imported", id of the import, SHA-256 of the content)
CREATE TABLE imports (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    source BLOB NOT NULL,
    sealed BLOB NOT NULL,
    started INTEGER NOT NULL,                      -- the first run, seconds since 1970
    finished INTEGER,                              -- the last run that came to its end; NULL: none has, or another has begun
    UNIQUE (account_id, source)
);
CREATE TABLE imported (
    import_id INTEGER NOT NULL REFERENCES imports (id) ON DELETE CASCADE,
    key BLOB NOT NULL,
    mailbox_id INTEGER NOT NULL,                   -- perhaps gone by now
    uid INTEGER NOT NULL,                          -- 0: sealed for an owner who was not here
    digest BLOB NOT NULL,
    flags INTEGER NOT NULL,                        -- as the source had them last
    PRIMARY KEY (import_id, key)
) WITHOUT ROWID;
