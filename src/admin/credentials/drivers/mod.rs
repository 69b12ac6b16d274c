//! What each kind of credential does for a step of its rotation. A driver looks before it acts, and acting twice is acting once; it knows nothing of
//! states, leases and times. Never decides when the old one ends.

mod client;
mod issuer;
mod postgres;
mod recipient;
mod tls;
mod token_key;
mod upstream;
mod webhook;

use std::pin::Pin;

pub(super) use client::places;
pub(super) use issuer::sent as issued_and_sent;
pub(super) use postgres::named as named_in_variables;
pub(super) use tls::version_of;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kinds::{self, Kind};
use super::machine::{Class, Drain, Seen, Step};
use super::model::Rotation;
use crate::admin::Admin;
use crate::admin::clients::single::Form;
use crate::base::fault::{Fault, FaultKind, Verb};
use crate::base::secret::Secret;

/// Why a step failed.
#[derive(Debug)]
pub(super) struct Trouble {
    /// Whether it may work later.
    pub class: Class,
    /// In a sentence, without a secret.
    pub said: String,
}

impl Trouble {
    /// It may work later.
    pub(super) fn transient(said: impl Into<String>) -> Self {
        Self { class: Class::Transient, said: said.into() }
    }

    /// Somebody must change something first.
    pub(super) fn permanent(said: impl Into<String>) -> Self {
        Self { class: Class::Permanent, said: said.into() }
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        let later = matches!(fault.kind, FaultKind::Unavailable | FaultKind::Conflict);
        let class = if later { Class::Transient } else { Class::Permanent };
        Self { class, said: fault.to_string() }
    }
}

/// What is kept sealed of a rotation until it is over.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The new secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// What brings the old one back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept(•••)")
    }
}

impl Kept {
    /// Sealed for one rotation.
    pub(super) fn seal(&self, admin: &Admin, id: &str) -> Verb<Option<Vec<u8>>> {
        if self.secret.is_none() && self.old.is_none() {
            return Ok(None);
        }
        let plain = serde_json::to_vec(self).map_err(|e| Fault::bug("a new secret cannot be written").because(e))?;
        admin.sealer.seal(&label(id), &zeroize::Zeroizing::new(plain), admin.entropy.as_ref()).map(Some)
    }

    /// What a row holds.
    pub(super) fn open(admin: &Admin, row: &Rotation) -> Verb<Self> {
        let Some(sealed) = &row.sealed else { return Ok(Self::default()) };
        let plain = admin.sealer.open(&label(&row.id), sealed)?;
        serde_json::from_slice(plain.reveal()).map_err(|e| Fault::bug("a sealed rotation cannot be understood").because(e))
    }
}

fn label(id: &str) -> String {
    format!("rotation/{id}")
}

/// A rotation on the way.
pub(super) struct Scene<'a> {
    /// Everything a verb may use.
    pub admin: &'a Admin,
    /// The row.
    pub row: &'a Rotation,
    /// The credential's name without its kind.
    pub name: &'a str,
    /// What is kept sealed of it.
    pub kept: Kept,
}

impl Scene<'_> {
    /// The new secret.
    ///
    /// # Errors
    /// When it was handed over already, or never came.
    pub(super) fn secret(&self) -> Result<Secret<String>, Trouble> {
        let secret = self.kept.secret.clone().map(Secret::new);
        secret.ok_or_else(|| Trouble::permanent("the new secret is not here any more"))
    }

    /// The public name of the new version.
    ///
    /// # Errors
    /// When there is none yet.
    pub(super) fn new_version(&self) -> Result<&str, Trouble> {
        self.row.new.as_deref().ok_or_else(|| Trouble::permanent("the new version has no name"))
    }
}

/// A new version.
#[derive(Debug)]
pub(super) struct Minted {
    /// Its public name.
    pub version: String,
    /// What is kept sealed of it.
    pub kept: Kept,
    /// What is kept of it that is no secret.
    pub facts: Value,
    /// Whether somebody must pick the secret up.
    pub to_fetch: bool,
}

/// What came of minting.
#[derive(Debug)]
pub(super) enum Mint {
    /// There is a new version.
    Made(Box<Minted>),
    /// Somebody must bring it.
    Waits(String),
}

/// Work of a driver.
pub(super) type Doing<'a, T> = Pin<Box<dyn Future<Output = Result<T, Trouble>> + Send + 'a>>;

/// What a kind of credential does for the steps of its rotation.
pub(super) trait Driver: Send + Sync {
    /// The versions that are accepted now, newest first; each of them was seen to be (I5), and the names of what the new one must be for (I7).
    fn current<'a>(&'a self, admin: &'a Admin, name: &'a str) -> Doing<'a, Vec<String>>;

    /// Makes a new version, with no effect on anything.
    fn mint<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Mint>;

    /// Whether install, promote or retire holds already.
    fn probe<'a>(&'a self, scene: &'a Scene<'a>, step: Step) -> Doing<'a, Seen>;

    /// Does install, verify, promote, retire or prove; twice is once. Gives what was seen.
    fn apply<'a>(&'a self, scene: &'a Scene<'a>, step: Step) -> Doing<'a, Value>;

    /// Who uses which version.
    fn drain<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Drain>;

    /// Takes the new version back, wherever the rotation is; twice is once.
    fn undo<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Value>;

    /// What somebody brings, checked; gives what is to be kept, and a sentence.
    fn supply<'a>(&'a self, scene: &'a Scene<'a>, value: Secret<String>) -> Doing<'a, (Kept, &'static str)> {
        let (_, _) = (scene, value);
        Box::pin(async { Err(Trouble::permanent("nothing has to be brought for this credential")) })
    }

    /// The kids of the versions, when they are shown at the proxy.
    fn is_shown_at_proxy(&self) -> bool {
        false
    }
}

/// The driver of a kind; `None` for what Lifeboat does not replace.
pub(super) fn of(kind: Kind) -> Option<&'static dyn Driver> {
    match kind {
        Kind::ClientKey => Some(&client::OfClients(Form::Key)),
        Kind::ClientSecret => Some(&client::OfClients(Form::Secret)),
        Kind::TokenKey => Some(&token_key::TokenKeys),
        Kind::Tls => Some(&tls::ServerCertificate),
        Kind::Webhook => Some(&webhook::Receivers),
        Kind::Upstream => Some(&upstream::Upstreams),
        Kind::Recipient => Some(&recipient::Recipients),
        Kind::Http => Some(&issuer::Issuers(Kind::Http)),
        Kind::Command => Some(&issuer::Issuers(Kind::Command)),
        Kind::Postgres => Some(&postgres::Databases),
        _ => None,
    }
}

/// Whether what a rotation has to hand over counts still: nobody is given a key that was revoked meanwhile.
///
/// # Errors
/// `Conflict` when it does not.
pub(super) fn counts(admin: &Admin, row: &Rotation) -> Verb<()> {
    let form = match kinds::parse(&row.credential)?.0 {
        Kind::ClientKey => Form::Key,
        Kind::ClientSecret => Form::Secret,
        _ => return Ok(()),
    };
    let counts = row.new.as_deref().is_some_and(|kid| form.counts(&admin.feed.snapshot(), kid));
    let ended = || Fault::conflict(format!("the new one was revoked meanwhile: rotate {} to issue another", row.credential));
    counts.then_some(()).ok_or_else(ended)
}

/// Ends a credential of another system at once. Gives the database roles that can log in no more, and what servers are sent no more.
///
/// # Errors
/// What does not hold yet: no server is sent it all the same.
pub(super) async fn end(admin: &Admin, kind: Kind, name: &str) -> Verb<(Vec<String>, Vec<String>)> {
    match kind {
        Kind::Http | Kind::Command => Ok((Vec::new(), issuer::end(admin, kind, name).await?)),
        _ => Ok((postgres::end(admin, name).await?, Vec::new())),
    }
}
