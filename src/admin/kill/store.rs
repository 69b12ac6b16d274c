//! The kill switch's SQL: what is stopped, its epoch, its history. Never the first to know: memory and the file come before it.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::model::{Kind, Past, ProofAt};
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::db::{Db, fault};
use crate::policy::{KillEntry, KillOverlay, Mode, Scope};

const READ_STATES: &str = "SELECT scope, mode, decision_id, since, by, reason FROM kill_states ORDER BY since, decision_id";
const READ_EPOCH: &str = "SELECT epoch FROM kill_epoch WHERE id = 1";
const CLEAR_STATES: &str = "DELETE FROM kill_states";
const ADD_STATE: &str = "INSERT INTO kill_states (scope, mode, decision_id, since, by, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const RAISE_EPOCH: &str = "UPDATE kill_epoch SET epoch = max(epoch, ?1) WHERE id = 1";
const ADD_PAST: &str = "INSERT INTO kill_history
    (decision_id, kind, scope, mode, engaged_at, by, reason, cut, effective, effective_ms, proofs)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
    ON CONFLICT (decision_id) DO UPDATE SET cut = excluded.cut, effective = excluded.effective,
    effective_ms = excluded.effective_ms, proofs = excluded.proofs";
const END_PAST: &str = "UPDATE kill_history SET released_at = ?2, released_by = ?3, release_reason = ?4, released_to = ?5
    WHERE scope = ?1 AND released_at IS NULL";
const READ_HISTORY: &str = "SELECT * FROM kill_history ORDER BY engaged_at DESC, decision_id DESC LIMIT ?1";
const READ_LAST_PROOF: &str =
    "SELECT * FROM kill_history WHERE effective IS NOT NULL ORDER BY engaged_at DESC, decision_id DESC LIMIT 1";

/// Every statement, for the test that keeps SQL and migrations together.
pub const STATEMENTS: [(&str, &str); 9] = [
    ("kill.read_states", READ_STATES),
    ("kill.read_epoch", READ_EPOCH),
    ("kill.clear_states", CLEAR_STATES),
    ("kill.add_state", ADD_STATE),
    ("kill.raise_epoch", RAISE_EPOCH),
    ("kill.add_past", ADD_PAST),
    ("kill.end_past", END_PAST),
    ("kill.read_history", READ_HISTORY),
    ("kill.read_last_proof", READ_LAST_PROOF),
];

/// How a release ends what the history has open.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    /// What was released.
    pub scope: Scope,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Down to this mode; `None` means wholly.
    pub to: Option<Mode>,
}

fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::ReadOnly => "read_only",
        Mode::Full => "full",
    }
}

fn scope_json(scope: &Scope) -> Verb<String> {
    serde_json::to_string(scope).map_err(|e| Fault::bug("a scope cannot be written").because(e))
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// What the database says is stopped.
///
/// # Errors
/// When it does not answer, or a row means nothing.
pub(super) async fn read(db: &Db) -> Verb<KillOverlay> {
    let what = "the kill state cannot be read";
    let rows = sqlx::query(READ_STATES).fetch_all(db.reader()).await.map_err(|e| fault(e, what))?;
    let epoch: i64 = sqlx::query_scalar(READ_EPOCH).fetch_one(db.reader()).await.map_err(|e| fault(e, what))?;
    let entries = rows.iter().map(entry_of).collect::<Verb<Vec<_>>>()?;
    Ok(KillOverlay { epoch: u64::try_from(epoch).unwrap_or(0), entries })
}

/// Makes the database say what memory says, and adds what it missed of the history.
///
/// # Errors
/// When it does not answer; nothing of it has then happened.
pub(super) async fn keep(db: &Db, overlay: &KillOverlay, missed: &[Past]) -> Verb<()> {
    replace(db, overlay, missed, None).await
}

/// Clears what a release ends, before anything else knows of it.
///
/// # Errors
/// When it does not answer; nothing of it has then happened.
pub(super) async fn release(db: &Db, overlay: &KillOverlay, ending: &Ending) -> Verb<()> {
    replace(db, overlay, &[], Some(ending)).await
}

async fn replace(db: &Db, overlay: &KillOverlay, missed: &[Past], ending: Option<&Ending>) -> Verb<()> {
    let what = "the kill state cannot be stored";
    let mut tx = db.begin().await?;
    sqlx::query(CLEAR_STATES).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    for entry in &overlay.entries {
        let row = sqlx::query(ADD_STATE).bind(scope_json(&entry.scope)?).bind(word(entry.mode)).bind(&entry.decision_id);
        let row = row.bind(entry.since.0).bind(&entry.by).bind(&entry.reason);
        row.execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    }
    sqlx::query(RAISE_EPOCH).bind(number(overlay.epoch)).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    for past in missed {
        let proofs = serde_json::to_string(&past.proofs).map_err(|e| Fault::bug("a proof cannot be written").because(e))?;
        let row = sqlx::query(ADD_PAST).bind(&past.decision_id).bind(past.kind.word()).bind(scope_json(&past.scope)?);
        let row = row.bind(word(past.mode)).bind(past.engaged_at.0).bind(&past.by).bind(&past.reason);
        let row = row.bind(i64::try_from(past.cut_in_flight).unwrap_or(i64::MAX)).bind(past.effective);
        let row = row.bind(past.effective_ms.map(number)).bind(past.effective.map(|_| proofs));
        row.execute(&mut *tx).await.map_err(|e| fault(e, what))?;
        if let Some(at) = past.released_at {
            let end = sqlx::query(END_PAST).bind(scope_json(&past.scope)?).bind(at.0).bind(&past.released_by);
            let end = end.bind(&past.release_reason).bind(None::<&str>);
            end.execute(&mut *tx).await.map_err(|e| fault(e, what))?;
        }
    }
    if let Some(ending) = ending {
        let end = sqlx::query(END_PAST).bind(scope_json(&ending.scope)?).bind(ending.at.0).bind(&ending.by);
        let end = end.bind(&ending.reason).bind(ending.to.map(word));
        end.execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    }
    tx.commit().await.map_err(|e| fault(e, what))
}

/// The newest orders.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn history(db: &Db, limit: u32) -> Verb<Vec<Past>> {
    let rows = sqlx::query(READ_HISTORY).bind(limit).fetch_all(db.reader()).await;
    rows.map_err(|e| fault(e, "the kill history cannot be read"))?.iter().map(past_of).collect()
}

/// The newest order whose proof is over.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn last_proved(db: &Db) -> Verb<Option<Past>> {
    let row = sqlx::query(READ_LAST_PROOF).fetch_optional(db.reader()).await;
    row.map_err(|e| fault(e, "the last kill proof cannot be read"))?.as_ref().map(past_of).transpose()
}

fn mode_of(text: &str) -> Verb<Mode> {
    match text {
        "read_only" => Ok(Mode::ReadOnly),
        "full" => Ok(Mode::Full),
        _ => Err(Fault::bug("the database has a kill of a mode that does not exist")),
    }
}

fn scope_of(text: &str) -> Verb<Scope> {
    serde_json::from_str(text).map_err(|e| Fault::bug("the database has a kill of a scope that does not exist").because(e))
}

fn entry_of(row: &SqliteRow) -> Verb<KillEntry> {
    let read = |e| fault(e, "a kill state cannot be read");
    Ok(KillEntry {
        decision_id: row.try_get("decision_id").map_err(read)?,
        scope: scope_of(row.try_get("scope").map_err(read)?)?,
        mode: mode_of(row.try_get("mode").map_err(read)?)?,
        since: Timestamp(row.try_get("since").map_err(read)?),
        by: row.try_get("by").map_err(read)?,
        reason: row.try_get("reason").map_err(read)?,
    })
}

fn past_of(row: &SqliteRow) -> Verb<Past> {
    let read = |e| fault(e, "the kill history cannot be read");
    let proofs: Option<&str> = row.try_get("proofs").map_err(read)?;
    let proofs: Vec<ProofAt> = proofs.map(serde_json::from_str).transpose().unwrap_or_default().unwrap_or_default();
    let kind: &str = row.try_get("kind").map_err(read)?;
    let count = |value: i64| usize::try_from(value).unwrap_or(0);
    Ok(Past {
        decision_id: row.try_get("decision_id").map_err(read)?,
        kind: if kind == "drill" { Kind::Drill } else { Kind::Order },
        scope: scope_of(row.try_get("scope").map_err(read)?)?,
        mode: mode_of(row.try_get("mode").map_err(read)?)?,
        engaged_at: Timestamp(row.try_get("engaged_at").map_err(read)?),
        by: row.try_get("by").map_err(read)?,
        reason: row.try_get("reason").map_err(read)?,
        cut_in_flight: row.try_get("cut").map(count).map_err(read)?,
        effective: row.try_get("effective").map_err(read)?,
        effective_ms: row.try_get::<Option<i64>, _>("effective_ms").map_err(read)?.map(|ms| u64::try_from(ms).unwrap_or(0)),
        proofs,
        released_at: row.try_get::<Option<i64>, _>("released_at").map_err(read)?.map(Timestamp),
        released_by: row.try_get("released_by").map_err(read)?,
        release_reason: row.try_get("release_reason").map_err(read)?,
    })
}
