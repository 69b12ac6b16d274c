//! The SQL of single keys and secrets of clients. Holds hashes only; a row is never deleted.

use super::{Form, Fresh};
use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::db::{Db, fault};

const INSTALL_KEY: &str =
    "INSERT INTO client_keys (kid, client, hash, created_at, created_by, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT (kid) DO NOTHING";
const INSTALL_SECRET: &str =
    "INSERT INTO client_secrets (kid, client, hash, created_at, created_by, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT (kid) DO NOTHING";
const END_KEY: &str = "UPDATE client_keys SET revoked_at = ?2, revoked_by = ?3 WHERE kid = ?1 AND revoked_at IS NULL";
const END_SECRET: &str = "UPDATE client_secrets SET revoked_at = ?2, revoked_by = ?3 WHERE kid = ?1 AND revoked_at IS NULL";
const RAISE_EPOCH: &str = "UPDATE credential_epoch SET epoch = epoch + 1 WHERE id = 1";

/// Every statement, for the test that keeps SQL and migrations together.
pub const STATEMENTS: [(&str, &str); 5] = [
    ("client_keys.install", INSTALL_KEY),
    ("client_keys.install_secret", INSTALL_SECRET),
    ("client_keys.end", END_KEY),
    ("client_keys.end_secret", END_SECRET),
    ("client_keys.raise_epoch", RAISE_EPOCH),
];

/// Stores one unless it is there, and raises the epoch.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn install(db: &Db, form: Form, fresh: &Fresh) -> Verb<()> {
    let what = "the credential of the client cannot be stored";
    let mut tx = db.begin().await?;
    let sql = if form == Form::Key { INSTALL_KEY } else { INSTALL_SECRET };
    let row = sqlx::query(sql).bind(&fresh.kid).bind(&fresh.client).bind(fresh.hash.as_slice()).bind(fresh.created_at.0);
    let row = row.bind(&fresh.created_by).bind(fresh.expires_at.map(|at| at.0));
    row.execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    sqlx::query(RAISE_EPOCH).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    tx.commit().await.map_err(|e| fault(e, what))
}

/// Ends keys and secrets and raises the epoch; those that are over stay as they ended. A name is in one of the two tables.
///
/// # Errors
/// When the database does not answer; then none of them is ended there.
pub(super) async fn end(db: &Db, kids: &[String], (now, by): (Timestamp, &str)) -> Verb<()> {
    let what = "the credentials of clients cannot be ended";
    let mut tx = db.begin().await?;
    for kid in kids {
        for sql in [END_KEY, END_SECRET] {
            sqlx::query(sql).bind(kid).bind(now.0).bind(by).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
        }
    }
    sqlx::query(RAISE_EPOCH).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    tx.commit().await.map_err(|e| fault(e, what))
}
