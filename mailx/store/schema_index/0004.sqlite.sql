-- Index schema 4: the texts of summaries, in which subjects and addresses are looked for. The index is built anew.
DELETE FROM index_accounts;
DELETE FROM index_segments;
UPDATE index_state SET position = 0, anchor = x'';
ALTER TABLE index_segments ADD COLUMN texts BLOB NOT NULL DEFAULT x'';                         -- sealed
