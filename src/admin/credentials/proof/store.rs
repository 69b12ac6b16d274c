//! The SQL of proofs. A report is stored as it was signed and never changed.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::model::ProofLine;
use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::db::{Db, fault};

const ADD: &str = "INSERT INTO rotation_proofs (id, made_at, made_by, passed, report, chart, sha256, prev, signature)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
const LAST: &str = "SELECT sha256 FROM rotation_proofs ORDER BY made_at DESC, id DESC LIMIT 1";
const LIST: &str = "SELECT id, made_at, made_by, passed FROM rotation_proofs ORDER BY made_at DESC, id DESC LIMIT ?1";
const REPORT: &str = "SELECT report, sha256, prev, signature FROM rotation_proofs WHERE id = ?1";
const CHART: &str = "SELECT chart FROM rotation_proofs WHERE id = ?1";

/// Every statement, for the test that keeps SQL and migrations together.
pub const STATEMENTS: [(&str, &str); 5] =
    [("proofs.add", ADD), ("proofs.last", LAST), ("proofs.list", LIST), ("proofs.report", REPORT), ("proofs.chart", CHART)];

const UNREAD: &str = "the proofs cannot be read";

/// A report to store.
pub(super) struct New<'a> {
    /// In the list.
    pub line: &'a ProofLine,
    /// JSON as it was signed.
    pub report: &'a str,
    /// SVG.
    pub chart: &'a str,
    /// SHA-256 of the report.
    pub sha256: &'a str,
    /// Of the one before.
    pub prev: Option<&'a str>,
    /// Ed25519, base64.
    pub signature: &'a str,
}

/// Stores a report.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn add(db: &Db, new: &New<'_>) -> Verb<()> {
    let row = sqlx::query(ADD).bind(&new.line.id).bind(new.line.made_at.0).bind(&new.line.made_by).bind(new.line.passed);
    let row = row.bind(new.report).bind(new.chart).bind(new.sha256).bind(new.prev).bind(new.signature);
    row.execute(db.writer()).await.map(|_| ()).map_err(|e| fault(e, "the proof cannot be stored"))
}

/// Digest of the newest report.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn last(db: &Db) -> Verb<Option<String>> {
    sqlx::query_scalar(LAST).fetch_optional(db.reader()).await.map_err(|e| fault(e, UNREAD))
}

/// The newest reports.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn list(db: &Db, limit: u32) -> Verb<Vec<ProofLine>> {
    let rows = sqlx::query(LIST).bind(limit).fetch_all(db.reader()).await.map_err(|e| fault(e, UNREAD))?;
    let line = |row: &SqliteRow| {
        Ok(ProofLine {
            id: row.try_get("id")?,
            made_at: Timestamp(row.try_get("made_at")?),
            made_by: row.try_get("made_by")?,
            passed: row.try_get("passed")?,
        })
    };
    rows.iter().map(line).collect::<Result<_, sqlx::Error>>().map_err(|e| fault(e, UNREAD))
}

/// A report, its digest, the one before, and its signature.
pub(super) type Stored = (String, String, Option<String>, String);

/// One report.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn report(db: &Db, id: &str) -> Verb<Option<Stored>> {
    sqlx::query_as(REPORT).bind(id).fetch_optional(db.reader()).await.map_err(|e| fault(e, UNREAD))
}

/// The chart of one report.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn chart(db: &Db, id: &str) -> Verb<Option<String>> {
    sqlx::query_scalar(CHART).bind(id).fetch_optional(db.reader()).await.map_err(|e| fault(e, UNREAD))
}
