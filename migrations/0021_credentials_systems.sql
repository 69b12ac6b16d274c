-- What this host needs at other systems to replace credentials there: never in the configuration, which goes elsewhere.
CREATE TABLE credential_systems (
    name      TEXT PRIMARY KEY, -- KIND/NAME
    sealed    BLOB NOT NULL, -- the secret, sealed with the instance key for this system at this address alone
    stored_at INTEGER NOT NULL, -- milliseconds since 1970
    stored_by TEXT NOT NULL
) STRICT;

-- What an issuer calls the tokens it made here, so that they can be ended there.
CREATE TABLE credential_issued (
    name      TEXT NOT NULL, -- KIND/NAME
    version   TEXT NOT NULL, -- the fingerprint of what the server is sent
    issued_id TEXT NOT NULL,
    issued_at INTEGER NOT NULL,
    ended_at  INTEGER, -- when the issuer was told to end it, and said so
    PRIMARY KEY (name, version)
) STRICT;
