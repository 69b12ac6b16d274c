-- People at the dashboard, their sessions and API keys, and the code that makes the first admin. Hashes only, never a secret.
CREATE TABLE operators (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL CHECK (role IN ('viewer', 'auditor', 'operator', 'admin')),
    password_phc TEXT NOT NULL,
    disabled_at INTEGER,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
    id_hash BLOB PRIMARY KEY,
    operator TEXT NOT NULL REFERENCES operators (name),
    created_at INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    login_at INTEGER NOT NULL,
    remote TEXT NOT NULL,
    user_agent TEXT NOT NULL
) STRICT;

CREATE TABLE operator_keys (
    kid TEXT PRIMARY KEY,
    operator TEXT NOT NULL REFERENCES operators (name),
    hash BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    last_used INTEGER
) STRICT;

-- One row at most: the id is always 1.
CREATE TABLE setup (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    code_hash BLOB NOT NULL,
    used_at INTEGER
) STRICT;
