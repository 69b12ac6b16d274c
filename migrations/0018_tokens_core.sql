-- Secrets that clients show at the token endpoint: only their hashes. A row is never deleted, so that a revoked secret stays explained.
CREATE TABLE client_secrets (
    kid        TEXT PRIMARY KEY,
    client     TEXT NOT NULL,
    hash       BLOB NOT NULL CHECK (length(hash) = 32),
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    revoked_by TEXT
) STRICT;

CREATE INDEX client_secrets_by_client ON client_secrets (client);

-- Public keys of clients that must not count again, whatever a configuration says that was rolled back or brought back.
CREATE TABLE denied_jwks (
    id        TEXT PRIMARY KEY,
    client    TEXT NOT NULL,
    denied_at INTEGER NOT NULL,
    denied_by TEXT NOT NULL
) STRICT;

-- Keys that sign tokens. The private half is sealed with the instance key, and gone once a key is retired.
CREATE TABLE token_keys (
    kid          TEXT PRIMARY KEY,
    state        TEXT NOT NULL CHECK (state IN ('next', 'current', 'previous', 'retired')),
    public_jwk   TEXT NOT NULL,
    sealed       BLOB,
    created_at   INTEGER NOT NULL,
    activated_at INTEGER,
    replaced_at  INTEGER,
    retired_at   INTEGER,
    last_expiry  INTEGER,
    CHECK ((state = 'retired') = (sealed IS NULL))
) STRICT;

CREATE UNIQUE INDEX token_keys_one_current ON token_keys (state) WHERE state = 'current';
CREATE UNIQUE INDEX token_keys_one_next ON token_keys (state) WHERE state = 'next';

-- Tokens that were ended before their time; each is forgotten when it would have expired.
CREATE TABLE ended_tokens (
    jti        TEXT PRIMARY KEY,
    client     TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

-- Every token of the client that was issued before the moment is over; client '*' is everybody.
CREATE TABLE token_cuts (
    client TEXT PRIMARY KEY,
    before INTEGER NOT NULL,
    cut_by TEXT NOT NULL
) STRICT;

-- When each credential of a client was last used.
CREATE TABLE credential_uses (
    kid     TEXT PRIMARY KEY,
    last_at INTEGER NOT NULL
) STRICT;
