//! The SQL of client keys. Holds hashes only; a row is never deleted.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::model::ClientKey;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::db::{Db, fault};
use crate::policy::snapshot::KeyEntry;

const READ_RUNNING: &str = "SELECT kid, client, hash, expires_at FROM client_keys WHERE revoked_at IS NULL";
const READ_ALL: &str = "SELECT kid, client, created_at, created_by, expires_at, revoked_at, revoked_by FROM client_keys
    ORDER BY created_at DESC, kid";
const ADD: &str = "INSERT INTO client_keys (kid, client, hash, created_at, created_by, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const DROP: &str = "DELETE FROM client_keys WHERE kid = ?1";
const REVOKE: &str =
    "UPDATE client_keys SET revoked_at = ?2, revoked_by = ?3 WHERE client = ?1 AND revoked_at IS NULL RETURNING kid";
const RAISE_EPOCH: &str = "UPDATE credential_epoch SET epoch = epoch + 1 WHERE id = 1";

/// Every statement, for the test that keeps SQL and migrations together.
pub const STATEMENTS: [(&str, &str); 6] = [
    ("clients.read_running", READ_RUNNING),
    ("clients.read_all", READ_ALL),
    ("clients.add", ADD),
    ("clients.drop", DROP),
    ("clients.revoke", REVOKE),
    ("clients.raise_epoch", RAISE_EPOCH),
];

/// A key to store.
pub(super) struct NewKey<'a> {
    /// Its public name.
    pub kid: &'a str,
    /// Whose it is.
    pub client: &'a str,
    /// SHA-256 of its text.
    pub hash: [u8; 32],
    /// When it was minted.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: &'a str,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

/// Keys that are not revoked, for the snapshot; expired ones too, so that they are refused as expired.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin) async fn running(db: &Db) -> Verb<Vec<KeyEntry>> {
    let what = "the client keys cannot be read";
    let rows = sqlx::query(READ_RUNNING).fetch_all(db.reader()).await.map_err(|e| fault(e, what))?;
    let entry = |row: &SqliteRow| {
        let read = |e| fault(e, what);
        let hash: &[u8] = row.try_get("hash").map_err(read)?;
        Ok(KeyEntry {
            kid: row.try_get::<&str, _>("kid").map_err(read)?.into(),
            client: row.try_get::<&str, _>("client").map_err(read)?.into(),
            hash: hash.try_into().map_err(|_| Fault::bug("a client key has a hash of the wrong size"))?,
            expires_at: row.try_get::<Option<i64>, _>("expires_at").map_err(read)?.map(Timestamp),
        })
    };
    rows.iter().map(entry).collect()
}

/// Every key there ever was, newest first.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn all(db: &Db, now: Timestamp) -> Verb<Vec<ClientKey>> {
    let what = "the client keys cannot be read";
    let rows = sqlx::query(READ_ALL).fetch_all(db.reader()).await.map_err(|e| fault(e, what))?;
    let key = |row: &SqliteRow| {
        let read = |e| fault(e, what);
        let expires_at = row.try_get::<Option<i64>, _>("expires_at").map_err(read)?.map(Timestamp);
        let revoked_at = row.try_get::<Option<i64>, _>("revoked_at").map_err(read)?.map(Timestamp);
        let expired = expires_at.is_some_and(|at| at <= now);
        let state = if revoked_at.is_some() {
            "revoked"
        } else if expired {
            "expired"
        } else {
            "active"
        };
        Ok(ClientKey {
            kid: row.try_get("kid").map_err(read)?,
            client: row.try_get("client").map_err(read)?,
            state: state.to_owned(),
            created_at: row.try_get("created_at").map(Timestamp).map_err(read)?,
            created_by: row.try_get("created_by").map_err(read)?,
            expires_at,
            last_used_at: None,
            revoked_at,
            revoked_by: row.try_get("revoked_by").map_err(read)?,
        })
    };
    rows.iter().map(key).collect()
}

/// Stores a key and raises the epoch.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn add(db: &Db, key: &NewKey<'_>) -> Verb<()> {
    let what = "the client key cannot be stored";
    let mut tx = db.begin().await?;
    let row = sqlx::query(ADD).bind(key.kid).bind(key.client).bind(key.hash.as_slice()).bind(key.created_at.0);
    let row = row.bind(key.created_by).bind(key.expires_at.map(|at| at.0));
    row.execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    sqlx::query(RAISE_EPOCH).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    tx.commit().await.map_err(|e| fault(e, what))
}

/// Takes back a key that nobody ever saw.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn take_back(db: &Db, kid: &str) -> Verb<()> {
    let done = sqlx::query(DROP).bind(kid).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, "the unused key cannot be removed"))
}

/// Revokes every key of a client and raises the epoch; gives their names.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn revoke(db: &Db, client: &str, now: Timestamp, by: &str) -> Verb<Vec<String>> {
    let what = "the keys cannot be revoked";
    let mut tx = db.begin().await?;
    let kids: Vec<String> =
        sqlx::query_scalar(REVOKE).bind(client).bind(now.0).bind(by).fetch_all(&mut *tx).await.map_err(|e| fault(e, what))?;
    sqlx::query(RAISE_EPOCH).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    tx.commit().await.map_err(|e| fault(e, what))?;
    Ok(kids)
}
