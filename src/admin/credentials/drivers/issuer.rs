//! Tokens of an issuer that can be asked, by HTTP or by commands: it makes a new one, the server is tried with it, the header or variable is exchanged, and the issuer is told
//! to end the old one, which counts as ended when the server takes it no more. Never ends a token that is in use.

use serde_json::{Value, json};

use super::super::kinds::Kind;
use super::super::machine::{Drain, Seen, Step};
use super::super::systems::issuer::{self, Issuer};
use super::super::systems::store;
use super::{Doing, Driver, Kept, Mint, Minted, Scene, Trouble};
use crate::admin::Admin;
use crate::admin::servers::one;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::config::UpstreamConfig;

/// Providers need a while until every one of their machines knows that a token ended.
const LAG_MS: i64 = 10 * 60_000;
/// How often it is looked at once it was ended, before the rotation rests.
const LOOKS: u32 = 4;
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_secs(2);

/// The driver, for issuers of one kind.
pub(super) struct Issuers(pub Kind);

struct Base<'a> {
    admin: &'a Admin,
    issuer: Issuer,
    /// `KIND/NAME`.
    credential: String,
    what: String,
    is_http: bool,
}

/// What the server is sent now, and its public name.
pub(in crate::admin::credentials) fn sent(admin: &Admin, issuer: &Issuer) -> Verb<Option<(String, String)>> {
    let (entry, what) = one::find(admin, &format!("{}:{}", issuer.server(), spelled(admin, issuer)?))?;
    Ok(one::value(&entry, &what).map(|value| {
        let version = admin.sealer.fingerprint(value.as_bytes());
        (value, version)
    }))
}

/// Headers are kept in small letters.
fn spelled(admin: &Admin, issuer: &Issuer) -> Verb<String> {
    let entry = one::entry(admin, issuer.server())?;
    let is_http = matches!(entry.config.upstream, UpstreamConfig::Http(_));
    Ok(if is_http { issuer.secret().to_ascii_lowercase() } else { issuer.secret().to_owned() })
}

impl Base<'_> {
    async fn of<'a>(admin: &'a Admin, (kind, name): (Kind, &str)) -> Result<Base<'a>, Trouble> {
        let issuer = issuer::find(admin, kind, name).await?;
        let what = spelled(admin, &issuer)?;
        let (entry, what) = one::find(admin, &format!("{}:{what}", issuer.server()))?;
        let is_http = matches!(entry.config.upstream, UpstreamConfig::Http(_));
        Ok(Base { admin, credential: issuer.credential(), issuer, what, is_http })
    }

    /// The same issuer as when the rotation began (I7).
    async fn of_row<'a>(scene: &'a Scene<'_>, kind: Kind) -> Result<Base<'a>, Trouble> {
        let base = Self::of(scene.admin, (kind, scene.name)).await?;
        if scene.row.facts["issuer"].as_str().is_some_and(|issuer| issuer != base.issuer.identity()) {
            let said = "the configuration names another issuer than this rotation began with: put that back, and end or roll back the rotation first";
            return Err(Trouble::permanent(said));
        }
        Ok(base)
    }

    fn sent(&self) -> Verb<Option<(String, String)>> {
        sent(self.admin, &self.issuer)
    }

    async fn look(&self, value: &str) -> Result<Value, Trouble> {
        let probed = one::look_with(self.admin, self.issuer.server(), &self.what, value).await;
        let probed = probed.map_err(|fault| Trouble::transient(fault.message))?;
        Ok(json!({ "server": self.issuer.server(), "answered_as": probed.server_info, "tools": probed.tools.len() }))
    }

    async fn set(&self, value: Option<&str>) -> Verb<()> {
        one::set(self.admin, self.issuer.server(), &self.what, value).await
    }

    /// Tells the issuer to end the old token, when it is known what the issuer calls it, and looks for a moment whether the server still takes it.
    async fn retire(&self, scene: &Scene<'_>) -> Result<Value, Trouble> {
        let Some((old, version)) = self.old(scene) else { return Ok(json!({ "said": "there was no token before" })) };
        let now = self.sent()?.map(|(_, version)| version);
        if now == Some(version.clone()) {
            return Err(Trouble::permanent("the server is still sent the old token, so it stays"));
        }
        let Some((id, _)) = store::issued(&self.admin.db, (&self.credential, &version)).await? else {
            return Ok(json!({ "said": "what the issuer calls the old token is not known here: end it there by hand" }));
        };
        let answer = issuer::revoke(self.admin, &self.issuer, (&id, Some(&old))).await?;
        store::end(&self.admin.db, (&self.credential, &version), self.admin.clock.now()).await?;
        for _ in 0..LOOKS {
            if !self.is_http || self.look(&old).await.is_err() {
                break;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(json!({ "issuer": self.issuer.place(), "id": id, "answer": answer }))
    }

    fn old(&self, scene: &Scene<'_>) -> Option<(String, String)> {
        let old = scene.kept.old.clone()?;
        let version = self.admin.sealer.fingerprint(old.as_bytes());
        Some((old, version))
    }

    /// Whether the server takes the old token no more. Only a server that is seen to take the new one now refuses the old one.
    async fn retired(&self, scene: &Scene<'_>) -> Result<Seen, Trouble> {
        let Some((old, version)) = self.old(scene) else {
            return Ok(Seen::Holds(json!({ "rejected": Value::Null, "said": "there was no token before" })));
        };
        let issued = store::issued(&self.admin.db, (&self.credential, &version)).await?;
        let (known, ended) = (issued.is_some(), issued.and_then(|(_, ended)| ended));
        if known
            && ended.is_none()
            && let Some(said) = issuer::waits(self.admin, &self.issuer).await?
        {
            return Ok(Seen::Waits(said));
        }
        if !self.is_http {
            let said = "the issuer ended it; what a variable opens elsewhere cannot be seen from here";
            let seen = ended.map(|at| Seen::Holds(json!({ "rejected": Value::Null, "ended_at": at, "said": said })));
            return Ok(seen.unwrap_or_else(|| if known { Seen::Not } else { self.by_hand(scene) }));
        }
        self.look(scene.secret()?.reveal()).await?;
        match (self.look(&old).await, ended) {
            (Err(refused), Some(_)) => Ok(Seen::Holds(json!({ "rejected": true, "answer": refused.said, "ended_at": ended }))),
            (Err(refused), None) if !known => Ok(Seen::Holds(json!({ "rejected": true, "answer": refused.said }))),
            (Ok(_), None) if !known => Ok(self.by_hand(scene)),
            (Ok(_), Some(at)) if self.lags(at) => Ok(Seen::Waits(format!(
                "{} ended the old token at {at} and server {} still takes it: providers need a while. It is looked at again until it is refused",
                self.issuer.place(),
                self.issuer.server()
            ))),
            _ => Ok(Seen::Not),
        }
    }

    fn lags(&self, ended: Timestamp) -> bool {
        (0..LAG_MS).contains(&self.admin.clock.now().since_ms(ended))
    }

    fn by_hand(&self, scene: &Scene<'_>) -> Seen {
        if scene.row.forced {
            let said = "what the issuer calls the old token is not known here; the operator ended the rotation knowing it";
            return Seen::Holds(json!({ "rejected": false, "said": said }));
        }
        Seen::Waits(format!(
            "the old token was not made by a rotation, so what {} calls it is not known here: end it there; or lifeboat credential order {} retire",
            self.issuer.place(),
            self.credential
        ))
    }
}

/// A name for the token of one rotation.
fn label(scene: &Scene<'_>) -> String {
    format!("lifeboat-{}", scene.row.id)
}

impl Driver for Issuers {
    fn current<'a>(&'a self, admin: &'a Admin, name: &'a str) -> Doing<'a, Vec<String>> {
        Box::pin(async move {
            let base = Base::of(admin, (self.0, name)).await?;
            // Commands that nobody approved yet are waited for; the rotation says so itself.
            if self.0 == Kind::Http && !issuer::has_admin(admin, &base.issuer).await? {
                let said = "this host keeps nothing to show the issuer that fits its address";
                return Err(Trouble::permanent(format!("{said}: lifeboat credential admin {} --password-stdin", base.credential)));
            }
            let Some((value, version)) = base.sent()? else { return Ok(Vec::new()) };
            base.look(&value).await?;
            Ok(vec![version])
        })
    }

    fn mint<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Mint> {
        Box::pin(async move {
            let base = Base::of(scene.admin, (self.0, scene.name)).await?;
            if let Some(said) = issuer::waits(scene.admin, &base.issuer).await? {
                return Ok(Mint::Waits(said));
            }
            let label = label(scene);
            // A process that died between the answer and the row left a token that nobody has.
            let orphans = issuer::labelled(scene.admin, &base.issuer, &label).await?;
            for id in &orphans {
                issuer::revoke(scene.admin, &base.issuer, (id, None)).await?;
            }
            let made = issuer::create(scene.admin, &base.issuer, &label).await?;
            let value = base.issuer.value(&made.token);
            let version = scene.admin.sealer.fingerprint(value.as_bytes());
            store::issue(&scene.admin.db, (&base.credential, &version), &made.id, scene.admin.clock.now()).await?;
            let old = base.sent()?.map(|(value, _)| value);
            let facts = json!({ "issuer": base.issuer.identity(), "id": made.id, "server": base.issuer.server(), "what": base.what, "orphans": orphans.len() });
            let kept = Kept { secret: Some(value), old };
            Ok(Mint::Made(Box::new(Minted { version, kept, facts, to_fetch: false })))
        })
    }

    fn probe<'a>(&'a self, scene: &'a Scene<'a>, step: Step) -> Doing<'a, Seen> {
        Box::pin(async move {
            let base = Base::of_row(scene, self.0).await?;
            match step {
                Step::Install => Ok(Seen::Holds(json!({ "said": "the issuer made it; it is tried next" }))),
                Step::Promote => {
                    let now = base.sent()?.map(|(_, version)| version);
                    let holds = now.is_some() && now == scene.row.new;
                    Ok(if holds { Seen::Holds(json!({ "sent": now })) } else { Seen::Not })
                }
                _ => base.retired(scene).await,
            }
        })
    }

    fn apply<'a>(&'a self, scene: &'a Scene<'a>, step: Step) -> Doing<'a, Value> {
        Box::pin(async move {
            let base = Base::of_row(scene, self.0).await?;
            match step {
                Step::Verify => base.look(scene.secret()?.reveal()).await,
                Step::Promote => {
                    base.set(Some(scene.secret()?.reveal())).await?;
                    Ok(json!({ "sent": scene.row.new }))
                }
                Step::Retire => base.retire(scene).await,
                _ => {
                    let accepted = base.look(scene.secret()?.reveal()).await?;
                    Ok(json!({ "accepted": accepted, "rejected": scene.row.old }))
                }
            }
        })
    }

    fn drain<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Drain> {
        Box::pin(async move {
            // Nobody but Lifeboat sends it; until the overlap is over it can come back.
            let over = scene.row.overlap_until.is_none_or(|until| until <= scene.admin.clock.now());
            Ok(Drain { ours: over, ..Drain::default() })
        })
    }

    fn undo<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Value> {
        Box::pin(async move {
            let Some(new) = scene.row.new.clone() else { return Ok(json!({ "went_back": false })) };
            let base = Base::of_row(scene, self.0).await?;
            let promoted = base.sent()?.is_some_and(|(_, version)| version == new);
            if promoted {
                base.set(scene.kept.old.as_deref()).await?;
            }
            let key = (base.credential.as_str(), new.as_str());
            if let Some((id, _)) = store::issued(&scene.admin.db, key).await? {
                issuer::revoke(scene.admin, &base.issuer, (&id, scene.kept.secret.as_deref())).await?;
                store::end(&scene.admin.db, key, scene.admin.clock.now()).await?;
            }
            Ok(json!({ "went_back": promoted, "ended": new }))
        })
    }
}

/// Has the issuer end every token it made here, and the server sent none of them. For what leaked.
///
/// # Errors
/// What does not hold yet: nothing is sent all the same.
pub(super) async fn end(admin: &Admin, kind: Kind, name: &str) -> Verb<Vec<String>> {
    let issuer = issuer::find(admin, kind, name).await?;
    let (credential, what) = (issuer.credential(), spelled(admin, &issuer)?);
    let now = sent(admin, &issuer)?;
    one::set(admin, issuer.server(), &what, None).await?;
    let living = store::living(&admin.db, &credential).await?;
    let mut failed = None;
    for (version, id) in &living {
        let value = now.as_ref().filter(|(_, current)| current == version).map(|(value, _)| value.as_str());
        let ended = async {
            issuer::revoke(admin, &issuer, (id, value)).await?;
            store::end(&admin.db, (&credential, version), admin.clock.now()).await
        };
        // One that cannot be ended keeps none of the others alive.
        if let Err(fault) = ended.await {
            tracing::error!(%fault, credential, "a token that leaked may count still");
            failed = failed.or(Some(fault));
        }
    }
    if let Some(fault) = failed {
        return Err(fault);
    }
    match now {
        Some((_, now)) if !living.iter().any(|(version, _)| *version == now) => Err(Fault::conflict(
            "the token that was sent was not made by a rotation, so what the issuer calls it is not known here: end it there by hand",
        )),
        _ => Ok(vec![format!("{}:{what}", issuer.server())]),
    }
}
