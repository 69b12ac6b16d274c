-- What an operator has beside its password: the secret of its authenticator (sealed with the instance key) with the last step that counted,
-- so that no code counts twice; recovery codes as hashes; and a role of its own for an API key (none: its operator's).
CREATE TABLE operator_totp (
    operator     TEXT PRIMARY KEY REFERENCES operators (name),
    sealed       BLOB NOT NULL,
    confirmed_at INTEGER NOT NULL,
    last_step    INTEGER NOT NULL
) STRICT;

CREATE TABLE operator_recovery_codes (
    operator TEXT NOT NULL REFERENCES operators (name),
    hash     BLOB NOT NULL CHECK (length(hash) = 32),
    used_at  INTEGER,
    PRIMARY KEY (operator, hash)
) STRICT;

ALTER TABLE operator_keys ADD COLUMN role TEXT CHECK (role IN ('viewer', 'auditor', 'operator', 'admin'));
