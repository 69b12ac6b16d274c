//! Secrets towards servers: somebody brings the new value, it is tried against the server itself before any call uses it, and the old one is kept sealed
//! until it is retired. Never takes a value that the server does not answer to, and never invents one.

use serde_json::{Value, json};

use super::super::machine::{Drain, Seen, Step};
use super::{Doing, Driver, Kept, Mint, Minted, Scene, Trouble};
use crate::admin::Admin;
use crate::admin::servers::one;
use crate::base::secret::Secret;
use crate::config::UpstreamConfig;

/// The driver.
pub(super) struct Upstreams;

impl Driver for Upstreams {
    fn current<'a>(&'a self, admin: &'a Admin, name: &'a str) -> Doing<'a, Vec<String>> {
        Box::pin(async move {
            let (entry, what) = one::find(admin, name)?;
            let Some(value) = one::value(&entry, &what) else { return Ok(Vec::new()) };
            // A server that is down now would be taken for one that refuses the new value (I5).
            one::look_with(admin, &entry.name, &what, &value).await?;
            Ok(vec![admin.sealer.fingerprint(value.as_bytes())])
        })
    }

    fn mint<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Mint> {
        Box::pin(async move {
            let (entry, what) = one::find(scene.admin, scene.name)?;
            let Some(secret) = scene.kept.secret.clone() else {
                return Ok(Mint::Waits(format!(
                    "bring the new value of {what} for {}: lifeboat credential supply {}",
                    entry.name, scene.row.credential
                )));
            };
            let version = scene.admin.sealer.fingerprint(secret.as_bytes());
            let kept = Kept { secret: Some(secret), old: one::value(&entry, &what) };
            Ok(Mint::Made(Box::new(Minted {
                version,
                kept,
                facts: json!({ "server": entry.name, "what": what }),
                to_fetch: false,
            })))
        })
    }

    fn probe<'a>(&'a self, scene: &'a Scene<'a>, step: Step) -> Doing<'a, Seen> {
        Box::pin(async move {
            let (entry, what) = one::find(scene.admin, scene.name)?;
            match step {
                Step::Install => Ok(Seen::Holds(json!({ "said": "whoever issued the new value accepts it; it is tried next" }))),
                Step::Promote => {
                    let sent = one::value(&entry, &what).map(|value| scene.admin.sealer.fingerprint(value.as_bytes()));
                    let holds = sent.as_deref() == scene.row.new.as_deref();
                    Ok(if holds { Seen::Holds(json!({ "sent": sent })) } else { Seen::Not })
                }
                _ => retired(scene, &entry, &what).await,
            }
        })
    }

    fn apply<'a>(&'a self, scene: &'a Scene<'a>, step: Step) -> Doing<'a, Value> {
        Box::pin(async move {
            let (entry, what) = one::find(scene.admin, scene.name)?;
            match step {
                Step::Verify => {
                    let (new, old) = (scene.secret()?, scene.kept.old.as_deref());
                    if old == Some(new.reveal().as_str()) {
                        return Err(Trouble::permanent("the new value is the old one: cancel, and bring another"));
                    }
                    let probed = one::look_with(scene.admin, &entry.name, &what, new.reveal()).await;
                    let probed = probed.map_err(|fault| Trouble::transient(fault.to_string()))?;
                    same_server(scene, (&entry.name, &what), &probed.server_info).await?;
                    Ok(
                        json!({ "server": entry.name, "answered_as": probed.server_info, "tools": probed.tools.len(), "ms": probed.ms }),
                    )
                }
                Step::Promote => {
                    one::set(scene.admin, &entry.name, &what, Some(scene.secret()?.reveal())).await?;
                    Ok(json!({ "sent": scene.row.new }))
                }
                Step::Retire => Ok(json!({ "said": "the old value is forgotten here" })),
                _ => proved(scene, &entry.name, &what).await,
            }
        })
    }

    fn drain<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Drain> {
        Box::pin(async move {
            // Until then it can come back; nobody but Lifeboat sends it.
            let over = scene.row.overlap_until.is_none_or(|until| until <= scene.admin.clock.now());
            Ok(Drain { ours: over, ..Drain::default() })
        })
    }

    fn undo<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Value> {
        Box::pin(async move {
            let (entry, what) = one::find(scene.admin, scene.name)?;
            let sent = one::value(&entry, &what).map(|value| scene.admin.sealer.fingerprint(value.as_bytes()));
            let promoted = sent.is_some() && sent == scene.row.new;
            if promoted {
                one::set(scene.admin, &entry.name, &what, scene.kept.old.as_deref()).await?;
            }
            Ok(json!({ "went_back": promoted }))
        })
    }

    fn supply<'a>(&'a self, scene: &'a Scene<'a>, value: Secret<String>) -> Doing<'a, (Kept, &'static str)> {
        Box::pin(async move {
            let (entry, what) = one::find(scene.admin, scene.name)?;
            one::check(&entry, &what, value.reveal())?;
            let kept = Kept { secret: Some(value.reveal().clone()), old: scene.kept.old.clone() };
            Ok((kept, "the value is kept sealed and is tried against the server now"))
        })
    }
}

/// Whether the server still takes the old value, where that can be seen.
async fn retired(scene: &Scene<'_>, entry: &crate::policy::snapshot::ServerEntry, what: &str) -> Result<Seen, Trouble> {
    let is_http = matches!(entry.config.upstream, UpstreamConfig::Http(_));
    let Some(old) = scene.kept.old.as_deref().filter(|_| is_http) else {
        let said = if is_http { "there was no value before" } else { "what a variable opens elsewhere cannot be seen from here" };
        return Ok(Seen::Holds(json!({ "rejected": Value::Null, "said": said })));
    };
    match one::look_with(scene.admin, &entry.name, what, old).await {
        Err(fault) => Ok(Seen::Holds(json!({ "rejected": true, "answer": fault.message }))),
        Ok(_) if scene.row.forced => {
            let said = "the server still takes the old value; the operator ended the rotation knowing it";
            Ok(Seen::Holds(json!({ "rejected": false, "said": said })))
        }
        Ok(_) => {
            let mend = format!(
                "{} still takes the old value: end it where it was issued; or lifeboat credential order {} retire when it does not ask for one",
                entry.name, scene.row.credential
            );
            Ok(Seen::Waits(mend))
        }
    }
}

/// The new value must open what the old one opens (I7): a value of somebody else's deployment would be taken gladly.
async fn same_server(scene: &Scene<'_>, (server, what): (&str, &str), new: &str) -> Result<(), Trouble> {
    let Some(old) = scene.kept.old.as_deref() else { return Ok(()) };
    match one::look_with(scene.admin, server, what, old).await {
        Ok(before) if before.server_info != new => Err(Trouble::permanent(format!(
            "with the new value {server} answers as \"{new}\", with the old one as \"{}\": cancel, and bring one for the same",
            before.server_info
        ))),
        _ => Ok(()),
    }
}

async fn proved(scene: &Scene<'_>, server: &str, what: &str) -> Result<Value, Trouble> {
    let probed = one::look_with(scene.admin, server, what, scene.secret()?.reveal()).await;
    let probed = probed.map_err(|fault| Trouble::transient(fault.to_string()))?;
    Ok(json!({ "accepted": { "server": server, "answered_as": probed.server_info }, "rejected": scene.row.old }))
}
