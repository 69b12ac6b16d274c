-- What needs somebody, from the moment it was found until it is no longer so.
CREATE TABLE alerts (
    id          TEXT PRIMARY KEY,
    rule        TEXT NOT NULL, -- backup.late, drill.late, …
    object      TEXT NOT NULL, -- the vault, recipient or certificate it is about
    text        TEXT NOT NULL,
    mend        TEXT NOT NULL,
    opened_at   INTEGER NOT NULL, -- milliseconds since 1970, like every time below
    acked_at    INTEGER,
    acked_by    TEXT,
    resolved_at INTEGER
) STRICT;

-- One open alert for one thing.
CREATE UNIQUE INDEX alerts_open ON alerts (rule, object) WHERE resolved_at IS NULL;
CREATE INDEX alerts_by_time ON alerts (opened_at DESC, id DESC);
