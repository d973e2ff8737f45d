-- Index schema 3: where words stand, and what else ranking needs. Segments have another format: the index is built anew.
DELETE FROM index_accounts;
DELETE FROM index_segments;
UPDATE index_state SET position = 0, anchor = x'';
CREATE UNIQUE INDEX index_segments_guid ON index_segments (guid);
CREATE TABLE index_places (
    guid BLOB NOT NULL REFERENCES index_segments (guid) ON DELETE CASCADE,
    first INTEGER NOT NULL,                        -- number of the first common word of this piece
    places BLOB NOT NULL,                         -- sealed
    PRIMARY KEY (guid, first)
);
