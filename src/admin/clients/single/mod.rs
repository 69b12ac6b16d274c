//! Single credentials of clients, keys and secrets alike, for rotations and revocations: one more beside the others, one less. They are two tables of one shape.
//! A client itself is never added or removed here.

mod store;

pub use store::STATEMENTS;

use super::{DAY_MS, oauth};
use crate::admin::Admin;
use crate::admin::publish::{deny, publish};
use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::crypto::keys::KeyPrefix;
use crate::policy::Snapshot;
use crate::policy::snapshot::Revision;

/// In which form a client shows who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admin) enum Form {
    /// A key, with every call.
    Key,
    /// A secret, for the tokens it calls with.
    Secret,
}

impl Form {
    /// What its text begins with.
    pub(in crate::admin) fn prefix(self) -> KeyPrefix {
        match self {
            Self::Key => KeyPrefix::Client,
            Self::Secret => KeyPrefix::Secret,
        }
    }

    /// For people.
    pub(in crate::admin) fn word(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Secret => "secret",
        }
    }

    /// Whether the running policy has one of this form and name.
    pub(in crate::admin) fn counts(self, snapshot: &Snapshot, kid: &str) -> bool {
        match self {
            Self::Key => snapshot.keys.contains_key(kid),
            Self::Secret => snapshot.tokens.secrets.contains_key(kid),
        }
    }
}

/// A key or secret as it is stored: everything about it but its hash.
#[derive(Clone, Debug)]
pub(in crate::admin) struct Held {
    /// Its public name.
    pub kid: String,
    /// Whose it is.
    pub client: String,
    /// `active`, `expired` or `revoked`.
    pub state: String,
    /// When it was minted.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

/// A key or secret that is to count: everything about it but its text.
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

/// Every one of a client, newest first; revoked and expired ones too.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin) async fn of(admin: &Admin, form: Form, client: &str) -> Verb<Vec<Held>> {
    let mut all = all(admin, form).await?;
    all.retain(|one| one.client == client);
    Ok(all)
}

/// Every one there ever was, newest first.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin) async fn all(admin: &Admin, form: Form) -> Verb<Vec<Held>> {
    let now = admin.clock.now();
    Ok(match form {
        Form::Key => {
            let keys = super::store::all(&admin.db, now).await?.into_iter();
            let held = |key: super::ClientKey| (key.kid, key.client, key.state, key.created_at, key.expires_at);
            keys.map(held).map(Held::of).collect()
        }
        Form::Secret => {
            let secrets = oauth::all(&admin.db, now).await?.into_iter();
            let held =
                |secret: oauth::ClientSecret| (secret.kid, secret.client, secret.state, secret.created_at, secret.expires_at);
            secrets.map(held).map(Held::of).collect()
        }
    })
}

impl Held {
    fn of((kid, client, state, created_at, expires_at): (String, String, String, Timestamp, Option<Timestamp>)) -> Self {
        Self { kid, client, state, created_at, expires_at }
    }

    /// How long a successor lives: as long as this one itself was meant to.
    pub(in crate::admin) fn lifetime_ms(&self) -> Option<i64> {
        self.expires_at.map(|end| end.since_ms(self.created_at).max(DAY_MS))
    }
}

/// Has one count beside the others of its client; the second time nothing happens. When it returns, the policy holds it.
///
/// # Errors
/// When database or repository do not answer.
pub(in crate::admin) async fn install(admin: &Admin, form: Form, fresh: &Fresh) -> Verb<Revision> {
    store::install(&admin.db, form, fresh).await?;
    publish(admin).await
}

/// Ends one; the second time nothing happens. Calls that are in flight with a key end as they would; the tokens of a secret end with it. When it
/// returns, the policy does not hold it.
///
/// # Errors
/// When database or repository do not answer.
pub(in crate::admin) async fn retire(admin: &Admin, kid: &str, by: &str) -> Verb<Revision> {
    store::end(&admin.db, &[kid.to_owned()], (admin.clock.now(), by)).await?;
    publish(admin).await
}

/// Takes one away that nobody was ever given.
///
/// # Errors
/// When database or repository do not answer.
pub(in crate::admin) async fn take_back(admin: &Admin, form: Form, kid: &str) -> Verb<()> {
    match form {
        Form::Key => super::store::take_back(&admin.db, kid).await?,
        Form::Secret => oauth::take_back(admin, kid).await?,
    }
    publish(admin).await.map(|_| ())
}

/// Ends keys and secrets at once, and cuts what they have in flight: memory first, then the database.
///
/// # Errors
/// When the database does not answer: they are refused all the same, until a restart.
pub(in crate::admin) async fn cut(admin: &Admin, kids: &[String], by: &str) -> Verb<()> {
    deny(admin, kids);
    store::end(&admin.db, kids, (admin.clock.now(), by)).await
}
