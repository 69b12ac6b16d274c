//! The parts of a rebuild: unpacking, configuration, keys, state, ledger, vaults, deny-list, kill, place. Each fails before anything counts.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Back, Source, io, settle};
use crate::admin::drills::chosen::{Chosen, choose};
use crate::admin::drills::steps::Steps;
use crate::admin::vaults::catalogue::{self, Catalogue, Unusable};
use crate::admin::vaults::deny::DenyList;
use crate::admin::vaults::deployment::{BUNDLE, STATE};
use crate::admin::vaults::extract::Extract;
use crate::admin::vaults::folder::Folder;
use crate::admin::vaults::{self, CHECKPOINT, Origin, Vault};
use crate::admin::{kill, tree};
use crate::audit::{self, Checkpoint, Event, Ledger, Opening};
use crate::base::fault::{Fault, Verb};
use crate::config::paths::DataDir;
use crate::config::repo::Repository;
use crate::config::vault::DEPLOYMENT;
use crate::config::{Desired, Settings};
use crate::crypto::archive::{ArchiveFault, Identities, Meta, Opened};
use crate::crypto::ca;
use crate::db::foreign::{self, Facts};
use crate::db::{Db, Migrations};

/// How long a ledger that was closed may keep its lock.
const FREE_WAIT: Duration = Duration::from_secs(2);

/// A rebuild under way.
pub(super) struct Work {
    /// What it is made from.
    pub source: Source,
    /// The destination.
    pub folder: Folder,
    /// What is there.
    pub found: Catalogue,
    /// Identities.
    pub keys: Identities,
    /// Where it is put together.
    pub data: DataDir,
    /// What an operator must know.
    pub warnings: Vec<String>,
    /// What was brought back so far.
    pub vaults: Vec<Back>,
    /// Where the data directory was at the backup, as far as the archive says.
    pub root: Option<PathBuf>,
}

impl Work {
    pub(super) async fn deployment(&mut self, steps: &mut Steps) -> Verb<((Chosen, Meta), PathBuf)> {
        let chosen = self.select(DEPLOYMENT, steps)?;
        let unpacked = self.data.root().join(".deployment");
        let opened = steps.take("unpack-deployment", async { self.unpack(&chosen, &unpacked) }).await?;
        self.root = opened.meta.facts["root"].as_str().map(PathBuf::from);
        Ok(((chosen, opened.meta), unpacked))
    }

    /// The archive of a vault. A damaged newer one fails its own step; the rebuild goes on with the one before.
    fn select(&mut self, vault: &str, steps: &mut Steps) -> Verb<Chosen> {
        let (begun, name) = (Instant::now(), format!("verify-archive {vault}"));
        let Some(chosen) = choose(&self.folder, &self.found, vault) else {
            let why = format!("no archive of {vault} is whole; look for another copy of the archives");
            steps.note(&name, begun, false, why.clone());
            return Err(Fault::not_found(why));
        };
        let note = &chosen.note;
        let used = format!("{} of {}, {} bytes, digest as signed", note.id, note.started_at, note.bytes);
        if chosen.damaged.is_empty() {
            steps.note(&name, begun, true, used);
        } else {
            let why = format!("{}; went back to {used}", chosen.damaged.join("; "));
            self.warnings.push(why.clone());
            steps.note(&name, begun, false, why);
        }
        if !note.complete {
            self.warnings.push(format!("{} of {vault} is not complete: its source changed while it was read", note.id));
        }
        Ok(chosen)
    }

    fn unpack(&mut self, chosen: &Chosen, to: &Path) -> Verb<(Opened, String)> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(to).map_err(io("no place to unpack"))?;
        let mut sink = Extract::new(to, None);
        let opened =
            catalogue::extract(&self.folder, &chosen.note, &self.keys, &mut sink).map_err(|cause| self.locked(cause, chosen))?;
        sink.settle().map_err(io("what was unpacked is not on the disk"))?;
        let (note, files) = (&chosen.note, sink.files);
        let databases = opened.meta.facts["databases"].clone();
        let rows = if databases.is_null() { BTreeMap::new() } else { serde_json::from_value(databases).unwrap_or_default() };
        let (vault, archive) = (note.vault.clone(), note.id.clone());
        self.vaults.push(Back { vault, archive, started_at: note.started_at, rows, files });
        let detail = format!("{files} files, {} bytes, every digest as in the manifest", sink.bytes);
        Ok((opened, detail))
    }

    /// A wrong key is said with the names of those that would be right.
    fn locked(&self, cause: Unusable, chosen: &Chosen) -> Fault {
        let wrong = matches!(cause, Unusable::Archive(ArchiveFault::WrongKey));
        let fault = cause.into_fault();
        if !wrong {
            return fault;
        }
        let (has, wants) = (self.keys.recipients().join(", "), chosen.note.recipients.join(", "));
        let message =
            format!("{} opens for {wants}; the identity given is {has}. Fetch one of those from where it is kept", chosen.note.id);
        Fault::invalid("identity", message)
    }

    pub(super) fn configuration(&mut self, unpacked: &Path) -> Verb<(String, String)> {
        let from = self.source.instead.0.clone().unwrap_or_else(|| unpacked.join(BUNDLE));
        let bundle = fs::read(from).map_err(io("the configuration's bundle cannot be read"))?;
        let repository = Repository::from_bundle(&self.data.config(), &bundle)?;
        let head = repository.head()?;
        let desired = tree::read(&head.files)?;
        let detail = format!("commit {}, {} servers, {} clients", head.commit, desired.servers.len(), desired.clients.len());
        Ok((head.commit, detail))
    }

    fn desired(&self) -> Verb<Desired> {
        tree::read(&Repository::open(&self.data.config())?.head()?.files)
    }

    pub(super) fn keys_and_certificates(&self, unpacked: &Path) -> Verb<((), String)> {
        let moved = |from: &str, to: PathBuf| -> Verb<usize> {
            let mut count = 0;
            for entry in fs::read_dir(unpacked.join(from)).map_err(io("an archive of the deployment without keys"))? {
                let entry = entry.map_err(io("the keys cannot be read"))?;
                fs::rename(entry.path(), to.join(entry.file_name())).map_err(io("the keys cannot be put in place"))?;
                count += 1;
            }
            Ok(count)
        };
        let count = moved("keys", self.data.keys())? + moved("tls", self.data.tls())?;
        let signer = audit::load_or_create_key(&self.data.ledger_key())?;
        if signer.public() != &self.source.trust {
            return Err(Fault::denied("the archive holds another signing key than the one that is trusted"));
        }
        let hosts = Settings::default().listen.hosts;
        ca::ensure_ca(&self.data.ca_pem(), &self.data.ca_key(), &hosts, self.source.clock.now())?;
        Ok(((), format!("{count} files; signing key {} as trusted; the CA fits its key", signer.public().id())))
    }

    pub(super) async fn state(&self, unpacked: &Path, meta: &Meta) -> Verb<(Db, String)> {
        let state = self.data.state_db();
        let other = self.source.instead.1.as_ref();
        fs::rename(other.unwrap_or(&unpacked.join(STATE)), &state).map_err(io("the archive holds no state.db"))?;
        let facts = foreign::facts(&state).await?;
        if other.is_some() {
            let db = Db::open(&state, &Migrations::embedded()?).await?;
            return Ok((db, "sound; the one that was not lost".to_owned()));
        }
        let said: Option<Facts> = serde_json::from_value(meta.facts["state"].clone()).ok();
        if said.is_some_and(|said| said != facts) {
            return Err(Fault::unavailable("state.db does not hold the rows that were counted at the backup"));
        }
        let db = Db::open(&state, &Migrations::embedded()?).await?;
        let rows: i64 = facts.rows.values().sum();
        Ok((db, format!("sound; {} tables with {rows} rows, as at the backup", facts.rows.len())))
    }

    pub(super) fn ledger(&self, unpacked: &Path) -> Verb<((), String)> {
        let (from, to) = (unpacked.join("audit"), self.data.audit());
        fs::remove_dir(&to).and_then(|()| fs::rename(&from, &to)).map_err(io("the ledger cannot be put in place"))?;
        let segments = fs::read_dir(&to).map_err(io("the ledger cannot be read"))?.count();
        Ok(((), format!("{segments} files")))
    }

    pub(super) fn wanted(&self) -> Verb<Vec<Vault>> {
        let vaults = vaults::all(&self.desired()?, &DataDir::new(&self.source.to));
        Ok(vaults.into_iter().filter(|vault| vault.origin != Origin::Deployment).collect())
    }

    pub(super) async fn vault(&mut self, vault: &Vault, steps: &mut Steps) -> Verb<()> {
        let known = self.found.archives.iter().any(|note| note.vault == vault.name);
        if !known {
            // Nothing was ever backed up: that is to be said, and no reason to leave everything else down.
            let why = match vault.origin {
                Origin::Command(_) => format!("there is no archive of vault {}: nothing of it comes back", vault.name),
                _ => format!("there is no archive of vault {}: it begins empty", vault.name),
            };
            self.warnings.push(why.clone());
            steps.note(&format!("restore-vault {}", vault.name), Instant::now(), false, why);
            return Ok(());
        }
        let chosen = self.select(&vault.name, steps)?;
        let to = self.unpack_place(&vault.name);
        let name = format!("restore-vault {}", vault.name);
        steps.take(&name, self.fill(&chosen, &to)).await?;
        if let Origin::Command(config) = &vault.origin {
            closed(&to)?;
            self.warnings.push(format!(
                "vault {0} is what {1} wrote: it lies in outputs/{0} and was fed to nothing; feed it to the system it came from, then remove it",
                vault.name,
                config.command.first().map_or("its command", String::as_str)
            ));
        }
        Ok(())
    }

    async fn fill(&mut self, chosen: &Chosen, to: &Path) -> Verb<((), String)> {
        let (opened, detail) = self.unpack(chosen, to)?;
        let Some(back) = self.vaults.last() else { return Ok(((), detail)) };
        let mut rows = 0;
        for (path, said) in &back.rows {
            let facts = foreign::facts(&to.join(path)).await?;
            if facts != *said {
                return Err(Fault::unavailable(format!("{path} does not hold the rows that were counted at the backup")));
            }
            rows += facts.rows.values().sum::<i64>();
        }
        let databases = back.rows.len();
        let missing = opened.manifest.skipped.len();
        let said = if missing == 0 { String::new() } else { format!("; {missing} paths were never in it") };
        Ok(((), format!("{detail}; {databases} databases with {rows} rows, as at the backup{said}")))
    }

    /// Own folders of servers stand in the data directory; the others wait beside it until everything is whole.
    fn unpack_place(&self, vault: &str) -> PathBuf {
        self.data.root().parent().unwrap_or(self.data.root()).join("vaults").join(vault)
    }

    pub(super) async fn deny(&self, db: &Db, list: Option<&DenyList>) -> Verb<(u64, String)> {
        let none = DenyList::default();
        let ended = vaults::apply_deny_list(db, list.unwrap_or(&none), self.source.clock.now()).await?;
        Ok((ended, format!("{ended} credentials of the archive were ended after it; the epoch is above every one there was")))
    }

    pub(super) async fn engage(&self, db: &Db, list: Option<&DenyList>) -> Verb<((), String)> {
        let now = (self.source.clock.now(), self.source.entropy.as_ref());
        let narrower = kill::engage_rebuilt(self.data.root(), db, list.map(|list| &list.kill), now).await?;
        Ok(((), format!("everything is stopped until an admin releases it; {narrower} narrower stops stay beneath")))
    }

    /// How much of the ledger came after the backup, by its signed head beside the archives.
    fn after(&self, head: u64) -> Option<String> {
        let text = fs::read_to_string(self.folder.path(CHECKPOINT)).ok()?;
        let newest: Checkpoint = serde_json::from_str(text.trim()).ok()?;
        if !newest.is_signed_by(&self.source.trust) {
            return Some(format!("{CHECKPOINT} beside the archives is not signed by this instance"));
        }
        let lost = newest.seq.saturating_sub(head);
        (lost > 0).then(|| format!("{lost} events of the ledger until {} came after the backup and are not in it", newest.ts))
    }

    pub(super) async fn record(&mut self, head: &str) -> Verb<((), String)> {
        let signer = audit::load_or_create_key(&self.data.ledger_key())?;
        let opening = Opening::new(self.data.audit(), Settings::default().audit, self.source.clock.clone(), signer);
        let (ledger, recorder) = Ledger::open(opening)?;
        let report = ledger.verify(Vec::new()).await?;
        let after = self.after(ledger.checkpoint("rebuild").await?.seq);
        self.warnings.extend(after.clone());
        let mut event = Event::system("rebuild.done", head);
        let archives: BTreeMap<&str, &str> = self.vaults.iter().map(|one| (one.vault.as_str(), one.archive.as_str())).collect();
        event.params = Some(serde_json::json!({ "archives": archives, "warnings": self.warnings }));
        let recorded = recorder.record(event, audit::Durability::Synced).await;
        ledger.shutdown().await;
        drop((ledger, recorder));
        free(&self.data.audit()).await?;
        recorded.map_err(|e| Fault::unavailable("the ledger cannot be written").because(e))?;
        if !report.ok {
            let detail = report.detail.unwrap_or_default();
            return Err(Fault::unavailable(format!("the ledger in the archive does not verify: {detail}")));
        }
        let more = after.map(|after| format!("; {after}")).unwrap_or_default();
        Ok(((), format!("the ledger verifies: {} events in {} segments{more}", report.events, report.segments)))
    }

    /// Where a vault goes, and whether that is inside the data directory.
    fn place_of(&self, vault: &Vault) -> Verb<(PathBuf, bool)> {
        let path = match &vault.origin {
            Origin::Directory(path) => path,
            // Lifeboat does not know what reads it, and feeds it to nothing.
            Origin::Command(_) | Origin::Deployment => {
                closed(&self.data.outputs())?;
                return Ok((self.data.outputs().join(&vault.name), true));
            }
        };
        if *path == DataDir::new(&self.source.to).vault(&vault.name) {
            return Ok((self.data.vault(&vault.name), true));
        }
        if let Some(rest) = self.root.as_ref().and_then(|root| path.strip_prefix(root).ok()) {
            return Ok((self.data.root().join(rest), true));
        }
        Ok(match &self.source.outside {
            Some(folder) => (folder.join(&vault.name), false),
            None => (path.clone(), false),
        })
    }

    /// Whether the places outside of the data directory are free: what a host still has is said before everything is unpacked, all of it at once.
    pub(super) fn places(&self) -> Verb<((), String)> {
        let mut outside = Vec::new();
        for vault in self.wanted()?.iter().filter(|vault| matches!(vault.origin, Origin::Directory(_))) {
            let (to, inside) = self.place_of(vault)?;
            if !inside && self.found.archives.iter().any(|note| note.vault == vault.name) {
                outside.push(to);
            }
        }
        settle::are_free(outside.iter().map(PathBuf::as_path))?;
        let places: Vec<String> = outside.iter().map(|to| to.display().to_string()).collect();
        let told =
            if places.is_empty() { "no vault lies outside of the data directory".to_owned() } else { places.join(", ") + ": free" };
        Ok(((), told))
    }

    /// Every vault has its place free and ready before the first is given it; the deployment comes last.
    pub(super) fn put(&self, place: &Path) -> Verb<((), String)> {
        let mut ready = Vec::new();
        for vault in self.wanted()? {
            let from = place.join("vaults").join(&vault.name);
            if !from.exists() {
                continue;
            }
            let (to, inside) = self.place_of(&vault)?;
            ready.push((settle::ready(&from, &to)?, inside));
        }
        let mut outside = Vec::new();
        for (ready, inside) in ready {
            if !inside {
                outside.push(ready.to().display().to_string());
            }
            ready.place()?;
        }
        let to = &self.source.to;
        fs::rename(self.data.root(), to).map_err(io(&format!("{} cannot be put in place", to.display())))?;
        to.parent().map_or(Ok(()), |parent| fs::File::open(parent)?.sync_all()).map_err(io("the rebuild is not on the disk"))?;
        let more = if outside.is_empty() { String::new() } else { format!(", and {}", outside.join(", ")) };
        Ok(((), format!("{}{more}", to.display())))
    }
}

/// What nobody but the account may look into.
fn closed(path: &Path) -> Verb<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    let closed = made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o700)));
    closed.map_err(io(&format!("{} cannot be closed to others", path.display())))
}

/// Waits until the ledger that was closed has given up its lock: the next start wants it at once.
async fn free(audit: &Path) -> Verb<()> {
    let until = Instant::now() + FREE_WAIT;
    loop {
        match audit::begin::lock(audit) {
            Ok(_) => return Ok(()),
            Err(fault) if Instant::now() > until => return Err(fault),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}
