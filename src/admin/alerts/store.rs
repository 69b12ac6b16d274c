//! The SQL of alerts. One is open for one thing at a time; it is never removed.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::Alert;
use super::rules::Finding;
use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::db::{Db, fault};

const OPEN: &str = "INSERT INTO alerts (id, rule, object, text, mend, opened_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT (rule, object) WHERE resolved_at IS NULL DO NOTHING";
const SAY: &str = "UPDATE alerts SET text = ?3 WHERE rule = ?1 AND object = ?2 AND resolved_at IS NULL";
const RESOLVE: &str = "UPDATE alerts SET resolved_at = ?2 WHERE id = ?1 AND resolved_at IS NULL";
const ACK: &str = "UPDATE alerts SET acked_at = ?2, acked_by = ?3 WHERE id = ?1 AND acked_at IS NULL";
const LIST: &str = "SELECT id, rule, object, text, mend, opened_at, acked_at, acked_by, resolved_at FROM alerts
    WHERE (?1 = 0 OR resolved_at IS NULL) ORDER BY resolved_at IS NOT NULL, opened_at DESC, id DESC LIMIT ?2";

/// Every statement, for the test that keeps SQL and migrations together.
pub const STATEMENTS: [(&str, &str); 5] =
    [("alerts.open", OPEN), ("alerts.say", SAY), ("alerts.resolve", RESOLVE), ("alerts.ack", ACK), ("alerts.list", LIST)];

const UNSET: &str = "the alert cannot be stored";

/// Opens an alert, unless one is open for the same thing: then it says what is so now. Whether it is new.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn open(db: &Db, id: &str, finding: &Finding, now: Timestamp) -> Verb<bool> {
    let row = sqlx::query(OPEN).bind(id).bind(finding.rule).bind(&finding.object).bind(&finding.text).bind(finding.mend);
    let new = row.bind(now.0).execute(db.writer()).await.map_err(|e| fault(e, UNSET))?.rows_affected() > 0;
    if !new {
        let row = sqlx::query(SAY).bind(finding.rule).bind(&finding.object).bind(&finding.text);
        row.execute(db.writer()).await.map_err(|e| fault(e, UNSET))?;
    }
    Ok(new)
}

/// It is no longer so.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn resolve(db: &Db, id: &str, now: Timestamp) -> Verb<()> {
    sqlx::query(RESOLVE).bind(id).bind(now.0).execute(db.writer()).await.map(|_| ()).map_err(|e| fault(e, UNSET))
}

/// Somebody has seen it; whether there was one to see.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn ack(db: &Db, id: &str, now: Timestamp, by: &str) -> Verb<bool> {
    let done = sqlx::query(ACK).bind(id).bind(now.0).bind(by).execute(db.writer()).await;
    done.map(|done| done.rows_affected() > 0).map_err(|e| fault(e, UNSET))
}

/// Alerts, open ones first, then newest first.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn list(db: &Db, open_only: bool, limit: u32) -> Verb<Vec<Alert>> {
    let what = "the alerts cannot be read";
    let rows = sqlx::query(LIST).bind(open_only).bind(limit).fetch_all(db.reader()).await.map_err(|e| fault(e, what))?;
    let maybe = |row: &SqliteRow, column: &str| row.try_get::<Option<i64>, _>(column).map(|at| at.map(Timestamp));
    let alert = |row: &SqliteRow| {
        let (acked_at, resolved_at) = (maybe(row, "acked_at")?, maybe(row, "resolved_at")?);
        let state = match (resolved_at, acked_at) {
            (Some(_), _) => "resolved",
            (None, Some(_)) => "acknowledged",
            (None, None) => "open",
        };
        Ok(Alert {
            id: row.try_get("id")?,
            rule: row.try_get("rule")?,
            object: row.try_get("object")?,
            state: state.to_owned(),
            text: row.try_get("text")?,
            mend: row.try_get("mend")?,
            opened_at: Timestamp(row.try_get("opened_at")?),
            acked_at,
            acked_by: row.try_get("acked_by")?,
            resolved_at,
        })
    };
    rows.iter().map(alert).collect::<Result<_, sqlx::Error>>().map_err(|e| fault(e, what))
}
