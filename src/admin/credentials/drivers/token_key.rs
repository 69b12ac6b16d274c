//! The key that signs access tokens: the next one is published, and signs when everybody who keeps the published keys may know it; the one before ends when
//! its last token has expired. Nothing is handed over: clients get tokens with what they have. Never shows a private key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::super::canary::{self, Answer};
use super::super::machine::{Drain, Seen, Step};
use super::{Doing, Driver, Kept, Mint, Minted, Scene, Trouble};
use crate::admin::tokens::{self, Timing, TokenKey, single};
use crate::admin::{Actor, Admin};
use crate::base::fault::FaultKind;
use crate::base::secret::Secret;

/// The driver.
pub(super) struct TokenKeys;

/// The one there is.
const NAME: &str = "oauth";

fn actor() -> Actor {
    Actor::system("rotation")
}

async fn all(admin: &Admin) -> Result<Vec<TokenKey>, Trouble> {
    Ok(tokens::list(admin, &actor()).await?.keys)
}

impl Driver for TokenKeys {
    fn current<'a>(&'a self, admin: &'a Admin, name: &'a str) -> Doing<'a, Vec<String>> {
        Box::pin(async move {
            if name != NAME {
                return Err(Trouble::permanent(format!("the only key that signs tokens is token-key/{NAME}")));
            }
            let now = all(admin).await?.into_iter().find(|key| key.state == "current");
            let now = now.ok_or_else(|| Trouble::permanent("no key signs tokens now"))?;
            let witness = single::witness(admin, &now.kid).await?;
            accepted(admin, &now.kid, &witness).await?;
            Ok(vec![now.kid])
        })
    }

    fn mint<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Mint> {
        Box::pin(async move {
            let admin = scene.admin;
            let old = old(scene)?;
            let known = all(admin).await?;
            if !known.iter().any(|key| key.kid == old && key.state == "current") {
                return Err(Trouble::permanent(format!("key {old} does not sign any more: cancel, and rotate again")));
            }
            // Signed while it can be: when the old key has ended, nothing else could show that its tokens are refused.
            let witness = single::witness(admin, old).await?.reveal().clone();
            let staged = known.into_iter().find(|key| key.state == "next");
            let (version, secret, facts) = match staged {
                Some(staged) => (staged.kid, None, json!({ "staged_before": true })),
                None => {
                    let fresh = single::mint(admin.entropy.as_ref())?;
                    let private = BASE64.encode(fresh.private.reveal());
                    (fresh.kid, Some(private), json!({ "public": fresh.public }))
                }
            };
            let kept = Kept { secret, old: Some(witness) };
            Ok(Mint::Made(Box::new(Minted { version, kept, facts, to_fetch: false })))
        })
    }

    fn probe<'a>(&'a self, scene: &'a Scene<'a>, step: Step) -> Doing<'a, Seen> {
        Box::pin(async move {
            match step {
                Step::Install => published(scene).await,
                Step::Promote => signs(scene).await,
                _ => retired(scene).await,
            }
        })
    }

    fn apply<'a>(&'a self, scene: &'a Scene<'a>, step: Step) -> Doing<'a, Value> {
        Box::pin(async move {
            let admin = scene.admin;
            match step {
                Step::Install => {
                    let key = single::install(admin, &actor(), &fresh(scene)?).await?;
                    Ok(json!({ "published_at": key.created_at, "activates_at": key.activates_at }))
                }
                Step::Verify => verify(scene).await,
                Step::Promote => {
                    let timing = if scene.row.forced { Timing::Forced } else { Timing::Due };
                    let key = tokens::activate(admin, &actor(), scene.new_version()?, timing).await?;
                    Ok(json!({ "activated_at": key.activated_at, "forced": scene.row.forced }))
                }
                Step::Retire => retire(scene).await,
                _ => proved(scene).await,
            }
        })
    }

    fn drain<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Drain> {
        Box::pin(async move {
            let last = single::find(scene.admin, old(scene)?).await?.and_then(|key| key.last_expiry);
            // One that signed nothing has nothing left that could count.
            Ok(Drain { ends_at: Some(last.unwrap_or_default()), ..Drain::default() })
        })
    }

    fn undo<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Value> {
        Box::pin(async move {
            let Some(new) = &scene.row.new else { return Ok(json!({ "said": "no key was made" })) };
            let went_back = single::go_back(scene.admin, &actor(), (new, scene.row.old.first().map(String::as_str))).await?;
            Ok(json!({ "went_back": went_back, "removed": new }))
        })
    }
}

fn old<'a>(scene: &'a Scene<'_>) -> Result<&'a str, Trouble> {
    scene.row.old.first().map(String::as_str).ok_or_else(|| Trouble::permanent("the old key has no name"))
}

fn fresh(scene: &Scene<'_>) -> Result<single::Fresh, Trouble> {
    let unread = |_| Trouble::permanent("the new key cannot be read back");
    let private = BASE64.decode(scene.secret()?.reveal()).map_err(|_| Trouble::permanent("the new key cannot be read back"))?;
    let public = serde_json::from_value(scene.row.facts["public"].clone()).map_err(unread)?;
    Ok(single::Fresh { kid: scene.new_version()?.to_owned(), private: Secret::new(private), public })
}

async fn new(scene: &Scene<'_>) -> Result<Option<TokenKey>, Trouble> {
    Ok(single::find(scene.admin, scene.new_version()?).await?)
}

async fn published(scene: &Scene<'_>) -> Result<Seen, Trouble> {
    let Some(key) = new(scene).await? else { return Ok(Seen::Not) };
    if key.state == "retired" {
        return Err(Trouble::permanent(format!("the new key {} was removed: cancel, and rotate again", key.kid)));
    }
    let is_known = scene.admin.feed.snapshot().tokens.verifiers.contains_key(key.kid.as_str());
    let seen = json!({ "published_at": key.created_at, "activates_at": key.activates_at });
    Ok(if is_known { Seen::Holds(seen) } else { Seen::Not })
}

/// Whether the new key signs; before everybody may know it, it must not, but for whoever says so.
async fn signs(scene: &Scene<'_>) -> Result<Seen, Trouble> {
    let gone = || Trouble::permanent("the new key was removed or replaced meanwhile: roll back, and rotate again");
    let key = new(scene).await?.ok_or_else(gone)?;
    let signer = scene.admin.feed.snapshot().tokens.signer.as_ref().map(|signer| signer.kid.clone());
    match key.state.as_str() {
        "current" if signer.as_deref() == Some(key.kid.as_str()) => {
            Ok(Seen::Holds(json!({ "signs": key.kid, "activated_at": key.activated_at })))
        }
        "current" => Ok(Seen::Not),
        "next" if scene.row.forced || key.activates_at <= scene.admin.clock.now() => Ok(Seen::Not),
        "next" => {
            let why = "the new key is published, and signs when everybody who keeps the published keys may know it";
            Ok(Seen::NotBefore(key.activates_at, why.to_owned()))
        }
        _ => Err(gone()),
    }
}

/// A token of the new key is let in at every listener, as a client would show it; and how one of the old key is answered, before that ends.
async fn verify(scene: &Scene<'_>) -> Result<Value, Trouble> {
    let kid = scene.new_version()?;
    let witness = single::witness(scene.admin, kid).await?;
    let seen = accepted(scene.admin, kid, &witness).await?;
    let mut evidence = json!({ "accepted": told(kid, &seen) });
    if let (Some(old), Some(witness)) = (scene.row.old.first(), scene.kept.old.clone()) {
        evidence["old"] = told(old, &canary::bear_witness(scene.admin, old, &Secret::new(witness)).await?).into();
    }
    Ok(evidence)
}

/// The old one ends when nothing of it counts; earlier only where somebody said that it must.
async fn retire(scene: &Scene<'_>) -> Result<Value, Trouble> {
    let old = old(scene)?;
    match tokens::retire(scene.admin, &actor(), old).await {
        Ok(key) => Ok(json!({ "retired": old, "last_token_expired_at": key.last_expiry })),
        Err(fault) if fault.kind == FaultKind::Conflict && scene.row.forced => {
            tokens::remove(scene.admin, &actor(), old).await?;
            Ok(json!({ "removed": old, "said": "its last tokens ended with it; their clients get new ones" }))
        }
        Err(fault) => Err(fault.into()),
    }
}

async fn retired(scene: &Scene<'_>) -> Result<Seen, Trouble> {
    let old = old(scene)?;
    let state = single::find(scene.admin, old).await?.map(|key| key.state);
    let counts = scene.admin.feed.snapshot().tokens.verifiers.contains_key(old);
    if counts || state.is_some_and(|state| state != "retired") {
        return Ok(Seen::Not);
    }
    Ok(Seen::Holds(json!({ "ended": old, "rejected": rejected(scene).await? })))
}

/// Both sides: a token of the new key is accepted at every listener, one of the old key is refused.
async fn proved(scene: &Scene<'_>) -> Result<Value, Trouble> {
    let kid = scene.new_version()?;
    let witness = single::witness(scene.admin, kid).await?;
    let seen = accepted(scene.admin, kid, &witness).await?;
    Ok(json!({ "accepted": told(kid, &seen), "rejected": rejected(scene).await? }))
}

async fn accepted(admin: &Admin, kid: &str, witness: &Secret<String>) -> Result<Vec<Answer>, Trouble> {
    let seen = canary::bear_witness(admin, kid, witness).await?;
    match seen.iter().find(|answer| !answer.accepted) {
        Some(answer) => {
            Err(Trouble::transient(format!("a token of key {kid} is not accepted at {}: {}", answer.listener, answer.said)))
        }
        None => Ok(seen),
    }
}

async fn rejected(scene: &Scene<'_>) -> Result<Vec<Value>, Trouble> {
    let old = old(scene)?;
    let witness = scene.kept.old.clone().map(Secret::new);
    let witness = witness.ok_or_else(|| Trouble::permanent("no token of the old key was kept to show that it is refused"))?;
    let seen = canary::bear_witness(scene.admin, old, &witness).await?;
    match seen.iter().find(|answer| answer.accepted) {
        Some(answer) => Err(Trouble::transient(format!("a token of key {old} is still accepted at {}", answer.listener))),
        None => Ok(told(old, &seen)),
    }
}

fn told(kid: &str, seen: &[Answer]) -> Vec<Value> {
    seen.iter().map(|answer| json!({ "kid": kid, "listener": answer.listener, "status": answer.status })).collect()
}
