-- Rotations of credentials: each row is written before the side effect it announces, so that a process that dies goes on where it was.
CREATE TABLE rotations (
    id            TEXT PRIMARY KEY, -- rot_…; names the rotation in the ledger, and makes each step of it the same when it is done twice
    credential    TEXT NOT NULL, -- KIND/NAME
    state         TEXT NOT NULL CHECK (state IN ('planned', 'minted', 'installed', 'verified', 'promoted', 'draining', 'retired',
                      'retire_failed', 'proved', 'done', 'cancelled', 'rolled_back')),
    hold          TEXT CHECK (hold IN ('paused', 'waiting', 'failed')),
    why           TEXT, -- of the hold
    error         TEXT, -- class of the last failure
    attempt       INTEGER NOT NULL DEFAULT 0,
    next_try_at   INTEGER, -- milliseconds since 1970, like every time below
    old           TEXT NOT NULL, -- JSON: the versions that end
    new           TEXT, -- the version that comes
    sealed        BLOB, -- JSON of the new secret and of what undoes it, sealed with the instance key
    facts         TEXT, -- JSON: what the driver keeps of the new version that is no secret
    to_fetch      INTEGER NOT NULL DEFAULT 0, -- somebody must pick the new secret up
    fetched_at    INTEGER,
    fetched_by    TEXT,
    reason        TEXT NOT NULL CHECK (reason IN ('manual', 'schedule', 'incident', 'leak', 'proof')),
    note          TEXT NOT NULL,
    holder        TEXT,
    overlap_ms    INTEGER NOT NULL,
    quiet_ms      INTEGER NOT NULL,
    forced        INTEGER NOT NULL,
    overlap_until INTEGER,
    verified_at   INTEGER,
    draining_at   INTEGER,
    lease_owner   TEXT,
    lease_until   INTEGER,
    started_by    TEXT NOT NULL,
    started_at    INTEGER NOT NULL,
    changed_at    INTEGER NOT NULL,
    ended_at      INTEGER
) STRICT;

-- One open rotation of one credential.
CREATE UNIQUE INDEX rotations_open ON rotations (credential) WHERE state NOT IN ('done', 'cancelled', 'rolled_back');
CREATE INDEX rotations_by_credential ON rotations (credential, started_at DESC, id DESC);

CREATE TABLE rotation_steps (
    rotation TEXT NOT NULL REFERENCES rotations (id),
    seq      INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    step     TEXT NOT NULL, -- mint, install, verify, promote, drain, retire, prove, finish, or the order of an operator
    outcome  TEXT NOT NULL CHECK (outcome IN ('done', 'failed', 'waits', 'ordered')),
    evidence TEXT NOT NULL, -- JSON, never a secret
    PRIMARY KEY (rotation, seq)
) STRICT;

CREATE TRIGGER rotation_steps_stay BEFORE UPDATE ON rotation_steps BEGIN SELECT RAISE(ABORT, 'a step stays as it was'); END;
CREATE TRIGGER rotation_steps_last BEFORE DELETE ON rotation_steps BEGIN SELECT RAISE(ABORT, 'a step stays as it was'); END;

-- From where the keys of open rotations were shown.
CREATE TABLE credential_places (
    kid      TEXT NOT NULL,
    place    TEXT NOT NULL,
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL,
    calls    INTEGER NOT NULL,
    refused  INTEGER NOT NULL,
    PRIMARY KEY (kid, place)
) STRICT;

-- What rotations under traffic showed, signed, as it was then.
CREATE TABLE rotation_proofs (
    id        TEXT PRIMARY KEY,
    made_at   INTEGER NOT NULL,
    made_by   TEXT NOT NULL,
    passed    INTEGER NOT NULL,
    report    TEXT NOT NULL, -- JSON
    chart     TEXT NOT NULL, -- SVG
    sha256    TEXT NOT NULL, -- of the report
    prev      TEXT, -- sha256 of the report before
    signature TEXT NOT NULL
) STRICT;

CREATE INDEX rotation_proofs_by_time ON rotation_proofs (made_at DESC, id DESC);
