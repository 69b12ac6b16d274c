//! The SQL of what was approved on this host. Never holds a secret.

use std::collections::HashMap;

use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::db::{Db, fault};

const ALL: &str = "SELECT owner, digest FROM command_approvals";
const SET: &str = "INSERT INTO command_approvals (owner, digest, approved_at, approved_by) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (owner) DO UPDATE SET digest = excluded.digest, approved_at = excluded.approved_at, approved_by = excluded.approved_by";
const DROP: &str = "DELETE FROM command_approvals WHERE owner = ?1";
const DROP_ALL: &str = "DELETE FROM command_approvals";

/// Every statement, for the test that keeps SQL and migrations together.
pub const STATEMENTS: [(&str, &str); 4] = [
    ("command_approvals.all", ALL),
    ("command_approvals.set", SET),
    ("command_approvals.drop", DROP),
    ("command_approvals.drop_all", DROP_ALL),
];

const UNENDED: &str = "the approvals cannot be ended";

/// Approved digests by owner.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn all(db: &Db) -> Verb<HashMap<String, String>> {
    let rows: Vec<(String, String)> =
        sqlx::query_as(ALL).fetch_all(db.reader()).await.map_err(|e| fault(e, "what was approved on this host cannot be read"))?;
    Ok(rows.into_iter().collect())
}

/// Stores an approval.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn set(db: &Db, owner: &str, digest: &str, (now, by): (Timestamp, &str)) -> Verb<()> {
    let done = sqlx::query(SET).bind(owner).bind(digest).bind(now.0).bind(by).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, "the approval cannot be stored"))
}

/// Ends one.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn forget(db: &Db, owner: &str) -> Verb<()> {
    sqlx::query(DROP).bind(owner).execute(db.writer()).await.map(|_| ()).map_err(|e| fault(e, UNENDED))
}

/// Ends every one.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn forget_all(db: &Db) -> Verb<()> {
    sqlx::query(DROP_ALL).execute(db.writer()).await.map(|_| ()).map_err(|e| fault(e, UNENDED))
}
