-- Client keys: only their hashes. A row is never deleted, so that a revoked key stays explained.
CREATE TABLE client_keys (
    kid        TEXT PRIMARY KEY,
    client     TEXT NOT NULL,
    hash       BLOB NOT NULL CHECK (length(hash) = 32),
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    revoked_by TEXT
) STRICT;

CREATE INDEX client_keys_by_client ON client_keys (client);

-- Rises with each change of a credential: the second half of a revision.
CREATE TABLE credential_epoch (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    epoch INTEGER NOT NULL
) STRICT;

INSERT INTO credential_epoch (id, epoch) VALUES (1, 0);

-- The last commit that became a running policy: what is served when HEAD is invalid at start.
CREATE TABLE applied_revision (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    commit_id  TEXT NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT;
