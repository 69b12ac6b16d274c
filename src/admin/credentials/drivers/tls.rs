//! The certificate of both listeners, when Lifeboat's own CA signs it: a new key and certificate beside the old ones, tried in a whole handshake, then in
//! their place. Open connections live on. Never touches a certificate that somebody else's authority signed.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::super::machine::{Drain, Seen, Step};
use super::{Doing, Driver, Kept, Mint, Minted, Scene, Trouble};
use crate::admin::{Admin, kill};
use crate::base::fault::{Fault, Verb};
use crate::crypto::ca;
use crate::crypto::files::{self, Readers};
use crate::crypto::tls::{ServerTls, handshake_in_memory};
use crate::policy::feed::Way;

const NOBODY: &str = "no listener with TLS runs here that could be asked which certificate it shows: start Lifeboat, and rotate its certificate while it runs";

/// The driver.
pub(super) struct ServerCertificate;

impl Driver for ServerCertificate {
    fn current<'a>(&'a self, admin: &'a Admin, name: &'a str) -> Doing<'a, Vec<String>> {
        Box::pin(async move {
            if name != "server" {
                return Err(Trouble::permanent("the only certificate here is tls/server"));
            }
            if admin.feed.snapshot().settings.tls.cert.is_some() {
                let said = "your organisation's authority signs the certificate: put the new files in the place of the old ones, they are taken up by themselves";
                return Err(Trouble::permanent(said));
            }
            let pem = read(admin.data.server_pem()).await?;
            let version = version_of(&pem).ok_or_else(|| Trouble::permanent("tls/server.pem holds no certificate"))?;
            let all = shown(admin).await?;
            if all.is_empty() {
                return Err(Trouble::permanent(NOBODY));
            }
            for (listener, shown) in all {
                if shown != version {
                    return Err(Trouble::permanent(format!(
                        "listener {listener} shows another certificate than tls/server.pem: {shown}"
                    )));
                }
            }
            Ok(vec![version])
        })
    }

    fn mint<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Mint> {
        Box::pin(async move {
            let (data, now) = (scene.admin.data.clone(), scene.admin.clock.now());
            let hosts = scene.admin.feed.snapshot().settings.listen.hosts.clone();
            let names = hosts.clone();
            // Signing checks the chain, each name and the time, as a client would.
            let issued = blocking(move || {
                let authority = ca::ensure_ca(&data.ca_pem(), &data.ca_key(), &names, now)?;
                authority.issue_server(&names, now)
            });
            let (chain, key) = issued.await?;
            let version = version_of(&chain).ok_or_else(|| Trouble::permanent("the new certificate cannot be read"))?;
            let before = read(scene.admin.data.server_pem()).await?;
            let old = read(scene.admin.data.server_key()).await?;
            let ends = ca::describe(chain.as_bytes()).map(|found| found.not_after);
            let facts = json!({ "certificate": chain, "before": before, "hosts": hosts, "not_after": ends });
            let kept = Kept { secret: Some(key.to_string()), old: Some(old) };
            Ok(Mint::Made(Box::new(Minted { version, kept, facts, to_fetch: false })))
        })
    }

    fn probe<'a>(&'a self, scene: &'a Scene<'a>, step: Step) -> Doing<'a, Seen> {
        Box::pin(async move {
            let version = scene.new_version()?;
            match step {
                Step::Install => {
                    let beside = files::read(&next(scene, "pem"))?.and_then(|pem| version_of(&String::from_utf8_lossy(&pem)));
                    let both = beside.as_deref() == Some(version) && next(scene, "key").exists();
                    Ok(if both { Seen::Holds(json!({ "beside": "tls/server.next.pem" })) } else { Seen::Not })
                }
                Step::Promote => {
                    let on_disk = version_of(&read(scene.admin.data.server_pem()).await?);
                    let all = shown(scene.admin).await?;
                    if on_disk.as_deref() == Some(version) && all.is_empty() {
                        return Ok(Seen::Waits(NOBODY.to_owned()));
                    }
                    let holds = on_disk.as_deref() == Some(version) && all.iter().all(|(_, shown)| shown == version);
                    Ok(if holds { Seen::Holds(json!({ "shown": all })) } else { Seen::Not })
                }
                _ if next(scene, "pem").exists() || next(scene, "key").exists() => Ok(Seen::Not),
                _ => Ok(Seen::Holds(json!({ "said": "the old key was overwritten; no handshake gets its certificate" }))),
            }
        })
    }

    fn apply<'a>(&'a self, scene: &'a Scene<'a>, step: Step) -> Doing<'a, Value> {
        Box::pin(async move {
            let certificate = scene.row.facts["certificate"].as_str().unwrap_or_default().to_owned();
            match step {
                Step::Install => {
                    put((next(scene, "key"), scene.secret()?.reveal().clone()), (next(scene, "pem"), certificate)).await?;
                    Ok(json!({ "written": ["tls/server.next.key", "tls/server.next.pem"] }))
                }
                Step::Verify => verify(scene).await,
                Step::Promote => {
                    let data = &scene.admin.data;
                    put((data.server_key(), scene.secret()?.reveal().clone()), (data.server_pem(), certificate)).await?;
                    take_up(scene.admin).await?;
                    Ok(json!({ "version": scene.row.new }))
                }
                Step::Retire => {
                    clear(scene);
                    Ok(json!({ "removed": ["tls/server.next.key", "tls/server.next.pem"] }))
                }
                _ => proved(scene).await,
            }
        })
    }

    fn drain<'a>(&'a self, _: &'a Scene<'a>) -> Doing<'a, Drain> {
        Box::pin(async { Ok(Drain { ours: true, ..Drain::default() }) })
    }

    fn undo<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Value> {
        Box::pin(async move {
            clear(scene);
            let data = &scene.admin.data;
            let promoted = version_of(&read(data.server_pem()).await?).as_deref() == scene.row.new.as_deref();
            let before = scene.row.facts["before"].as_str().map(str::to_owned);
            if let (true, Some(key), Some(before)) = (promoted, scene.kept.old.clone(), before) {
                put((data.server_key(), key), (data.server_pem(), before)).await?;
                take_up(scene.admin).await?;
            }
            Ok(json!({ "went_back": promoted, "shown": shown(scene.admin).await? }))
        })
    }
}

fn next(scene: &Scene<'_>, ending: &str) -> PathBuf {
    scene.admin.data.tls().join(format!("server.next.{ending}"))
}

fn clear(scene: &Scene<'_>) {
    for ending in ["pem", "key"] {
        // What is not there needs no removal; what stays is seen by the next look.
        let _ = std::fs::remove_file(next(scene, ending));
    }
}

/// What a certificate is called: the first 16 hex digits of its SHA-256.
pub(in crate::admin::credentials) fn version_of(pem: &str) -> Option<String> {
    let digest = ca::fingerprint_sha256(pem)?.replace(':', "").to_lowercase();
    digest.get(..16).map(str::to_owned)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Verb<T> + Send + 'static) -> Verb<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|cause| Fault::bug("work on a certificate panicked").because(cause))?
}

async fn read(path: PathBuf) -> Verb<String> {
    blocking(move || {
        let bytes = files::read(&path)?.ok_or_else(|| Fault::not_found(format!("{} is not there", path.display())))?;
        String::from_utf8(bytes).map_err(|_| Fault::invalid(path.display().to_string(), "is no PEM"))
    })
    .await
}

/// The key first: a certificate without its key would not be taken up.
async fn put((key_file, key): (PathBuf, String), (pem_file, pem): (PathBuf, String)) -> Verb<()> {
    let key = zeroize::Zeroizing::new(key);
    blocking(move || {
        files::write(&key_file, key.as_bytes(), Readers::Owner)?;
        files::write(&pem_file, pem.as_bytes(), Readers::Owner)
    })
    .await
}

/// Has every listener show what is on disk.
async fn take_up(admin: &Admin) -> Verb<()> {
    for listener in admin.feed.listeners() {
        if let Way::Tls(_, served) = listener.way {
            blocking(move || served.reload()).await?;
        }
    }
    Ok(())
}

/// What each listener shows to a client that trusts the CA alone.
async fn shown(admin: &Admin) -> Result<Vec<(String, String)>, Trouble> {
    let ca = read(admin.data.ca_pem()).await?.into_bytes();
    let (mut all, manner) = (Vec::new(), kill::manner(admin));
    for listener in admin.feed.listeners().iter().filter(|listener| matches!(listener.way, Way::Tls(..))) {
        let seen = kill::certificate_shown(listener, (&manner, admin.feed.guests()), &ca).await;
        let seen = seen.map_err(|why| Trouble::transient(format!("no handshake with listener {}: {why}", listener.name)))?;
        all.push((listener.name.clone(), seen));
    }
    Ok(all)
}

/// A whole handshake with the new pair, by a client that trusts the CA alone, for each name.
async fn verify(scene: &Scene<'_>) -> Result<Value, Trouble> {
    let (pem, key) = (next(scene, "pem"), next(scene, "key"));
    let served = blocking(move || ServerTls::load(&pem, &key)).await?;
    let ca = read(scene.admin.data.ca_pem()).await?.into_bytes();
    let hosts: Vec<String> = serde_json::from_value(scene.row.facts["hosts"].clone()).unwrap_or_default();
    let wanted = &scene.admin.feed.snapshot().settings.listen.hosts;
    // The names of the old certificate are those of the new one, or clients would be lost (I7).
    if &hosts != wanted {
        return Err(Trouble::permanent("the hosts of the configuration changed meanwhile: cancel, and rotate again"));
    }
    for host in &hosts {
        handshake_in_memory(&served, &ca, host).await.map_err(|fault| Trouble::permanent(format!("{host}: {fault}")))?;
    }
    Ok(json!({ "handshakes": hosts, "not_after": scene.row.facts["not_after"] }))
}

async fn proved(scene: &Scene<'_>) -> Result<Value, Trouble> {
    let (version, all) = (scene.new_version()?, shown(scene.admin).await?);
    match all.iter().find(|(_, shown)| shown != version) {
        None if all.is_empty() => Err(Trouble::transient(NOBODY)),
        Some((listener, shown)) => Err(Trouble::transient(format!("listener {listener} shows {shown}"))),
        None => Ok(
            json!({ "accepted": all, "rejected": scene.row.old, "said": "every handshake gets the new certificate, none the old one" }),
        ),
    }
}
