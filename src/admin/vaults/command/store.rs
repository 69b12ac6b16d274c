//! The SQL of what this host keeps about vaults that are the output of a command: sealed variables, approved command lines.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::db::{Db, fault};

const READ_SECRET: &str = "SELECT sealed FROM vault_secrets WHERE vault = ?1";
const READ_APPROVALS: &str = "SELECT vault, digest FROM vault_approvals";
const SET_SECRET: &str = "INSERT INTO vault_secrets (vault, sealed, stored_at) VALUES (?1, ?2, ?3)
    ON CONFLICT (vault) DO UPDATE SET sealed = excluded.sealed, stored_at = excluded.stored_at";
const SET_APPROVAL: &str = "INSERT INTO vault_approvals (vault, digest, approved_at, approved_by) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (vault) DO UPDATE SET digest = excluded.digest, approved_at = excluded.approved_at, approved_by = excluded.approved_by";
const DROP_SECRET: &str = "DELETE FROM vault_secrets WHERE vault = ?1";
const DROP_APPROVAL: &str = "DELETE FROM vault_approvals WHERE vault = ?1";
const DROP_APPROVALS: &str = "DELETE FROM vault_approvals";

/// Every statement, for the test that keeps SQL and migrations together.
pub const STATEMENTS: [(&str, &str); 7] = [
    ("vault_commands.read_secret", READ_SECRET),
    ("vault_commands.read_approvals", READ_APPROVALS),
    ("vault_commands.set_secret", SET_SECRET),
    ("vault_commands.set_approval", SET_APPROVAL),
    ("vault_commands.drop_secret", DROP_SECRET),
    ("vault_commands.drop_approval", DROP_APPROVAL),
    ("vault_commands.drop_approvals", DROP_APPROVALS),
];

const READ: &str = "what this host keeps about vaults cannot be read";

/// Sealed variables of a vault.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn secret(db: &Db, vault: &str) -> Verb<Option<Vec<u8>>> {
    sqlx::query_scalar(READ_SECRET).bind(vault).fetch_optional(db.reader()).await.map_err(|e| fault(e, READ))
}

/// Approved digests by vault.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn approvals(db: &Db) -> Verb<HashMap<String, String>> {
    let rows = sqlx::query(READ_APPROVALS).fetch_all(db.reader()).await.map_err(|e| fault(e, READ))?;
    let pair = |row: &SqliteRow| Ok((row.try_get("vault")?, row.try_get("digest")?));
    rows.iter().map(pair).collect::<Result<_, sqlx::Error>>().map_err(|e| fault(e, READ))
}

/// Stores sealed variables.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn set_secret(db: &Db, vault: &str, sealed: &[u8], now: Timestamp) -> Verb<()> {
    let done = sqlx::query(SET_SECRET).bind(vault).bind(sealed).bind(now.0).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, "the vault's variables cannot be stored"))
}

/// Stores an approval.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn set_approval(db: &Db, vault: &str, digest: &str, now: Timestamp, by: &str) -> Verb<()> {
    let done = sqlx::query(SET_APPROVAL).bind(vault).bind(digest).bind(now.0).bind(by).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, "the approval cannot be stored"))
}

/// Forgets a vault.
///
/// # Errors
/// When the database does not answer; nothing of it has then happened.
pub(super) async fn forget(db: &Db, vault: &str) -> Verb<()> {
    let what = "what was kept for the vault cannot be removed";
    let mut tx = db.begin().await?;
    sqlx::query(DROP_SECRET).bind(vault).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    sqlx::query(DROP_APPROVAL).bind(vault).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    tx.commit().await.map_err(|e| fault(e, what))
}

/// Ends every approval.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn forget_approvals(db: &Db) -> Verb<()> {
    let done = sqlx::query(DROP_APPROVALS).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, "the approvals cannot be ended"))
}
