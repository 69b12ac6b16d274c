-- What signs the notices to each receiver of alerts.toml. The receiver itself stands in the configuration.
CREATE TABLE alert_receivers (
    name       TEXT PRIMARY KEY,
    sealed     BLOB NOT NULL, -- its secret, sealed with the instance key
    minted_at  INTEGER NOT NULL, -- milliseconds since 1970, like every time below
    old        BLOB, -- the secret before, sealed, which signs too until old_until
    old_until  INTEGER,
    paused_at  INTEGER, -- when it said 410 Gone
    paused_url TEXT -- a pause counts for this URL only
) STRICT;

-- One row for each notice and receiver, written together with what it tells of.
CREATE TABLE alert_outbox (
    id       TEXT PRIMARY KEY, -- msg_…, the same at every attempt
    receiver TEXT NOT NULL,
    kind     TEXT NOT NULL, -- alert.open, alert.ack, alert.resolve, alert.test
    alert    TEXT NOT NULL,
    body     TEXT NOT NULL, -- JSON, as it is sent
    state    TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'given_up', 'dropped')),
    made_at  INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    next_at  INTEGER NOT NULL,
    status   INTEGER, -- of the last answer
    why      TEXT, -- it failed
    ms       INTEGER, -- the last attempt took
    ended_at INTEGER
) STRICT;

CREATE INDEX alert_outbox_waiting ON alert_outbox (receiver, next_at) WHERE state = 'waiting';
CREATE INDEX alert_outbox_ended ON alert_outbox (receiver, ended_at DESC, id DESC) WHERE state <> 'waiting';
