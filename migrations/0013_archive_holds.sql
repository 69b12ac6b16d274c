-- Archives that stay whatever the rules say.
CREATE TABLE archive_holds (
    archive TEXT PRIMARY KEY,
    reason  TEXT NOT NULL,
    held_at INTEGER NOT NULL, -- milliseconds since 1970
    held_by TEXT NOT NULL
) STRICT;
