-- MailX schema 23: rights to mailboxes.
-- Who is an account, or every account of a domain; the owner's own rights are not written down.
CREATE TABLE rights (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    mailbox_id INTEGER NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
    account_id INTEGER REFERENCES accounts (id) ON DELETE CASCADE,
    domain_id INTEGER REFERENCES domains (id) ON DELETE CASCADE,
    negative INTEGER NOT NULL,                     -- 1: these are taken away (RFC 4314 2)
    rights TEXT NOT NULL,                       -- letters of mailx.mail.rights
    CHECK ((account_id IS NULL) <> (domain_id IS NULL))
);
CREATE UNIQUE INDEX rights_who ON rights (mailbox_id, coalesce(account_id, 0), negative);
CREATE INDEX rights_account ON rights (account_id) WHERE account_id IS NOT NULL;
CREATE INDEX rights_domain ON rights (domain_id) WHERE domain_id IS NOT NULL;
