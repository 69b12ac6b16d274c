-- What was approved to be started on this host: commands of vaults, and of issuers of tokens.
CREATE TABLE command_approvals (
    owner       TEXT PRIMARY KEY, -- vault/NAME or command/NAME
    digest      TEXT NOT NULL, -- of programs, arguments, plain variables and the names of the kept ones
    approved_at INTEGER NOT NULL, -- milliseconds since 1970
    approved_by TEXT NOT NULL
) STRICT;

INSERT INTO command_approvals (owner, digest, approved_at, approved_by)
    SELECT 'vault/' || vault, digest, approved_at, approved_by FROM vault_approvals;
DROP TABLE vault_approvals;
