//! Secrets that sign the notices to receivers of alerts: the new one signs beside the old one, so a receiver takes either. The old one ends when the
//! receiver takes what the new one signs alone. Never sends a secret.

use serde_json::{Value, json};

use super::super::machine::{Drain, Place, Seen, Step};
use super::{Doing, Driver, Kept, Mint, Minted, Scene, Trouble};
use crate::admin::Admin;
use crate::admin::alerts::{self, receivers};
use crate::crypto::webhook;

/// The driver.
pub(super) struct Receivers;

impl Driver for Receivers {
    fn current<'a>(&'a self, admin: &'a Admin, name: &'a str) -> Doing<'a, Vec<String>> {
        Box::pin(async move {
            let held = receivers::held(admin, name).await?;
            let held = held.ok_or_else(|| {
                Trouble::permanent(format!("receiver {name} has no secret yet: lifeboat alert receiver secret {name}"))
            })?;
            // What does not arrive now would not arrive with the new secret either (I5).
            let tested = alerts::trial(admin, name, alerts::Signing::Both).await?;
            if !tested.ok {
                let why = tested.why.unwrap_or_default();
                return Err(Trouble::permanent(format!("receiver {name} does not take a test event now: {why}")));
            }
            Ok(vec![admin.sealer.fingerprint(held.secret.reveal().as_bytes())])
        })
    }

    fn mint<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Mint> {
        Box::pin(async move {
            let secret = webhook::mint(scene.admin.entropy.as_ref());
            let version = scene.admin.sealer.fingerprint(secret.reveal().as_bytes());
            let kept = Kept { secret: Some(secret.reveal().clone()), old: None };
            Ok(Mint::Made(Box::new(Minted { version, kept, facts: json!({}), to_fetch: true })))
        })
    }

    fn probe<'a>(&'a self, scene: &'a Scene<'a>, step: Step) -> Doing<'a, Seen> {
        Box::pin(async move {
            let held = held(scene).await?;
            match step {
                Step::Install if scene.admin.sealer.fingerprint(held.secret.reveal().as_bytes()) == scene.new_version()? => {
                    Ok(Seen::Holds(json!({ "signatures": 1 + usize::from(held.old.is_some()) })))
                }
                Step::Retire if held.old.is_none() => Ok(Seen::Holds(json!({ "signatures": 1 }))),
                Step::Promote => Ok(Seen::Holds(json!({ "said": "both sign every notice; the receiver takes either" }))),
                _ => Ok(Seen::Not),
            }
        })
    }

    fn apply<'a>(&'a self, scene: &'a Scene<'a>, step: Step) -> Doing<'a, Value> {
        Box::pin(async move {
            let (admin, name) = (scene.admin, scene.name);
            match step {
                Step::Install => {
                    receivers::put_beside(admin, name, &scene.secret()?).await?;
                    Ok(json!({ "signs": scene.row.new }))
                }
                Step::Retire => {
                    receivers::end_old(admin, name).await?;
                    Ok(json!({ "ended": scene.row.old }))
                }
                Step::Verify => arrives(scene, alerts::Signing::Both).await,
                _ => {
                    let accepted = arrives(scene, alerts::Signing::Newest).await?;
                    Ok(json!({ "accepted": accepted, "rejected": scene.row.old, "said": "the old one signs nothing any more" }))
                }
            }
        })
    }

    fn drain<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Drain> {
        Box::pin(async move {
            let now = scene.admin.clock.now();
            let over = scene.row.overlap_until.is_none_or(|until| until <= now);
            if !over || scene.row.forced {
                return Ok(Drain::default());
            }
            // Only now, so that nobody is sent tests while there is time.
            let tested = alerts::trial(scene.admin, scene.name, alerts::Signing::Newest).await?;
            let place = Place::new(scene.name.to_owned(), (!tested.ok).then_some(now), tested.ok.then_some(now));
            Ok(Drain { places: vec![place], ..Drain::default() })
        })
    }

    fn undo<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Value> {
        Box::pin(async move {
            let Some(new) = &scene.row.new else { return Ok(json!({ "said": "no secret was minted" })) };
            let held = held(scene).await?;
            let installed = &scene.admin.sealer.fingerprint(held.secret.reveal().as_bytes()) == new;
            if installed {
                receivers::go_back(scene.admin, scene.name).await?;
            }
            Ok(json!({ "went_back": installed }))
        })
    }
}

async fn held(scene: &Scene<'_>) -> Result<receivers::Held, Trouble> {
    let held = receivers::held(scene.admin, scene.name).await?;
    held.ok_or_else(|| Trouble::permanent(format!("receiver {} is not there any more", scene.name)))
}

async fn arrives(scene: &Scene<'_>, signing: alerts::Signing) -> Result<Value, Trouble> {
    let tested = alerts::trial(scene.admin, scene.name, signing).await?;
    if tested.ok {
        return Ok(json!({ "receiver": tested.name, "status": tested.status, "ms": tested.ms }));
    }
    Err(Trouble::transient(format!("the test event did not arrive: {}", tested.why.unwrap_or_default())))
}
