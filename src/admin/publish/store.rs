//! The reconciler's SQL: the credential epoch and the last applied commit.

use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::db::{Db, fault};

const READ_EPOCH: &str = "SELECT epoch FROM credential_epoch WHERE id = 1";
const READ_APPLIED: &str = "SELECT commit_id FROM applied_revision WHERE id = 1";
const SET_APPLIED: &str = "INSERT INTO applied_revision (id, commit_id, applied_at) VALUES (1, ?1, ?2)
    ON CONFLICT (id) DO UPDATE SET commit_id = excluded.commit_id, applied_at = excluded.applied_at";

/// Every statement, for the test that keeps SQL and migrations together.
pub const STATEMENTS: [(&str, &str); 3] =
    [("publish.read_epoch", READ_EPOCH), ("publish.read_applied", READ_APPLIED), ("publish.set_applied", SET_APPLIED)];

/// The credential epoch.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn epoch(db: &Db) -> Verb<u64> {
    let epoch: i64 =
        sqlx::query_scalar(READ_EPOCH).fetch_one(db.reader()).await.map_err(|e| fault(e, "cannot read the credential epoch"))?;
    Ok(u64::try_from(epoch).unwrap_or(0))
}

/// The commit that last became a running policy.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn applied(db: &Db) -> Verb<Option<String>> {
    let row = sqlx::query_scalar(READ_APPLIED).fetch_optional(db.reader()).await;
    row.map_err(|e| fault(e, "cannot read the last applied revision"))
}

/// Remembers the commit that became the running policy.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn set_applied(db: &Db, commit: &str, now: Timestamp) -> Verb<()> {
    let done = sqlx::query(SET_APPLIED).bind(commit).bind(now.0).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, "cannot remember the applied revision"))
}
