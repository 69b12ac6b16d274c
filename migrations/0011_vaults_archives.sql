-- Who can open archives, the identities that open the newest of them, and what was found when one was checked again.
CREATE TABLE recipients (
    name       TEXT PRIMARY KEY,
    key        TEXT NOT NULL UNIQUE, -- age1…
    added_at   INTEGER NOT NULL, -- milliseconds since 1970, like every time below
    added_by   TEXT NOT NULL,
    challenge  BLOB, -- SHA-256 of the word that was encrypted to it
    proved_at  INTEGER,
    removed_at INTEGER
) STRICT;

-- Never part of an archive: whoever opens one must not be able to open the others by it.
CREATE TABLE archive_keys (
    archive    TEXT PRIMARY KEY,
    vault      TEXT NOT NULL,
    sealed     BLOB NOT NULL, -- age identity, sealed with the instance key
    created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX archive_keys_by_vault ON archive_keys (vault, created_at);

CREATE TABLE archive_checks (
    archive    TEXT PRIMARY KEY,
    checked_at INTEGER NOT NULL,
    fault      TEXT -- NULL when nothing was wrong
) STRICT;

-- One row for each drill: what was found, signed, as it was then.
CREATE TABLE drills (
    id          TEXT PRIMARY KEY,
    scenario    TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('running', 'done', 'interrupted')),
    started_at  INTEGER NOT NULL,
    started_by  TEXT NOT NULL,
    ended_at    INTEGER,
    passed      INTEGER,
    rto_ms      INTEGER,
    rpo_ms      INTEGER,
    report      TEXT, -- JSON
    sha256      TEXT, -- of the report
    prev        TEXT, -- sha256 of the report before
    signature   TEXT
) STRICT;

CREATE INDEX drills_by_time ON drills (started_at DESC, id DESC);
