-- Each slot of each schedule once, whatever the clock does: the row is written before the work begins.
CREATE TABLE occurrences (
    job        TEXT NOT NULL,
    due_at     INTEGER NOT NULL, -- milliseconds since 1970, like every time below
    state      TEXT NOT NULL CHECK (state IN ('begun', 'running', 'done', 'failed', 'skipped', 'interrupted')),
    reason     TEXT,
    started_at INTEGER,
    ended_at   INTEGER,
    PRIMARY KEY (job, due_at)
) STRICT;

CREATE INDEX occurrences_by_time ON occurrences (job, due_at DESC);
