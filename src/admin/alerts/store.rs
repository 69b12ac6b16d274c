//! The SQL of alerts. One is open for one thing at a time; it is never removed. What is to be told of a change is written in the same transaction.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::Alert;
use super::outbox::{self, Drops, Notice};
use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::db::{Db, fault};

const OPEN: &str = "INSERT INTO alerts (id, rule, object, text, mend, opened_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT (rule, object) WHERE resolved_at IS NULL DO NOTHING";
const SAY: &str = "UPDATE alerts SET text = ?3 WHERE rule = ?1 AND object = ?2 AND resolved_at IS NULL";
const RESOLVE: &str = "UPDATE alerts SET resolved_at = ?2 WHERE id = ?1 AND resolved_at IS NULL";
const ACK: &str = "UPDATE alerts SET acked_at = ?2, acked_by = ?3 WHERE id = ?1 AND acked_at IS NULL
    RETURNING id, rule, object, text, mend, opened_at, acked_at, acked_by, resolved_at";
const LIST: &str = "SELECT id, rule, object, text, mend, opened_at, acked_at, acked_by, resolved_at FROM alerts
    WHERE (?1 = 0 OR resolved_at IS NULL) ORDER BY resolved_at IS NOT NULL, opened_at DESC, id DESC LIMIT ?2";

/// Every statement, for the test that keeps SQL and migrations together.
pub const STATEMENTS: [(&str, &str); 5] =
    [("alerts.open", OPEN), ("alerts.say", SAY), ("alerts.resolve", RESOLVE), ("alerts.ack", ACK), ("alerts.list", LIST)];

const UNSET: &str = "the alert cannot be stored";

/// Opens an alert, unless one is open for the same thing: then it says what is so now. `None` when it is not new.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn open(db: &Db, alert: &Alert, told: impl FnOnce() -> Vec<Notice>) -> Verb<Option<Drops>> {
    let mut tx = db.begin().await?;
    let row = sqlx::query(OPEN).bind(&alert.id).bind(&alert.rule).bind(&alert.object).bind(&alert.text).bind(&alert.mend);
    let new = row.bind(alert.opened_at.0).execute(&mut *tx).await.map_err(|e| fault(e, UNSET))?.rows_affected() > 0;
    let drops = if new {
        Some(outbox::store::put(&mut tx, &told(), (outbox::MOST, alert.opened_at)).await?)
    } else {
        let row = sqlx::query(SAY).bind(&alert.rule).bind(&alert.object).bind(&alert.text);
        row.execute(&mut *tx).await.map_err(|e| fault(e, UNSET))?;
        None
    };
    tx.commit().await.map_err(|e| fault(e, UNSET))?;
    Ok(drops)
}

/// It is no longer so.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn resolve(db: &Db, id: &str, now: Timestamp, told: impl FnOnce() -> Vec<Notice>) -> Verb<Drops> {
    let mut tx = db.begin().await?;
    let done = sqlx::query(RESOLVE).bind(id).bind(now.0).execute(&mut *tx).await.map_err(|e| fault(e, UNSET))?;
    let notices = if done.rows_affected() > 0 { told() } else { Vec::new() };
    let drops = outbox::store::put(&mut tx, &notices, (outbox::MOST, now)).await?;
    tx.commit().await.map_err(|e| fault(e, UNSET))?;
    Ok(drops)
}

/// Somebody has seen it; `None` when there was none to see.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn ack(
    db: &Db,
    id: &str,
    (now, by): (Timestamp, &str),
    told: impl FnOnce(&Alert) -> Vec<Notice>,
) -> Verb<Option<Drops>> {
    let mut tx = db.begin().await?;
    let row = sqlx::query(ACK).bind(id).bind(now.0).bind(by).fetch_optional(&mut *tx).await.map_err(|e| fault(e, UNSET))?;
    let Some(row) = row else { return Ok(None) };
    let seen = alert(&row).map_err(|e| fault(e, UNSET))?;
    let drops = outbox::store::put(&mut tx, &told(&seen), (outbox::MOST, now)).await?;
    tx.commit().await.map_err(|e| fault(e, UNSET))?;
    Ok(Some(drops))
}

/// Alerts, open ones first, then newest first.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn list(db: &Db, open_only: bool, limit: u32) -> Verb<Vec<Alert>> {
    let what = "the alerts cannot be read";
    let rows = sqlx::query(LIST).bind(open_only).bind(limit).fetch_all(db.reader()).await.map_err(|e| fault(e, what))?;
    rows.iter().map(alert).collect::<Result<_, sqlx::Error>>().map_err(|e| fault(e, what))
}

fn alert(row: &SqliteRow) -> Result<Alert, sqlx::Error> {
    let maybe = |column: &str| row.try_get::<Option<i64>, _>(column).map(|at| at.map(Timestamp));
    let (acked_at, resolved_at) = (maybe("acked_at")?, maybe("resolved_at")?);
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
}
