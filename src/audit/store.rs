//! The SQL of `audit/index.db`: a derived copy of the ledger for queries. Everything in it can be built anew from the segments.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::pool::PoolOptions;
use sqlx::sqlite::{Sqlite, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteSynchronous};

use super::disk;
use super::query::Filter;

const SCHEMA_VERSION: i64 = 1;

// `mts` is the latest `ts` so far: it never falls, so the first event of a stretch of time is found even when the clock jumped.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS event (
  seq INTEGER PRIMARY KEY, ts INTEGER NOT NULL, mts INTEGER NOT NULL, kind TEXT NOT NULL, request_id TEXT, client TEXT,
  server TEXT, tool TEXT, class TEXT, decision TEXT, reason TEXT, status TEXT, operator TEXT, line TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS event_mts ON event (mts);
CREATE INDEX IF NOT EXISTS event_ts ON event (ts);
CREATE INDEX IF NOT EXISTS event_kind ON event (kind);
CREATE INDEX IF NOT EXISTS event_client ON event (client) WHERE client IS NOT NULL;
CREATE INDEX IF NOT EXISTS event_tool ON event (tool, server) WHERE tool IS NOT NULL;
CREATE INDEX IF NOT EXISTS event_server ON event (server) WHERE server IS NOT NULL;
CREATE INDEX IF NOT EXISTS event_request ON event (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS event_reason ON event (reason) WHERE reason IS NOT NULL;
CREATE INDEX IF NOT EXISTS event_operator ON event (operator) WHERE operator IS NOT NULL;
CREATE INDEX IF NOT EXISTS event_status ON event (status) WHERE status <> 'ok';
CREATE INDEX IF NOT EXISTS event_class ON event (class) WHERE class <> 'read';
CREATE INDEX IF NOT EXISTS event_decision ON event (decision) WHERE decision = 'refuse';
CREATE TABLE IF NOT EXISTS tally (
  minute INTEGER NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL, client TEXT NOT NULL, tool TEXT NOT NULL,
  n INTEGER NOT NULL, PRIMARY KEY (minute, outcome, reason, client, tool)) STRICT, WITHOUT ROWID;
";

macro_rules! row {
    () => {
        "(?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
    };
}
macro_rules! four_rows {
    () => {
        concat!(row!(), ",", row!(), ",", row!(), ",", row!())
    };
}
const INSERT: &str = concat!("INSERT INTO event VALUES ", row!());
// A statement costs far more than a row: sixteen rows at once.
const INSERT_MANY: &str =
    concat!("INSERT INTO event VALUES ", four_rows!(), ",", four_rows!(), ",", four_rows!(), ",", four_rows!());
const AT_ONCE: usize = 16;
// No index knows a text: a page looks for it in so many events, and the next page goes on.
const TEXT_SPAN: i64 = 50_000;

const TALLY: &str = "INSERT INTO tally VALUES ($1, $2, $3, $4, $5, $6) \
    ON CONFLICT (minute, outcome, reason, client, tool) DO UPDATE SET n = n + excluded.n";
const END: &str = "SELECT seq, mts, line FROM event ORDER BY seq DESC LIMIT 1";
const FIRST_SINCE: &str = "SELECT seq FROM event WHERE mts >= $1 ORDER BY mts, seq LIMIT 1";
const LAST: &str = "SELECT max(seq) FROM event";
const LAST_UNTIL: &str = "SELECT max(seq) FROM event WHERE ts <= $1";
const FORGET: &str = "DELETE FROM event WHERE seq < $1 AND seq IN (SELECT seq FROM event ORDER BY seq LIMIT 5000)";
const OUTCOMES: &str = "SELECT minute, outcome, sum(n) FROM tally WHERE minute >= $1 AND minute <= $2 GROUP BY minute, outcome";
const REFUSALS: &str =
    "SELECT reason, client, tool, sum(n) FROM tally WHERE minute >= $1 AND outcome = 'refused' GROUP BY reason, client, tool";

// One statement per leading filter, so that SQLite uses its index however the other filters are set.
macro_rules! newest {
    ($source:literal, $lead:literal) => {
        concat!(
            "SELECT line FROM event ",
            $source,
            " WHERE ",
            $lead,
            " AND seq < $1 AND seq >= $2 AND ts >= $3 AND ts <= $4 AND ($6 IS NULL OR client = $6)",
            " AND ($7 IS NULL OR server = $7) AND ($8 IS NULL OR tool = $8) AND ($9 IS NULL OR status = $9)",
            " AND ($10 IS NULL OR decision = $10) AND ($11 IS NULL OR reason = $11) AND ($12 IS NULL OR kind = $12)",
            " AND ($13 IS NULL OR request_id = $13) AND ($14 IS NULL OR operator = $14) AND ($15 IS NULL OR class = $15)",
            " AND ($5 IS NULL OR instr(lower(line), $5) > 0) ORDER BY seq DESC LIMIT $16"
        )
    };
}

fn statement(filter: &Filter) -> &'static str {
    let (server, tool) = filter.target();
    let is = |field: &Option<String>, word: &str| field.as_deref() == Some(word);
    match filter {
        f if f.request_id.is_some() => newest!("INDEXED BY event_request", "request_id = $13"),
        f if f.operator.is_some() => newest!("INDEXED BY event_operator", "operator = $14"),
        f if f.reason.is_some() => newest!("INDEXED BY event_reason", "reason = $11"),
        _ if tool.is_some() && server.is_some() => newest!("INDEXED BY event_tool", "tool = $8 AND server = $7"),
        _ if tool.is_some() => newest!("INDEXED BY event_tool", "tool = $8"),
        f if f.status.is_some() && !is(&f.status, "ok") => {
            newest!("INDEXED BY event_status", "status = $9 AND status <> 'ok'")
        }
        f if is(&f.decision, "refuse") => newest!("INDEXED BY event_decision", "decision = 'refuse'"),
        f if f.class.is_some() && !is(&f.class, "read") => newest!("INDEXED BY event_class", "class = $15 AND class <> 'read'"),
        f if f.client.is_some() => newest!("INDEXED BY event_client", "client = $6"),
        _ if server.is_some() => newest!("INDEXED BY event_server", "server = $7"),
        f if f.kind.is_some() => newest!("INDEXED BY event_kind", "kind = $12"),
        _ => newest!("NOT INDEXED", "true"),
    }
}

/// What may be done about a failed statement.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreFault {
    /// The file is damaged or not ours: build it anew.
    #[error("the index is damaged: {0}")]
    Spoiled(String),
    /// It may work later: locked, or no room.
    #[error("the index does not answer: {0}")]
    Later(String),
}

impl From<sqlx::Error> for StoreFault {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|e| e.code()).and_then(|code| code.parse::<u32>().ok()).unwrap_or(0) & 0xff;
        // SQLite: 1 error (no such column), 11 corrupt, 19 constraint, 20 mismatch, 26 not a database.
        match code {
            1 | 11 | 19 | 20 | 26 => Self::Spoiled(error.to_string()),
            _ => Self::Later(error.to_string()),
        }
    }
}

/// One event as the index keeps it.
#[derive(Clone, Debug, Default)]
pub(super) struct IndexRow {
    pub(super) seq: i64,
    pub(super) ts: i64,
    pub(super) mts: i64,
    pub(super) kind: String,
    pub(super) request_id: Option<String>,
    pub(super) client: Option<String>,
    pub(super) server: Option<String>,
    pub(super) tool: Option<String>,
    pub(super) class: Option<String>,
    pub(super) decision: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) status: Option<String>,
    pub(super) operator: Option<String>,
    pub(super) line: String,
}

/// Minute, outcome, reason, client, `server/tool`.
pub(super) type TallyKey = (i64, &'static str, String, String, String);

/// The last indexed event.
#[derive(Clone, Debug)]
pub(super) struct IndexEnd {
    pub(super) seq: u64,
    pub(super) mts: i64,
    pub(super) line: String,
}

/// What a page's statement gave.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) lines: Vec<String>,
    /// Events before this position were not looked at.
    pub(super) unread: Option<u64>,
}

/// The open index.
pub(super) struct Store {
    writer: SqlitePool,
    readers: SqlitePool,
}

fn file(dir: &Path) -> PathBuf {
    dir.join("index.db")
}

/// Removes the index, so that the next `open` begins anew.
pub(super) fn wipe(dir: &Path) {
    for ending in ["", "-wal", "-shm", "-journal"] {
        // What is not there needs no removal; what cannot be removed fails again at `open`.
        let _ = std::fs::remove_file(dir.join(format!("index.db{ending}")));
    }
}

impl Store {
    pub(super) async fn open(dir: &Path) -> Result<Self, StoreFault> {
        let path = file(dir);
        // SQLite would make it readable for everybody; its side files take its mode.
        disk::open_append(&path).map_err(|error| StoreFault::Later(error.to_string()))?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .busy_timeout(Duration::from_secs(1))
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal);
        let pool = || PoolOptions::<Sqlite>::new().acquire_timeout(Duration::from_secs(2));
        let writer = pool().max_connections(1).connect_with(options.clone()).await?;
        let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&writer).await?;
        if version != SCHEMA_VERSION && version != 0 {
            return Err(StoreFault::Spoiled("it is of another version".into()));
        }
        sqlx::raw_sql(SCHEMA).execute(&writer).await?;
        sqlx::raw_sql("PRAGMA user_version = 1").execute(&writer).await?;
        let readers = pool().max_connections(4).connect_with(options.pragma("query_only", "ON")).await?;
        Ok(Self { writer, readers })
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    pub(super) async fn end(&self) -> Result<Option<IndexEnd>, StoreFault> {
        let found: Option<(i64, i64, String)> = sqlx::query_as(END).fetch_optional(&self.writer).await?;
        Ok(found.map(|(seq, mts, line)| IndexEnd { seq: u64::try_from(seq).unwrap_or(0), mts, line }))
    }

    /// Adds events and their tallies, all or nothing.
    pub(super) async fn add(&self, rows: Vec<IndexRow>, tallies: HashMap<TallyKey, i64>) -> Result<(), StoreFault> {
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let mut rows = rows.into_iter();
        while rows.len() > 0 {
            let count = if rows.len() >= AT_ONCE { AT_ONCE } else { 1 };
            let mut insert = sqlx::query(if count == AT_ONCE { INSERT_MANY } else { INSERT });
            for row in rows.by_ref().take(count) {
                insert = insert.bind(row.seq).bind(row.ts).bind(row.mts).bind(row.kind).bind(row.request_id).bind(row.client);
                insert = insert.bind(row.server).bind(row.tool).bind(row.class).bind(row.decision).bind(row.reason);
                insert = insert.bind(row.status).bind(row.operator).bind(row.line);
            }
            insert.execute(&mut *tx).await?;
        }
        for ((minute, outcome, reason, client, tool), n) in tallies {
            let insert = sqlx::query(TALLY).bind(minute).bind(outcome).bind(reason).bind(client).bind(tool).bind(n);
            insert.execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Forgets some events before `seq`; says how many.
    pub(super) async fn forget(&self, seq: u64) -> Result<u64, StoreFault> {
        Ok(sqlx::query(FORGET).bind(signed(seq)).execute(&self.writer).await?.rows_affected())
    }

    /// Lines that fit, newest first, at most `most`.
    pub(super) async fn newest(&self, filter: &Filter, before: u64, most: u32) -> Result<Found, StoreFault> {
        let (since, until) = (filter.since.map_or(i64::MIN, |t| t.0), filter.until.map_or(i64::MAX, |t| t.0));
        let Some((first, before)) = self.range(filter, signed(before)).await? else { return Ok(Found::default()) };
        let text = filter.text.as_deref().filter(|text| !text.is_empty()).map(str::to_ascii_lowercase);
        let lowest = if text.is_some() { first.max(before - TEXT_SPAN) } else { first };
        let (server, tool) = filter.target();
        let lines = sqlx::query_scalar(statement(filter))
            .bind(before)
            .bind(lowest)
            .bind(since)
            .bind(until)
            .bind(text)
            .bind(filter.client.as_deref())
            .bind(server)
            .bind(tool)
            .bind(filter.status.as_deref())
            .bind(filter.decision.as_deref())
            .bind(filter.reason.as_deref())
            .bind(filter.kind.as_deref())
            .bind(filter.request_id.as_deref())
            .bind(filter.operator.as_deref())
            .bind(filter.class.as_deref())
            .bind(i64::from(most))
            .fetch_all(&self.readers)
            .await?;
        let unread = (lowest > first).then(|| u64::try_from(lowest).unwrap_or(0));
        Ok(Found { lines, unread })
    }

    // The positions that can fit the times: from the first up to, but not including, the last. `None` when no event can.
    async fn range(&self, filter: &Filter, before: i64) -> Result<Option<(i64, i64)>, StoreFault> {
        let first: Option<i64> = match filter.since {
            None => Some(1),
            Some(since) => sqlx::query_scalar(FIRST_SINCE).bind(since.0).fetch_optional(&self.readers).await?,
        };
        let last: Option<i64> = match filter.until {
            None => sqlx::query_scalar(LAST).fetch_one(&self.readers).await?,
            Some(until) => sqlx::query_scalar(LAST_UNTIL).bind(until.0).fetch_one(&self.readers).await?,
        };
        Ok(first.zip(last).map(|(first, last)| (first, before.min(last.saturating_add(1)))))
    }

    /// Minute, outcome and count since a minute.
    pub(super) async fn outcomes(&self, since: i64, until: i64) -> Result<Vec<(i64, String, i64)>, StoreFault> {
        Ok(sqlx::query_as(OUTCOMES).bind(since).bind(until).fetch_all(&self.readers).await?)
    }

    /// Reason, client, `server/tool` and count since a minute.
    pub(super) async fn refusals(&self, since: i64) -> Result<Vec<(String, String, String, i64)>, StoreFault> {
        Ok(sqlx::query_as(REFUSALS).bind(since).fetch_all(&self.readers).await?)
    }
}

fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
