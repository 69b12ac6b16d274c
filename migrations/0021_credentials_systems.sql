-- What this host needs at other systems to replace credentials there: never in the configuration, which goes elsewhere.
CREATE TABLE credential_systems (
    name      TEXT PRIMARY KEY, -- KIND/NAME
    sealed    BLOB NOT NULL, -- the secret, sealed with the instance key for this system at this address alone
    stored_at INTEGER NOT NULL, -- milliseconds since 1970
    stored_by TEXT NOT NULL
) STRICT;
