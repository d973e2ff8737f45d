-- MailX schema 21: what was expunged, how much of it is remembered.
--   mailboxes.expunged        rows of the table expunged
--   mailboxes.expunged_floor  up to this mod-sequence what was expunged is forgotten; 0: nothing is
ALTER TABLE mailboxes ADD COLUMN expunged INTEGER NOT NULL DEFAULT 0;
ALTER TABLE mailboxes ADD COLUMN expunged_floor INTEGER NOT NULL DEFAULT 0;
UPDATE mailboxes SET expunged = (SELECT count(*) FROM expunged WHERE expunged.mailbox_id = mailboxes.id);
