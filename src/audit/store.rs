//! The SQL of `audit/index.db`: a derived copy of the ledger for queries. Everything in it can be built anew from the segments.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::pool::PoolOptions;
use sqlx::sqlite::{Sqlite, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteSynchronous};

use super::block::{self, Block, SPAN, Sieve, Sort, TallyKey};
use super::disk;
use super::event::Event;
use super::query::Filter;

const SCHEMA_VERSION: i64 = 2;

// A sort's id is its block's first position times the span of a block, plus its number in the block: the order of the ids is that of the
// blocks, in every index too. `mts` is the latest time up to a block's end; it never falls.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS block (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, since INTEGER NOT NULL, mts INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS block_mts ON block (mts);
CREATE TABLE IF NOT EXISTS lines (first INTEGER PRIMARY KEY, text BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS sort (
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL, client TEXT, server TEXT, tool TEXT, class TEXT, decision TEXT, reason TEXT, status TEXT,
  operator TEXT) STRICT;
CREATE INDEX IF NOT EXISTS sort_kind ON sort (kind);
CREATE INDEX IF NOT EXISTS sort_client ON sort (client) WHERE client IS NOT NULL;
CREATE INDEX IF NOT EXISTS sort_tool ON sort (tool, server) WHERE tool IS NOT NULL;
CREATE INDEX IF NOT EXISTS sort_server ON sort (server) WHERE server IS NOT NULL;
CREATE INDEX IF NOT EXISTS sort_reason ON sort (reason) WHERE reason IS NOT NULL;
CREATE INDEX IF NOT EXISTS sort_operator ON sort (operator) WHERE operator IS NOT NULL;
CREATE INDEX IF NOT EXISTS sort_status ON sort (status) WHERE status <> 'ok';
CREATE INDEX IF NOT EXISTS sort_class ON sort (class) WHERE class <> 'read';
CREATE INDEX IF NOT EXISTS sort_decision ON sort (decision) WHERE decision = 'refuse';
CREATE TABLE IF NOT EXISTS request (key INTEGER NOT NULL, first INTEGER NOT NULL, PRIMARY KEY (key, first)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tally (
  minute INTEGER NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL, client TEXT NOT NULL, tool TEXT NOT NULL,
  n INTEGER NOT NULL, PRIMARY KEY (minute, outcome, reason, client, tool)) STRICT, WITHOUT ROWID;
";

const BLOCK: &str = "INSERT INTO block VALUES ($1, $2, $3, $4)";
const LINES: &str = "INSERT INTO lines VALUES ($1, $2)";
const SORT: &str = "INSERT INTO sort VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
// One parameter for all keys of a block: a statement costs far more than a row.
const REQUESTS: &str = "INSERT INTO request SELECT value, $1 FROM json_each($2)";
const TALLY: &str = "INSERT INTO tally VALUES ($1, $2, $3, $4, $5, $6) \
    ON CONFLICT (minute, outcome, reason, client, tool) DO UPDATE SET n = n + excluded.n";
// No index knows a text: a page looks for it in so many events, and the next page goes on.
const TEXT_SPAN: i64 = 50_000;
// Blocks that are looked for at once.
const CANDIDATES: i64 = 64;

const END: &str = "SELECT last, mts, text FROM block JOIN lines USING (first) ORDER BY first DESC LIMIT 1";
const FIRST_SINCE: &str = "SELECT first FROM block WHERE mts >= $1 ORDER BY mts, first LIMIT 1";
const LAST: &str = "SELECT last FROM block ORDER BY first DESC LIMIT 1";
const LAST_UNTIL: &str = "SELECT last FROM block WHERE since <= $1 ORDER BY first DESC LIMIT 1";
const TEXT: &str = "SELECT text FROM lines WHERE first = $1";
const OLDEST: &str = "SELECT first, text FROM block JOIN lines USING (first) WHERE last < $1 ORDER BY first LIMIT 1";
const FORGET_REQUEST: &str = "DELETE FROM request WHERE key = $1 AND first = $2";
const FORGET_SORTS: &str = "DELETE FROM sort WHERE id >= $1 AND id < $2";
const FORGET_LINES: &str = "DELETE FROM lines WHERE first = $1";
const FORGET_BLOCK: &str = "DELETE FROM block WHERE first = $1";
const OUTCOMES: &str = "SELECT minute, outcome, sum(n) FROM tally WHERE minute >= $1 AND minute <= $2 GROUP BY minute, outcome";
const REFUSALS: &str =
    "SELECT reason, client, tool, sum(n) FROM tally WHERE minute >= $1 AND outcome = 'refused' GROUP BY reason, client, tool";
const BY_REQUEST: &str =
    "SELECT first * 256 FROM request WHERE key = $12 AND first * 256 < $1 AND first * 256 >= $2 ORDER BY first DESC LIMIT $11";

// One statement per leading filter, so that SQLite uses its index however the other filters are set.
macro_rules! candidates {
    ($source:literal, $lead:literal) => {
        concat!(
            "SELECT id FROM sort ",
            $source,
            " WHERE ",
            $lead,
            " AND id < $1 AND id >= $2 AND ($3 IS NULL OR client = $3) AND ($4 IS NULL OR server = $4) AND ($5 IS NULL OR tool = $5)",
            " AND ($6 IS NULL OR status = $6) AND ($7 IS NULL OR decision = $7) AND ($8 IS NULL OR reason = $8)",
            " AND ($9 IS NULL OR kind = $9) AND ($10 IS NULL OR operator = $10) AND ($13 IS NULL OR class = $13)",
            " ORDER BY id DESC LIMIT $11"
        )
    };
}

fn statement(filter: &Filter) -> &'static str {
    let (server, tool) = filter.target();
    let is = |field: &Option<String>, word: &str| field.as_deref() == Some(word);
    match filter {
        f if f.request_id.is_some() => BY_REQUEST,
        f if f.operator.is_some() => candidates!("INDEXED BY sort_operator", "operator = $10"),
        f if f.reason.is_some() => candidates!("INDEXED BY sort_reason", "reason = $8"),
        _ if tool.is_some() && server.is_some() => candidates!("INDEXED BY sort_tool", "tool = $5 AND server = $4"),
        _ if tool.is_some() => candidates!("INDEXED BY sort_tool", "tool = $5"),
        f if f.status.is_some() && !is(&f.status, "ok") => {
            candidates!("INDEXED BY sort_status", "status = $6 AND status <> 'ok'")
        }
        f if is(&f.decision, "refuse") => candidates!("INDEXED BY sort_decision", "decision = 'refuse'"),
        f if f.class.is_some() && !is(&f.class, "read") => candidates!("INDEXED BY sort_class", "class = $13 AND class <> 'read'"),
        f if f.client.is_some() => candidates!("INDEXED BY sort_client", "client = $3"),
        _ if server.is_some() => candidates!("INDEXED BY sort_server", "server = $4"),
        f if f.kind.is_some() => candidates!("INDEXED BY sort_kind", "kind = $9"),
        _ => candidates!("NOT INDEXED", "true"),
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

/// The last indexed event.
#[derive(Clone, Debug)]
pub(super) struct IndexEnd {
    pub(super) seq: u64,
    pub(super) mts: i64,
    pub(super) line: Vec<u8>,
}

/// What a page's statement gave.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) events: Vec<Event>,
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
        // It adds at the end of its tables, so half of the usual cache loses nothing.
        let writer = pool().max_connections(1).connect_with(options.clone().pragma("cache_size", "-1024")).await?;
        let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&writer).await?;
        if version != SCHEMA_VERSION && version != 0 {
            return Err(StoreFault::Spoiled("it is of another version".into()));
        }
        sqlx::raw_sql(SCHEMA).execute(&writer).await?;
        sqlx::raw_sql("PRAGMA user_version = 2").execute(&writer).await?;
        let readers = pool().max_connections(4).connect_with(options.pragma("query_only", "ON")).await?;
        Ok(Self { writer, readers })
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    pub(super) async fn end(&self) -> Result<Option<IndexEnd>, StoreFault> {
        let found: Option<(i64, i64, Vec<u8>)> = sqlx::query_as(END).fetch_optional(&self.writer).await?;
        let end =
            |(last, mts, text): (i64, i64, Vec<u8>)| IndexEnd { seq: unsigned(last), mts, line: block::last_line(&text).to_vec() };
        Ok(found.map(end))
    }

    /// Adds blocks and their tallies, all or nothing.
    pub(super) async fn add(&self, blocks: Vec<Block>, tallies: HashMap<TallyKey, i64>) -> Result<(), StoreFault> {
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for Block { first, last, since, mts, text, sorts, requests } in blocks {
            sqlx::query(BLOCK).bind(first).bind(last).bind(since).bind(mts).execute(&mut *tx).await?;
            sqlx::query(LINES).bind(first).bind(text).execute(&mut *tx).await?;
            for (id, Sort(fields)) in (first * SPAN..).zip(sorts) {
                let insert = fields.into_iter().fold(sqlx::query(SORT).bind(id), |insert, field| insert.bind(field));
                insert.execute(&mut *tx).await?;
            }
            let keys = serde_json::to_string(&requests).map_err(|error| StoreFault::Later(error.to_string()))?;
            sqlx::query(REQUESTS).bind(first).bind(keys).execute(&mut *tx).await?;
        }
        for ((minute, outcome, reason, client, tool), n) in tallies {
            let insert = sqlx::query(TALLY).bind(minute).bind(outcome).bind(reason).bind(client).bind(tool).bind(n);
            insert.execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Forgets the oldest block that ends before `seq`; says whether there was one.
    pub(super) async fn forget(&self, seq: u64) -> Result<bool, StoreFault> {
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let oldest: Option<(i64, Vec<u8>)> = sqlx::query_as(OLDEST).bind(signed(seq)).fetch_optional(&mut *tx).await?;
        let Some((first, text)) = oldest else { return Ok(false) };
        for key in block::requests(&text) {
            sqlx::query(FORGET_REQUEST).bind(key).bind(first).execute(&mut *tx).await?;
        }
        sqlx::query(FORGET_SORTS).bind(first * SPAN).bind((first + 1) * SPAN).execute(&mut *tx).await?;
        sqlx::query(FORGET_LINES).bind(first).execute(&mut *tx).await?;
        sqlx::query(FORGET_BLOCK).bind(first).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Events that fit, newest first, at most `most`.
    pub(super) async fn newest(&self, filter: &Filter, before: u64, most: u32) -> Result<Found, StoreFault> {
        let Some((first, before)) = self.range(filter, signed(before)).await? else { return Ok(Found::default()) };
        let searches = filter.text.as_deref().is_some_and(|text| !text.is_empty());
        let lowest = if searches { first.max(before - TEXT_SPAN) } else { first };
        let sieve = Sieve::new(filter, (lowest, before));
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let (mut events, mut below) = (Vec::new(), before);
        while events.len() < most {
            // A block that begins a little before the lowest position may still hold it.
            let blocks = self.candidates(filter, (lowest - SPAN, below)).await?;
            let Some(oldest) = blocks.last() else { break };
            below = *oldest;
            for block in blocks {
                let text: Option<Vec<u8>> = sqlx::query_scalar(TEXT).bind(block).fetch_optional(&self.readers).await?;
                let picked = sieve.pick(&text.unwrap_or_default(), most, &mut events);
                picked.map_err(|error| StoreFault::Spoiled(error.to_string()))?;
                if events.len() >= most {
                    break;
                }
            }
        }
        let unread = (lowest > first).then(|| unsigned(lowest));
        Ok(Found { events, unread })
    }

    /// Some of the newest blocks that begin between the two positions and hold a sort that fits, newest first.
    async fn candidates(&self, filter: &Filter, (from, below): (i64, i64)) -> Result<Vec<i64>, StoreFault> {
        let (server, tool) = filter.target();
        let ids: Vec<i64> = sqlx::query_scalar(statement(filter))
            .bind(below.saturating_mul(SPAN))
            .bind(from.saturating_mul(SPAN))
            .bind(filter.client.as_deref())
            .bind(server)
            .bind(tool)
            .bind(filter.status.as_deref())
            .bind(filter.decision.as_deref())
            .bind(filter.reason.as_deref())
            .bind(filter.kind.as_deref())
            .bind(filter.operator.as_deref())
            .bind(CANDIDATES)
            .bind(filter.request_id.as_deref().map(block::key))
            .bind(filter.class.as_deref())
            .fetch_all(&self.readers)
            .await?;
        let mut blocks: Vec<i64> = ids.into_iter().map(|id| id.div_euclid(SPAN)).collect();
        blocks.dedup();
        Ok(blocks)
    }

    // The positions that can fit the times: from the first up to, but not including, the last. `None` when no event can.
    async fn range(&self, filter: &Filter, before: i64) -> Result<Option<(i64, i64)>, StoreFault> {
        let first: Option<i64> = match filter.since {
            None => Some(1),
            Some(since) => sqlx::query_scalar(FIRST_SINCE).bind(since.0).fetch_optional(&self.readers).await?,
        };
        let last: Option<i64> = match filter.until {
            None => sqlx::query_scalar(LAST).fetch_optional(&self.readers).await?,
            Some(until) => sqlx::query_scalar(LAST_UNTIL).bind(until.0).fetch_optional(&self.readers).await?,
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

fn unsigned(seq: i64) -> u64 {
    u64::try_from(seq).unwrap_or(0)
}

fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
