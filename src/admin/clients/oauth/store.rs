//! SQL of what clients show at the token endpoint: secrets as hashes, public keys that must not count again.

use std::collections::HashSet;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::super::store::NewKey;
use super::model::ClientSecret;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::db::{Db, fault};
use crate::policy::tokens::SecretEntry;

const READ_RUNNING: &str = "SELECT kid, client, hash, expires_at FROM client_secrets WHERE revoked_at IS NULL";
const READ_ALL: &str = "SELECT kid, client, created_at, created_by, expires_at, revoked_at, revoked_by FROM client_secrets
    ORDER BY created_at DESC, kid";
const ADD: &str =
    "INSERT INTO client_secrets (kid, client, hash, created_at, created_by, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const DROP: &str = "DELETE FROM client_secrets WHERE kid = ?1";
const REVOKE: &str = "UPDATE client_secrets SET revoked_at = ?2, revoked_by = ?3 WHERE kid = ?1 AND revoked_at IS NULL";
const REVOKE_CLIENT: &str =
    "UPDATE client_secrets SET revoked_at = ?2, revoked_by = ?3 WHERE client = ?1 AND revoked_at IS NULL RETURNING kid";
const READ_DENIED: &str = "SELECT id FROM denied_jwks";
const DENY: &str = "INSERT INTO denied_jwks (id, client, denied_at, denied_by) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO NOTHING";
const RAISE_EPOCH: &str = "UPDATE credential_epoch SET epoch = epoch + 1 WHERE id = 1";

/// Every statement, for the test that keeps SQL and migrations together.
pub const STATEMENTS: [(&str, &str); 9] = [
    ("clients.oauth.read_running", READ_RUNNING),
    ("clients.oauth.read_all", READ_ALL),
    ("clients.oauth.add", ADD),
    ("clients.oauth.drop", DROP),
    ("clients.oauth.revoke", REVOKE),
    ("clients.oauth.revoke_client", REVOKE_CLIENT),
    ("clients.oauth.read_denied", READ_DENIED),
    ("clients.oauth.deny", DENY),
    ("clients.oauth.raise_epoch", RAISE_EPOCH),
];

/// Secrets that are not revoked, for the snapshot; expired ones too, so that they are refused as expired.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin) async fn running(db: &Db) -> Verb<Vec<SecretEntry>> {
    let what = "the client secrets cannot be read";
    let rows = sqlx::query(READ_RUNNING).fetch_all(db.reader()).await.map_err(|e| fault(e, what))?;
    let entry = |row: &SqliteRow| {
        let read = |e| fault(e, what);
        let hash: &[u8] = row.try_get("hash").map_err(read)?;
        Ok(SecretEntry {
            kid: row.try_get::<&str, _>("kid").map_err(read)?.into(),
            client: row.try_get::<&str, _>("client").map_err(read)?.into(),
            hash: hash.try_into().map_err(|_| Fault::bug("a client secret has a hash of the wrong size"))?,
            expires_at: row.try_get::<Option<i64>, _>("expires_at").map_err(read)?.map(Timestamp),
        })
    };
    rows.iter().map(entry).collect()
}

/// Every secret there ever was, newest first.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin::clients) async fn all(db: &Db, now: Timestamp) -> Verb<Vec<ClientSecret>> {
    let what = "the client secrets cannot be read";
    let rows = sqlx::query(READ_ALL).fetch_all(db.reader()).await.map_err(|e| fault(e, what))?;
    let secret = |row: &SqliteRow| {
        let read = |e| fault(e, what);
        let moment = |name: &str| row.try_get::<Option<i64>, _>(name).map(|at| at.map(Timestamp)).map_err(read);
        let (expires_at, revoked_at) = (moment("expires_at")?, moment("revoked_at")?);
        let state = match (revoked_at, expires_at) {
            (Some(_), _) => "revoked",
            (None, Some(end)) if end <= now => "expired",
            _ => "active",
        };
        Ok(ClientSecret {
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
    rows.iter().map(secret).collect()
}

/// Stores a secret and raises the epoch.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn add(db: &Db, secret: &NewKey<'_>) -> Verb<()> {
    let what = "the client secret cannot be stored";
    let mut tx = db.begin().await?;
    let row = sqlx::query(ADD).bind(secret.kid).bind(secret.client).bind(secret.hash.as_slice()).bind(secret.created_at.0);
    let row = row.bind(secret.created_by).bind(secret.expires_at.map(|at| at.0));
    row.execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    sqlx::query(RAISE_EPOCH).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    tx.commit().await.map_err(|e| fault(e, what))
}

/// Takes back a secret that nobody ever saw.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn take_back(db: &Db, kid: &str) -> Verb<()> {
    let done = sqlx::query(DROP).bind(kid).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, "the unused secret cannot be removed"))
}

/// Revokes a secret and raises the epoch; whether it counted before.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn revoke(db: &Db, kid: &str, now: Timestamp, by: &str) -> Verb<bool> {
    let what = "the secret cannot be revoked";
    let mut tx = db.begin().await?;
    let done = sqlx::query(REVOKE).bind(kid).bind(now.0).bind(by).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    sqlx::query(RAISE_EPOCH).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    tx.commit().await.map_err(|e| fault(e, what))?;
    Ok(done.rows_affected() > 0)
}

/// Revokes every secret of a client, and has its public keys never count again; gives the names of the secrets.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn revoke_client(db: &Db, (client, jwks): (&str, &[String]), now: Timestamp, by: &str) -> Verb<Vec<String>> {
    let what = "the secrets cannot be revoked";
    let mut tx = db.begin().await?;
    let revoking = sqlx::query_scalar(REVOKE_CLIENT).bind(client).bind(now.0).bind(by);
    let kids: Vec<String> = revoking.fetch_all(&mut *tx).await.map_err(|e| fault(e, what))?;
    for id in jwks {
        let deny = sqlx::query(DENY).bind(id).bind(client).bind(now.0).bind(by);
        deny.execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    }
    // Together with its keys, which have raised the epoch.
    tx.commit().await.map_err(|e| fault(e, what))?;
    Ok(kids)
}

/// Has public keys never count again, and raises the epoch.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn deny(db: &Db, (client, jwks): (&str, &[String]), now: Timestamp, by: &str) -> Verb<()> {
    let what = "the public key cannot be refused";
    let mut tx = db.begin().await?;
    for id in jwks {
        let deny = sqlx::query(DENY).bind(id).bind(client).bind(now.0).bind(by);
        deny.execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    }
    sqlx::query(RAISE_EPOCH).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    tx.commit().await.map_err(|e| fault(e, what))
}

/// Public keys that must not count again, by what the ledger calls them.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin) async fn denied(db: &Db) -> Verb<HashSet<String>> {
    let rows = sqlx::query_scalar::<_, String>(READ_DENIED).fetch_all(db.reader()).await;
    rows.map(|rows| rows.into_iter().collect()).map_err(|e| fault(e, "the refused public keys cannot be read"))
}
