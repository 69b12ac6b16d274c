//! The SQL of what this host needs at other systems. Never holds a secret that is not sealed.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::db::{Db, fault};

const READ: &str = "SELECT sealed, stored_at FROM credential_systems WHERE name = ?1";
const SET: &str = "INSERT INTO credential_systems (name, sealed, stored_at, stored_by) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed, stored_at = excluded.stored_at, stored_by = excluded.stored_by";

const ISSUE: &str = "INSERT INTO credential_issued (name, version, issued_id, issued_at) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (name, version) DO NOTHING";
const ISSUED: &str = "SELECT issued_id, ended_at FROM credential_issued WHERE name = ?1 AND version = ?2";
const LIVING: &str = "SELECT version, issued_id FROM credential_issued WHERE name = ?1 AND ended_at IS NULL ORDER BY issued_at";
const END: &str = "UPDATE credential_issued SET ended_at = coalesce(ended_at, ?3) WHERE name = ?1 AND version = ?2";

/// Every statement, for the test that keeps SQL and migrations together.
pub const STATEMENTS: [(&str, &str); 6] = [
    ("credential_systems.read", READ),
    ("credential_systems.set", SET),
    ("credential_issued.issue", ISSUE),
    ("credential_issued.issued", ISSUED),
    ("credential_issued.living", LIVING),
    ("credential_issued.end", END),
];

const UNREAD: &str = "which tokens an issuer made cannot be read";
const UNSET: &str = "which tokens an issuer made cannot be stored";

/// What is kept for a system, and since when.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn read(db: &Db, name: &str) -> Verb<Option<(Vec<u8>, Timestamp)>> {
    let found: Result<Option<(Vec<u8>, i64)>, _> = sqlx::query_as(READ).bind(name).fetch_optional(db.reader()).await;
    let found = found.map_err(|e| fault(e, "what this host keeps for other systems cannot be read"))?;
    Ok(found.map(|(sealed, at)| (sealed, Timestamp(at))))
}

/// Keeps it.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn set(db: &Db, name: &str, sealed: &[u8], (now, by): (Timestamp, &str)) -> Verb<()> {
    let done = sqlx::query(SET).bind(name).bind(sealed).bind(now.0).bind(by).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, "what this host keeps for other systems cannot be stored"))
}

/// Notes what an issuer calls a token.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin::credentials) async fn issue(db: &Db, (name, version): (&str, &str), id: &str, now: Timestamp) -> Verb<()> {
    let done = sqlx::query(ISSUE).bind(name).bind(version).bind(id).bind(now.0).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, UNSET))
}

/// What an issuer calls a token, and when it was told to end it.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin::credentials) async fn issued(
    db: &Db,
    (name, version): (&str, &str),
) -> Verb<Option<(String, Option<Timestamp>)>> {
    let row = sqlx::query(ISSUED).bind(name).bind(version).fetch_optional(db.reader()).await.map_err(|e| fault(e, UNREAD))?;
    let read = |row: &SqliteRow| {
        let ended: Option<i64> = row.try_get("ended_at")?;
        Ok((row.try_get("issued_id")?, ended.map(Timestamp)))
    };
    row.as_ref().map(read).transpose().map_err(|e: sqlx::Error| fault(e, UNREAD))
}

/// The tokens that an issuer was not told to end, by version and what it calls them.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin::credentials) async fn living(db: &Db, name: &str) -> Verb<Vec<(String, String)>> {
    let rows = sqlx::query(LIVING).bind(name).fetch_all(db.reader()).await.map_err(|e| fault(e, UNREAD))?;
    let pair = |row: &SqliteRow| Ok((row.try_get("version")?, row.try_get("issued_id")?));
    rows.iter().map(pair).collect::<Result<_, sqlx::Error>>().map_err(|e| fault(e, UNREAD))
}

/// Notes that an issuer ended a token; the first time counts.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin::credentials) async fn end(db: &Db, (name, version): (&str, &str), now: Timestamp) -> Verb<()> {
    let done = sqlx::query(END).bind(name).bind(version).bind(now.0).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, UNSET))
}
