//! The SQL of single client keys. Holds hashes only; a row is never deleted.

use super::Fresh;
use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::db::{Db, fault};

const INSTALL: &str =
    "INSERT INTO client_keys (kid, client, hash, created_at, created_by, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT (kid) DO NOTHING";
const END: &str = "UPDATE client_keys SET revoked_at = ?2, revoked_by = ?3 WHERE kid = ?1 AND revoked_at IS NULL";
const RAISE_EPOCH: &str = "UPDATE credential_epoch SET epoch = epoch + 1 WHERE id = 1";

/// Every statement, for the test that keeps SQL and migrations together.
pub const STATEMENTS: [(&str, &str); 3] =
    [("client_keys.install", INSTALL), ("client_keys.end", END), ("client_keys.raise_epoch", RAISE_EPOCH)];

/// Stores a key unless it is there, and raises the epoch.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn install(db: &Db, key: &Fresh) -> Verb<()> {
    let what = "the client key cannot be stored";
    let mut tx = db.begin().await?;
    let row = sqlx::query(INSTALL).bind(&key.kid).bind(&key.client).bind(key.hash.as_slice()).bind(key.created_at.0);
    let row = row.bind(&key.created_by).bind(key.expires_at.map(|at| at.0));
    row.execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    sqlx::query(RAISE_EPOCH).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    tx.commit().await.map_err(|e| fault(e, what))
}

/// Ends keys and raises the epoch; those that are over stay as they ended.
///
/// # Errors
/// When the database does not answer; then none of them is ended there.
pub(super) async fn end(db: &Db, kids: &[String], (now, by): (Timestamp, &str)) -> Verb<()> {
    let what = "the keys cannot be ended";
    let mut tx = db.begin().await?;
    for kid in kids {
        sqlx::query(END).bind(kid).bind(now.0).bind(by).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    }
    sqlx::query(RAISE_EPOCH).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    tx.commit().await.map_err(|e| fault(e, what))
}
