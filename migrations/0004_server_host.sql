-- What this host keeps about servers and git must not hold.
CREATE TABLE server_secrets (
    server    TEXT PRIMARY KEY,
    sealed    BLOB NOT NULL, -- JSON of headers and environment, sealed with the instance key
    stored_at INTEGER NOT NULL
) STRICT;

CREATE TABLE server_approvals (
    server      TEXT PRIMARY KEY,
    digest      TEXT NOT NULL, -- of command line, names of variables and directories
    approved_at INTEGER NOT NULL,
    approved_by TEXT NOT NULL
) STRICT;
