//! The SQL of drills. A report is stored as it was signed and never changed.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::model::DrillLine;
use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::db::{Db, fault};

const BEGIN: &str = "INSERT INTO drills (id, scenario, state, started_at, started_by) VALUES (?1, ?2, 'running', ?3, ?4)";
const END: &str =
    "UPDATE drills SET state = 'done', ended_at = ?2, passed = ?3, rto_ms = ?4, rpo_ms = ?5, report = ?6, sha256 = ?7,
    prev = ?8, signature = ?9 WHERE id = ?1";
const INTERRUPT: &str = "UPDATE drills SET state = 'interrupted', ended_at = ?1 WHERE state = 'running'";
const GIVE_UP: &str = "UPDATE drills SET state = 'interrupted', ended_at = ?2 WHERE id = ?1";
const LIST: &str = "SELECT id, scenario, state, passed, rto_ms, rpo_ms, started_at, started_by FROM drills
    ORDER BY started_at DESC, id DESC LIMIT ?1";
const REPORT: &str = "SELECT report, sha256, prev, signature FROM drills WHERE id = ?1 AND report IS NOT NULL";
const LAST: &str = "SELECT sha256 FROM drills WHERE sha256 IS NOT NULL ORDER BY started_at DESC, id DESC LIMIT 1";

/// Every statement, for the test that keeps SQL and migrations together.
pub const STATEMENTS: [(&str, &str); 7] = [
    ("drills.begin", BEGIN),
    ("drills.end", END),
    ("drills.interrupt", INTERRUPT),
    ("drills.give_up", GIVE_UP),
    ("drills.list", LIST),
    ("drills.report", REPORT),
    ("drills.last", LAST),
];

const UNSET: &str = "the drill cannot be stored";
const UNREAD: &str = "the drills cannot be read";

/// A drill begins.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn begin(db: &Db, id: &str, scenario: &str, now: Timestamp, by: &str) -> Verb<()> {
    let row = sqlx::query(BEGIN).bind(id).bind(scenario).bind(now.0).bind(by);
    row.execute(db.writer()).await.map(|_| ()).map_err(|e| fault(e, UNSET))
}

/// What is stored of a finished drill.
pub(super) struct Ended<'a> {
    /// Its id.
    pub id: &'a str,
    /// When.
    pub at: Timestamp,
    /// Whether it ended as it should.
    pub passed: bool,
    /// Milliseconds until it served.
    pub rto_ms: i64,
    /// Milliseconds of data lost.
    pub rpo_ms: i64,
    /// The report, as it is signed.
    pub report: &'a str,
    /// Its digest.
    pub sha256: &'a str,
    /// The one before.
    pub prev: Option<&'a str>,
    /// Its signature.
    pub signature: &'a str,
}

/// A drill is over.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn end(db: &Db, ended: &Ended<'_>) -> Verb<()> {
    let row = sqlx::query(END).bind(ended.id).bind(ended.at.0).bind(ended.passed).bind(ended.rto_ms).bind(ended.rpo_ms);
    let row = row.bind(ended.report).bind(ended.sha256).bind(ended.prev).bind(ended.signature);
    row.execute(db.writer()).await.map(|_| ()).map_err(|e| fault(e, UNSET))
}

/// Every drill that was running when this process was not: it did not end.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn interrupt(db: &Db, now: Timestamp) -> Verb<u64> {
    let done = sqlx::query(INTERRUPT).bind(now.0).execute(db.writer()).await;
    done.map(|done| done.rows_affected()).map_err(|e| fault(e, UNSET))
}

/// A drill that could not even begin.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn give_up(db: &Db, id: &str, now: Timestamp) -> Verb<()> {
    sqlx::query(GIVE_UP).bind(id).bind(now.0).execute(db.writer()).await.map(|_| ()).map_err(|e| fault(e, UNSET))
}

/// The newest drills.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn list(db: &Db, limit: u32) -> Verb<Vec<DrillLine>> {
    let rows = sqlx::query(LIST).bind(limit).fetch_all(db.reader()).await.map_err(|e| fault(e, UNREAD))?;
    let seconds = |ms: Option<i64>| ms.and_then(|ms| u32::try_from(ms).ok()).map(|ms| f64::from(ms) / 1000.0);
    let line = |row: &SqliteRow| {
        Ok(DrillLine {
            id: row.try_get("id")?,
            scenario: row.try_get("scenario")?,
            state: row.try_get("state")?,
            passed: row.try_get("passed")?,
            rto_seconds: seconds(row.try_get("rto_ms")?),
            rpo_seconds: seconds(row.try_get("rpo_ms")?),
            started_at: Timestamp(row.try_get("started_at")?),
            by: row.try_get("started_by")?,
        })
    };
    rows.iter().map(line).collect::<Result<_, sqlx::Error>>().map_err(|e| fault(e, UNREAD))
}

/// A report, its digest, the one before, and its signature.
pub(super) type Stored = (String, String, Option<String>, String);

/// The report of a drill that is over.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn report(db: &Db, id: &str) -> Verb<Option<Stored>> {
    let row = sqlx::query(REPORT).bind(id).fetch_optional(db.reader()).await.map_err(|e| fault(e, UNREAD))?;
    let stored = |row: &SqliteRow| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?));
    row.as_ref().map(stored).transpose().map_err(|e: sqlx::Error| fault(e, UNREAD))
}

/// Digest of the newest report.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn last(db: &Db) -> Verb<Option<String>> {
    sqlx::query_scalar(LAST).fetch_optional(db.reader()).await.map_err(|e| fault(e, UNREAD))
}
