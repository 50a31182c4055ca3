-- Schema 1. `application_id` is "Csgn"; `user_version` is the number of this schema.
PRAGMA application_id = 0x4373676E;
PRAGMA user_version = 1;

-- Clustered by key, and keys start with a subject's home: what one commit touches lies on few pages.
-- The value comes last, so that reading what stands before it never follows a long one to its end.
CREATE TABLE record (
    key        BLOB    NOT NULL PRIMARY KEY,
    version    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    value      BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- One row: the last version given out, and how many records there are.
CREATE TABLE counter (
    id      INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    version INTEGER NOT NULL,
    records INTEGER NOT NULL
) STRICT;
INSERT INTO counter (id, version, records) VALUES (1, 0, 0);
