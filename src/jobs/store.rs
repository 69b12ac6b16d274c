//! The SQL of slots. A slot's row is written before its work begins.

use sqlx::Row;

use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::db::{Db, fault};

const LAST: &str = "SELECT max(due_at) FROM occurrences WHERE job = ?1";
const TAKE: &str = "INSERT INTO occurrences (job, due_at, state, reason, started_at) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (job, due_at) DO NOTHING";
const END: &str = "UPDATE occurrences SET state = ?3, reason = ?4, ended_at = ?5 WHERE job = ?1 AND due_at = ?2";
const INTERRUPT: &str = "UPDATE occurrences SET state = 'interrupted', ended_at = ?1 WHERE state = 'running'";
const BEGUN: &str = "SELECT min(due_at) FROM occurrences WHERE job = ?1";
const NEWEST: &str = "SELECT due_at, state, reason, started_at, ended_at FROM occurrences WHERE job = ?1 AND state <> 'begun'
    ORDER BY due_at DESC LIMIT 1";

/// Every statement, for the test that keeps SQL and migrations together.
pub const STATEMENTS: [(&str, &str); 6] = [
    ("jobs.begun", BEGUN),
    ("jobs.last", LAST),
    ("jobs.take", TAKE),
    ("jobs.end", END),
    ("jobs.interrupt", INTERRUPT),
    ("jobs.newest", NEWEST),
];

const UNREAD: &str = "the schedule's slots cannot be read";
const UNSET: &str = "the schedule's slot cannot be stored";

/// One slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// When it was due.
    pub due_at: Timestamp,
    /// `running`, `done`, `failed`, `skipped` or `interrupted`.
    pub state: String,
    /// What came of it.
    pub reason: Option<String>,
    /// When its work began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// The newest slot of a job that was dealt with, or the moment its schedule began.
///
/// # Errors
/// When the database does not answer.
pub async fn last(db: &Db, job: &str) -> Verb<Option<Timestamp>> {
    let last: Option<i64> = sqlx::query_scalar(LAST).bind(job).fetch_one(db.reader()).await.map_err(|e| fault(e, UNREAD))?;
    Ok(last.map(Timestamp))
}

/// When the schedule of a job began on this deployment.
///
/// # Errors
/// When the database does not answer.
pub async fn begun(db: &Db, job: &str) -> Verb<Option<Timestamp>> {
    let first: Option<i64> = sqlx::query_scalar(BEGUN).bind(job).fetch_one(db.reader()).await.map_err(|e| fault(e, UNREAD))?;
    Ok(first.map(Timestamp))
}

/// The newest slot of a job that had work.
///
/// # Errors
/// When the database does not answer.
pub async fn newest(db: &Db, job: &str) -> Verb<Option<Occurrence>> {
    let row = sqlx::query(NEWEST).bind(job).fetch_optional(db.reader()).await.map_err(|e| fault(e, UNREAD))?;
    let read = |row: &sqlx::sqlite::SqliteRow| {
        Ok(Occurrence {
            due_at: Timestamp(row.try_get(0)?),
            state: row.try_get(1)?,
            reason: row.try_get(2)?,
            started_at: row.try_get::<Option<i64>, _>(3)?.map(Timestamp),
            ended_at: row.try_get::<Option<i64>, _>(4)?.map(Timestamp),
        })
    };
    row.as_ref().map(read).transpose().map_err(|e: sqlx::Error| fault(e, UNREAD))
}

/// Takes a slot; whether it was free.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn take(db: &Db, job: &str, due: Timestamp, (state, reason): (&str, Option<&str>), now: Timestamp) -> Verb<bool> {
    let row = sqlx::query(TAKE).bind(job).bind(due.0).bind(state).bind(reason).bind(now.0);
    row.execute(db.writer()).await.map(|done| done.rows_affected() > 0).map_err(|e| fault(e, UNSET))
}

/// A slot's work is over.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn end(db: &Db, job: &str, due: Timestamp, (state, reason): (&str, &str), now: Timestamp) -> Verb<()> {
    let row = sqlx::query(END).bind(job).bind(due.0).bind(state).bind(reason).bind(now.0);
    row.execute(db.writer()).await.map(|_| ()).map_err(|e| fault(e, UNSET))
}

/// What was running when this process was not.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn interrupt(db: &Db, now: Timestamp) -> Verb<()> {
    sqlx::query(INTERRUPT).bind(now.0).execute(db.writer()).await.map(|_| ()).map_err(|e| fault(e, UNSET))
}
