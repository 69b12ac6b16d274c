-- What this host keeps about vaults that are the output of a command, and git must not hold.
CREATE TABLE vault_secrets (
    vault     TEXT PRIMARY KEY,
    sealed    BLOB NOT NULL, -- JSON of variables, sealed with the instance key
    stored_at INTEGER NOT NULL -- milliseconds since 1970, like every time below
) STRICT;

CREATE TABLE vault_approvals (
    vault       TEXT PRIMARY KEY,
    digest      TEXT NOT NULL, -- of program, arguments, plain variables and the names of the kept ones
    approved_at INTEGER NOT NULL,
    approved_by TEXT NOT NULL
) STRICT;
