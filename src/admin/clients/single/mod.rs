//! Single keys of clients, for rotations and revocations: one more beside the others, one less, all that were issued since a moment. A client itself
//! is never added or removed here.

mod store;

pub use store::STATEMENTS;

use super::DAY_MS;
use super::model::ClientKey;
use crate::admin::Admin;
use crate::admin::publish::{deny, publish};
use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::policy::snapshot::Revision;

/// A key that is to count: everything about it but its text.
#[derive(Clone, Debug)]
pub(in crate::admin) struct Fresh {
    /// Its public name.
    pub kid: String,
    /// Whose it is.
    pub client: String,
    /// SHA-256 of its text.
    pub hash: [u8; 32],
    /// When it was minted.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

/// Every key of a client, newest first; revoked and expired ones too.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin) async fn of(admin: &Admin, client: &str) -> Verb<Vec<ClientKey>> {
    let all = super::store::all(&admin.db, admin.clock.now()).await?;
    Ok(all.into_iter().filter(|key| key.client == client).collect())
}

/// Every key there ever was, newest first.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin) async fn all(admin: &Admin) -> Verb<Vec<ClientKey>> {
    super::store::all(&admin.db, admin.clock.now()).await
}

/// How long a successor of a key lives: as long as the key itself was meant to.
pub(in crate::admin) fn lifetime_ms(key: &ClientKey) -> Option<i64> {
    key.expires_at.map(|end| end.since_ms(key.created_at).max(DAY_MS))
}

/// Has a key count beside the others of its client; the second time nothing happens. When it returns, the policy holds it.
///
/// # Errors
/// When database or repository do not answer.
pub(in crate::admin) async fn install(admin: &Admin, key: &Fresh) -> Verb<Revision> {
    store::install(&admin.db, key).await?;
    publish(admin).await
}

/// Ends one key; the second time nothing happens. Calls that are in flight with it end as they would. When it returns, the policy does not
/// hold it.
///
/// # Errors
/// When database or repository do not answer.
pub(in crate::admin) async fn retire(admin: &Admin, kid: &str, by: &str) -> Verb<Revision> {
    store::end(&admin.db, &[kid.to_owned()], (admin.clock.now(), by)).await?;
    publish(admin).await
}

/// Takes a key away that nobody was ever given.
///
/// # Errors
/// When database or repository do not answer.
pub(in crate::admin) async fn take_back(admin: &Admin, kid: &str) -> Verb<()> {
    super::store::take_back(&admin.db, kid).await?;
    publish(admin).await.map(|_| ())
}

/// Ends keys at once, and cuts what they have in flight: memory first, then the database.
///
/// # Errors
/// When the database does not answer: they are refused all the same, until a restart.
pub(in crate::admin) async fn cut(admin: &Admin, kids: &[String], by: &str) -> Verb<()> {
    deny(admin, kids);
    store::end(&admin.db, kids, (admin.clock.now(), by)).await
}
