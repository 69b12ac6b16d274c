//! The SQL of what this host keeps about receivers of alerts: sealed secrets, and who said 410 Gone.

use sqlx::Row;

use super::Kept;
use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::db::{Db, fault};

const READ: &str = "SELECT sealed, minted_at, old, old_until, paused_at, paused_url FROM alert_receivers WHERE name = ?1";
const NEW: &str = "INSERT INTO alert_receivers (name, sealed, minted_at) VALUES (?1, ?2, ?3)
    ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed, minted_at = excluded.minted_at, old = NULL, old_until = NULL,
    paused_at = NULL, paused_url = NULL";
const ROLL: &str = "UPDATE alert_receivers SET old = sealed, old_until = ?4, sealed = ?2, minted_at = ?3 WHERE name = ?1";
const END_OLD: &str = "UPDATE alert_receivers SET old = NULL, old_until = NULL WHERE name = ?1";
const GO_BACK: &str = "UPDATE alert_receivers SET sealed = old, old = NULL, old_until = NULL WHERE name = ?1 AND old IS NOT NULL";
const PAUSE: &str = "UPDATE alert_receivers SET paused_at = ?2, paused_url = ?3 WHERE name = ?1";
const FORGET: &str = "DELETE FROM alert_receivers WHERE name = ?1";

/// Every statement, for the test that keeps SQL and migrations together.
pub const STATEMENTS: [(&str, &str); 7] = [
    ("receivers.read", READ),
    ("receivers.new", NEW),
    ("receivers.roll", ROLL),
    ("receivers.end_old", END_OLD),
    ("receivers.go_back", GO_BACK),
    ("receivers.pause", PAUSE),
    ("receivers.forget", FORGET),
];

const UNSET: &str = "the receiver's secret cannot be stored";

/// What is kept about a receiver.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn read(db: &Db, name: &str) -> Verb<Option<Kept>> {
    let what = "the receivers' secrets cannot be read";
    let row = sqlx::query(READ).bind(name).fetch_optional(db.reader()).await.map_err(|e| fault(e, what))?;
    let kept = |row: sqlx::sqlite::SqliteRow| {
        let maybe = |column: &str| row.try_get::<Option<i64>, _>(column).map(|at| at.map(Timestamp));
        Ok(Kept {
            sealed: row.try_get("sealed")?,
            minted_at: Timestamp(row.try_get("minted_at")?),
            old: row.try_get("old")?,
            old_until: maybe("old_until")?,
            paused_at: maybe("paused_at")?,
            paused_url: row.try_get("paused_url")?,
        })
    };
    row.map(kept).transpose().map_err(|e: sqlx::Error| fault(e, what))
}

/// Stores the first secret of a receiver, in place of everything that was kept under this name.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn put_new(db: &Db, name: &str, sealed: &[u8], now: Timestamp) -> Verb<()> {
    let done = sqlx::query(NEW).bind(name).bind(sealed).bind(now.0).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, UNSET))
}

/// Stores a secret beside the one before, which ends at `until`; whether there was one.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn roll(db: &Db, name: &str, sealed: &[u8], (now, until): (Timestamp, Timestamp)) -> Verb<bool> {
    let done = sqlx::query(ROLL).bind(name).bind(sealed).bind(now.0).bind(until.0).execute(db.writer()).await;
    done.map(|done| done.rows_affected() > 0).map_err(|e| fault(e, UNSET))
}

/// Forgets the secret before.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn end_old(db: &Db, name: &str) -> Verb<()> {
    let done = sqlx::query(END_OLD).bind(name).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, UNSET))
}

/// Puts the secret before in the place of the newest; whether there was one.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn go_back(db: &Db, name: &str) -> Verb<bool> {
    let done = sqlx::query(GO_BACK).bind(name).execute(db.writer()).await;
    done.map(|done| done.rows_affected() > 0).map_err(|e| fault(e, UNSET))
}

/// Pauses a receiver at a URL, or ends that.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn pause(db: &Db, name: &str, since: Option<(Timestamp, &str)>) -> Verb<()> {
    let (at, url) = (since.map(|(at, _)| at.0), since.map(|(_, url)| url));
    let done = sqlx::query(PAUSE).bind(name).bind(at).bind(url).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, UNSET))
}

/// Forgets what is kept about a receiver.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn forget(db: &Db, name: &str) -> Verb<()> {
    let done = sqlx::query(FORGET).bind(name).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, "the receiver's secret cannot be removed"))
}
