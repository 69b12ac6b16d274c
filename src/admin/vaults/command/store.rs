//! The SQL of what this host keeps about vaults that are the output of a command: sealed variables.

use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::db::{Db, fault};

const READ_SECRET: &str = "SELECT sealed FROM vault_secrets WHERE vault = ?1";
const SET_SECRET: &str = "INSERT INTO vault_secrets (vault, sealed, stored_at) VALUES (?1, ?2, ?3)
    ON CONFLICT (vault) DO UPDATE SET sealed = excluded.sealed, stored_at = excluded.stored_at";
const DROP_SECRET: &str = "DELETE FROM vault_secrets WHERE vault = ?1";

/// Every statement, for the test that keeps SQL and migrations together.
pub const STATEMENTS: [(&str, &str); 3] = [
    ("vault_commands.read_secret", READ_SECRET),
    ("vault_commands.set_secret", SET_SECRET),
    ("vault_commands.drop_secret", DROP_SECRET),
];

const READ: &str = "what this host keeps about vaults cannot be read";

/// Sealed variables of a vault.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn secret(db: &Db, vault: &str) -> Verb<Option<Vec<u8>>> {
    sqlx::query_scalar(READ_SECRET).bind(vault).fetch_optional(db.reader()).await.map_err(|e| fault(e, READ))
}

/// Stores sealed variables.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn set_secret(db: &Db, vault: &str, sealed: &[u8], now: Timestamp) -> Verb<()> {
    let done = sqlx::query(SET_SECRET).bind(vault).bind(sealed).bind(now.0).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, "the vault's variables cannot be stored"))
}

/// Forgets the variables of a vault.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn forget(db: &Db, vault: &str) -> Verb<()> {
    let done = sqlx::query(DROP_SECRET).bind(vault).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, "what was kept for the vault cannot be removed"))
}
