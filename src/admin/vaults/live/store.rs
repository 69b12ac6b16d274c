//! The SQL of restores in place. What happened stands in the ledger; here is only what later orders must know.

use std::collections::BTreeSet;

use sqlx::Row as _;

use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::db::{Db, fault};

const ADD: &str = "INSERT INTO restores (id, vault, archive, safety, started_at, started_by) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const READ_SAFETY: &str = "SELECT safety FROM restores WHERE vault = ?1";

/// Every statement, for the test that keeps SQL and migrations together.
pub const STATEMENTS: [(&str, &str); 2] = [("vaults.live.add", ADD), ("vaults.live.read_safety", READ_SAFETY)];

/// What one restore brings back, and which archive holds what was there.
pub(super) struct Begun<'a> {
    /// `rs_…`.
    pub id: &'a str,
    /// Which vault.
    pub vault: &'a str,
    /// What comes back.
    pub archive: &'a str,
    /// What was there.
    pub safety: &'a str,
    /// By whom.
    pub by: &'a str,
}

/// Remembers the archive that a restore has made of what was there.
///
/// # Errors
/// When the database does not take it.
pub(super) async fn add(db: &Db, begun: &Begun<'_>, at: Timestamp) -> Verb<()> {
    let Begun { id, vault, archive, safety, by } = *begun;
    let row = sqlx::query(ADD).bind(id).bind(vault).bind(archive).bind(safety).bind(at.0).bind(by);
    let mut tx = db.begin().await?;
    row.execute(&mut *tx).await.map_err(|e| fault(e, UNSET))?;
    tx.commit().await.map_err(|e| fault(e, UNSET))
}

const UNSET: &str = "the restore cannot be stored";

/// Archives of a vault that were made of what a restore replaced.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn safety(db: &Db, vault: &str) -> Verb<BTreeSet<String>> {
    let rows = sqlx::query(READ_SAFETY).bind(vault).fetch_all(db.reader()).await;
    let read = rows.and_then(|rows| rows.iter().map(|row| row.try_get("safety")).collect());
    read.map_err(|e| fault(e, "the restores cannot be read"))
}
