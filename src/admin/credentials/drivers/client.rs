//! Keys and secrets of clients: a new one beside the old ones, proved by a real call through our own listeners (with a secret, by a token that it got), and
//! each old one ended by itself. Never touches what the client holds: it moves when its holder does.

use serde_json::{Value, json};

use super::super::canary;
use super::super::machine::{Drain, Place, Seen, Step};
use super::{Doing, Driver, Kept, Mint, Minted, Scene, Trouble};
use crate::admin::Admin;
use crate::admin::clients::single::{self as held, Form};
use crate::base::clock::Timestamp;
use crate::crypto::keys;

/// The driver of one form.
pub(super) struct OfClients(pub Form);

/// Who ends the old one, in its row and in the ledger.
const BY: &str = "rotation";

impl Driver for OfClients {
    fn current<'a>(&'a self, admin: &'a Admin, name: &'a str) -> Doing<'a, Vec<String>> {
        Box::pin(async move {
            if !admin.feed.snapshot().clients.contains_key(name) {
                return Err(Trouble::permanent(format!("there is no client {name}")));
            }
            let all = held::of(admin, self.0, name).await?;
            let kids: Vec<String> = all.into_iter().filter(|key| key.state == "active").map(|key| key.kid).collect();
            for kid in &kids {
                let answers = canary::stand_for(admin, self.0, kid, name).await?;
                if let Some(answer) = answers.into_iter().find(|answer| !answer.accepted) {
                    let said = format!("the current {} is not accepted at {}: {}", self.named(kid), answer.listener, answer.said);
                    return Err(Trouble::permanent(said));
                }
            }
            Ok(kids)
        })
    }

    fn mint<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Mint> {
        Box::pin(async move {
            let admin = scene.admin;
            let now = admin.clock.now();
            let before = held::of(admin, self.0, scene.name).await?.into_iter().find(|one| scene.row.old.contains(&one.kid));
            let expires_at = before.as_ref().and_then(held::Held::lifetime_ms).map(|ms| now.plus_ms(ms));
            let minted = keys::mint(self.0.prefix(), admin.entropy.as_ref());
            let facts = json!({ "created_at": now, "expires_at": expires_at });
            let kept = Kept { secret: Some(minted.text.reveal().clone()), old: None };
            Ok(Mint::Made(Box::new(Minted { version: minted.kid, kept, facts, to_fetch: true })))
        })
    }

    fn probe<'a>(&'a self, scene: &'a Scene<'a>, step: Step) -> Doing<'a, Seen> {
        Box::pin(async move {
            match step {
                Step::Install => self.installed(scene).await,
                Step::Retire => self.retired(scene).await,
                _ => Ok(Seen::Holds(json!({ "said": "the newest one is the current one; its client switches by itself" }))),
            }
        })
    }

    fn apply<'a>(&'a self, scene: &'a Scene<'a>, step: Step) -> Doing<'a, Value> {
        Box::pin(async move {
            match step {
                Step::Install => {
                    let revision = held::install(scene.admin, self.0, &fresh(scene)?).await?;
                    Ok(json!({ "kid": scene.row.new, "revision": revision.to_string() }))
                }
                Step::Verify => canary::call(scene.admin, (self.0, &scene.secret()?), scene.name, &scene.row.credential).await,
                Step::Retire => {
                    let overlap = window(scene);
                    for kid in &scene.row.old {
                        held::retire(scene.admin, kid, BY).await?;
                    }
                    Ok(json!({ "ended": scene.row.old, "overlap": overlap }))
                }
                _ => self.proved(scene).await,
            }
        })
    }

    fn drain<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Drain> {
        Box::pin(async move { Ok(Drain { ours: scene.row.old.is_empty(), places: places(scene.admin, scene.row), ends_at: None }) })
    }

    fn undo<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Value> {
        Box::pin(async move {
            let Some(kid) = &scene.row.new else { return Ok(json!({ "said": "none was minted" })) };
            held::retire(scene.admin, kid, BY).await?;
            Ok(json!({ "ended": [kid] }))
        })
    }

    fn is_shown_at_proxy(&self) -> bool {
        true
    }
}

fn fresh(scene: &Scene<'_>) -> Result<held::Fresh, Trouble> {
    let facts = &scene.row.facts;
    let hash = scene.secret().map(|secret| keys::hash_text(secret.reveal()))?;
    let time = |name: &str| facts[name].as_str().and_then(Timestamp::parse);
    Ok(held::Fresh {
        kid: scene.new_version()?.to_owned(),
        client: scene.name.to_owned(),
        hash,
        created_at: time("created_at").unwrap_or(scene.row.started_at),
        created_by: scene.row.started_by.clone(),
        expires_at: time("expires_at"),
    })
}

impl OfClients {
    /// As people read it.
    fn named(&self, kid: &str) -> String {
        format!("{} {}_{kid}", self.0.word(), self.0.prefix().word())
    }

    async fn installed(&self, scene: &Scene<'_>) -> Result<Seen, Trouble> {
        let kid = scene.new_version()?;
        let stored = held::of(scene.admin, self.0, scene.name).await?.into_iter().find(|one| one.kid == kid);
        match stored {
            Some(one) if one.state != "active" => Err(Trouble::permanent(format!("the new {} is {}", self.named(kid), one.state))),
            Some(_) if self.0.counts(&scene.admin.feed.snapshot(), kid) => Ok(Seen::Holds(json!({ "kid": kid }))),
            _ => Ok(Seen::Not),
        }
    }

    /// Ended in the database, gone from the policy, and refused at each listener.
    async fn retired(&self, scene: &Scene<'_>) -> Result<Seen, Trouble> {
        let (stored, snapshot) = (held::of(scene.admin, self.0, scene.name).await?, scene.admin.feed.snapshot());
        let counts =
            |kid: &String| self.0.counts(&snapshot, kid) || stored.iter().any(|one| &one.kid == kid && one.state == "active");
        if scene.row.old.iter().any(counts) {
            return Ok(Seen::Not);
        }
        Ok(Seen::Holds(json!({ "ended": scene.row.old, "overlap": window(scene), "rejected": self.rejected(scene).await? })))
    }

    async fn rejected(&self, scene: &Scene<'_>) -> Result<Vec<Value>, Trouble> {
        let mut all = Vec::new();
        for kid in &scene.row.old {
            for answer in canary::stand_for(scene.admin, self.0, kid, scene.name).await? {
                if answer.accepted {
                    return Err(Trouble::transient(format!("the {} is still accepted at {}", self.named(kid), answer.listener)));
                }
                all.push(json!({ "kid": kid, "listener": answer.listener, "status": answer.status }));
            }
        }
        Ok(all)
    }

    /// Both sides: the new one is accepted, each old one is not.
    async fn proved(&self, scene: &Scene<'_>) -> Result<Value, Trouble> {
        let kid = scene.new_version()?;
        let mut accepted = Vec::new();
        for answer in canary::stand_for(scene.admin, self.0, kid, scene.name).await? {
            if !answer.accepted {
                return Err(Trouble::transient(format!("the new {} is not accepted at {}", self.named(kid), answer.listener)));
            }
            accepted.push(json!({ "kid": kid, "listener": answer.listener, "status": answer.status }));
        }
        Ok(json!({ "accepted": accepted, "rejected": self.rejected(scene).await?, "window": window(scene) }))
    }
}

/// What clients met: requests by version, and those that were refused.
fn window(scene: &Scene<'_>) -> Value {
    let sum = |kid: &str| {
        let book = scene.admin.feed.places().of(kid);
        let total = book.values().fold((0u64, 0u64), |sum, seen| (sum.0 + seen.calls, sum.1 + seen.refused));
        json!({ "kid": kid, "places": book.len(), "accepted": total.0, "refused": total.1 })
    };
    let old: Vec<Value> = scene.row.old.iter().map(|kid| sum(kid)).collect();
    json!({ "old": old, "new": scene.row.new.as_deref().map(sum) })
}

fn used(seen: crate::policy::places::Seen) -> Option<Timestamp> {
    (seen.last > Timestamp(0)).then_some(seen.last)
}

/// Who showed which key since the rotation began, and who showed an old one shortly before.
pub(in crate::admin::credentials) fn places(admin: &Admin, row: &crate::admin::credentials::model::Rotation) -> Vec<Place> {
    let mut all: std::collections::BTreeMap<String, (Option<Timestamp>, Option<Timestamp>, u64, u64)> = Default::default();
    for kid in &row.old {
        for (place, seen) in admin.feed.places().of(kid) {
            let entry = all.entry(place).or_default();
            entry.0 = entry.0.max(used(seen));
            entry.3 += seen.refused;
        }
    }
    for (place, seen) in row.new.as_deref().map(|kid| admin.feed.places().of(kid)).unwrap_or_default() {
        let entry = all.entry(place).or_default();
        (entry.1, entry.2, entry.3) = (used(seen), seen.calls, entry.3 + seen.refused);
    }
    // A place where neither was ever accepted uses neither.
    all.retain(|_, (old, new, ..)| old.is_some() || new.is_some());
    let place = |(place, (old, new, new_calls, refused))| Place { new_calls, refused, ..Place::new(place, old, new) };
    all.into_iter().map(place).collect()
}
