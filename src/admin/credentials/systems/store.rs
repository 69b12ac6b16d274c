//! The SQL of what this host needs at other systems. Never holds a secret that is not sealed.

use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::db::{Db, fault};

const READ: &str = "SELECT sealed FROM credential_systems WHERE name = ?1";
const SET: &str = "INSERT INTO credential_systems (name, sealed, stored_at, stored_by) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed, stored_at = excluded.stored_at, stored_by = excluded.stored_by";

/// Every statement, for the test that keeps SQL and migrations together.
pub const STATEMENTS: [(&str, &str); 2] = [("credential_systems.read", READ), ("credential_systems.set", SET)];

/// What is kept for a system.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn read(db: &Db, name: &str) -> Verb<Option<Vec<u8>>> {
    let found = sqlx::query_scalar(READ).bind(name).fetch_optional(db.reader()).await;
    found.map_err(|e| fault(e, "what this host keeps for other systems cannot be read"))
}

/// Keeps it.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn set(db: &Db, name: &str, sealed: &[u8], (now, by): (Timestamp, &str)) -> Verb<()> {
    let done = sqlx::query(SET).bind(name).bind(sealed).bind(now.0).bind(by).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, "what this host keeps for other systems cannot be stored"))
}
