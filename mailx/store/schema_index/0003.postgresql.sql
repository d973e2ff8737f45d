-- Index schema 3: where words stand, and what else ranking needs. Segments have another format: the index is built anew.
DELETE FROM index_accounts;
DELETE FROM index_segments;
UPDATE index_state SET position = 0, anchor = '';
CREATE UNIQUE INDEX index_segments_guid ON index_segments (guid);
CREATE TABLE index_places (
    guid BYTEA NOT NULL REFERENCES index_segments (guid) ON DELETE CASCADE,
    first BIGINT NOT NULL,                        -- number of the first common word of this piece
    places BYTEA NOT NULL,                         -- sealed
    PRIMARY KEY (guid, first)
);
ALTER TABLE index_places ALTER COLUMN places SET STORAGE EXTERNAL;
