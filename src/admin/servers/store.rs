//! The SQL of what this host keeps about servers: sealed headers and variables, approved command lines.

use std::collections::{BTreeMap, HashMap};

use sqlx::Row;

use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::db::{Db, fault};

const READ_SECRETS: &str = "SELECT server, sealed FROM server_secrets";
const READ_APPROVALS: &str = "SELECT server, digest FROM server_approvals";
const SET_SECRET: &str = "INSERT INTO server_secrets (server, sealed, stored_at) VALUES (?1, ?2, ?3)
    ON CONFLICT (server) DO UPDATE SET sealed = excluded.sealed, stored_at = excluded.stored_at";
const SET_APPROVAL: &str = "INSERT INTO server_approvals (server, digest, approved_at, approved_by) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (server) DO UPDATE SET digest = excluded.digest, approved_at = excluded.approved_at, approved_by = excluded.approved_by";
const DENY_SECRET: &str = "DELETE FROM server_secrets WHERE server = ?1 AND stored_at < ?2";
const READ_STORED: &str = "SELECT server, stored_at FROM server_secrets";
const DROP_SECRET: &str = "DELETE FROM server_secrets WHERE server = ?1";
const DROP_APPROVAL: &str = "DELETE FROM server_approvals WHERE server = ?1";

/// Every statement, for the test that keeps SQL and migrations together.
pub const STATEMENTS: [(&str, &str); 8] = [
    ("servers.read_secrets", READ_SECRETS),
    ("servers.read_approvals", READ_APPROVALS),
    ("servers.set_secret", SET_SECRET),
    ("servers.set_approval", SET_APPROVAL),
    ("servers.read_stored", READ_STORED),
    ("servers.drop_secret", DROP_SECRET),
    ("servers.drop_approval", DROP_APPROVAL),
    ("servers.deny_secret", DENY_SECRET),
];

const READ: &str = "what this host keeps about servers cannot be read";

/// Sealed headers and variables by server.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn secrets(db: &Db) -> Verb<HashMap<String, Vec<u8>>> {
    let rows = sqlx::query(READ_SECRETS).fetch_all(db.reader()).await.map_err(|e| fault(e, READ))?;
    let pair = |row: &sqlx::sqlite::SqliteRow| Ok((row.try_get("server")?, row.try_get("sealed")?));
    rows.iter().map(pair).collect::<Result<_, sqlx::Error>>().map_err(|e| fault(e, READ))
}

/// When something was last stored for each server.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn stored(db: &Db) -> Verb<HashMap<String, i64>> {
    let rows: Vec<(String, i64)> = sqlx::query_as(READ_STORED).fetch_all(db.reader()).await.map_err(|e| fault(e, READ))?;
    Ok(rows.into_iter().collect())
}

/// Approved digests by server.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn approvals(db: &Db) -> Verb<HashMap<String, String>> {
    let rows = sqlx::query(READ_APPROVALS).fetch_all(db.reader()).await.map_err(|e| fault(e, READ))?;
    let pair = |row: &sqlx::sqlite::SqliteRow| Ok((row.try_get("server")?, row.try_get("digest")?));
    rows.iter().map(pair).collect::<Result<_, sqlx::Error>>().map_err(|e| fault(e, READ))
}

/// Stores sealed headers and variables.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn set_secret(db: &Db, server: &str, sealed: &[u8], now: Timestamp) -> Verb<()> {
    let done = sqlx::query(SET_SECRET).bind(server).bind(sealed).bind(now.0).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, "the server's secrets cannot be stored"))
}

/// Stores an approval.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn set_approval(db: &Db, server: &str, digest: &str, now: Timestamp, by: &str) -> Verb<()> {
    let done = sqlx::query(SET_APPROVAL).bind(server).bind(digest).bind(now.0).bind(by).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, "the approval cannot be stored"))
}

/// Drops what was kept for servers before a moment. Gives for how many something was.
///
/// # Errors
/// When the database does not answer; nothing of it has then happened.
pub(in crate::admin) async fn deny(db: &Db, before: &BTreeMap<String, Timestamp>) -> Verb<u64> {
    let what = "the server's secrets cannot be removed";
    let (mut tx, mut dropped) = (db.begin().await?, 0);
    for (server, before) in before {
        let done = sqlx::query(DENY_SECRET).bind(server).bind(before.0).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
        dropped += done.rows_affected();
    }
    tx.commit().await.map_err(|e| fault(e, what))?;
    Ok(dropped)
}

/// Forgets a server.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin) async fn forget(db: &Db, server: &str) -> Verb<()> {
    let what = "the server's secrets cannot be removed";
    let mut tx = db.begin().await?;
    sqlx::query(DROP_SECRET).bind(server).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    sqlx::query(DROP_APPROVAL).bind(server).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    tx.commit().await.map_err(|e| fault(e, what))
}
