-- What is stopped now, beside the file KILL; and every order there was, with its proof.
CREATE TABLE kill_states (
    scope       TEXT PRIMARY KEY, -- JSON of the scope
    mode        TEXT NOT NULL CHECK (mode IN ('read_only', 'full')),
    decision_id TEXT NOT NULL,
    since       INTEGER NOT NULL, -- milliseconds since 1970, like every time below
    by          TEXT NOT NULL,
    reason      TEXT NOT NULL
) STRICT;

CREATE TABLE kill_epoch (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    epoch INTEGER NOT NULL
) STRICT;

INSERT INTO kill_epoch (id, epoch) VALUES (1, 0);

CREATE TABLE kill_history (
    decision_id    TEXT PRIMARY KEY,
    kind           TEXT NOT NULL CHECK (kind IN ('order', 'drill')),
    scope          TEXT NOT NULL,
    mode           TEXT NOT NULL CHECK (mode IN ('read_only', 'full')),
    engaged_at     INTEGER NOT NULL,
    by             TEXT NOT NULL,
    reason         TEXT NOT NULL,
    cut            INTEGER NOT NULL DEFAULT 0,
    effective      INTEGER,       -- NULL until the proof is over
    effective_ms   INTEGER,
    proofs         TEXT,          -- JSON, one element per listener
    released_at    INTEGER,
    released_by    TEXT,
    release_reason TEXT,
    released_to    TEXT CHECK (released_to IN ('read_only'))
) STRICT;

CREATE INDEX kill_history_by_time ON kill_history (engaged_at DESC, decision_id DESC);
