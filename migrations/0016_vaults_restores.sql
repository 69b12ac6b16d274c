-- Restores in place: which archive came back, and which one was made of what was there before.
CREATE TABLE restores (
    id         TEXT PRIMARY KEY,
    vault      TEXT NOT NULL,
    archive    TEXT NOT NULL,
    safety     TEXT NOT NULL, -- the archive of what was there: "latest" does not mean it
    started_at INTEGER NOT NULL, -- milliseconds since 1970
    started_by TEXT NOT NULL
) STRICT;
CREATE INDEX restores_safety ON restores (vault, safety);
