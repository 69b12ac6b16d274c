//! Makes one archive: written beside its name, brought to the disk, read back and decrypted, then named, then noted. Whatever fails before the
//! note leaves nothing that counts. Blocks.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::catalogue::{ARCHIVE, extract_new};
use super::command::{self, Feeding, Line};
use super::folder::{Folder, Partial, forget_pages, free, read_in_pieces};
use super::pace::{Beside, Paced};
use super::sidecar::{FORMAT, Sidecar};
use super::{Origin, Vault, deployment, source};
use crate::audit::{Ledger, Signer};
use crate::base::clock::{SharedClock, Timestamp};
use crate::base::fault::{Fault, Verb};
use crate::base::ids::{self, SharedEntropy};
use crate::base::secret::Secret;
use crate::config::paths::DataDir;
use crate::config::repo::Repository;
use crate::crypto::archive::{self, ArchiveFault, Ephemeral, Identities, Meta, Pace, Writer};
use crate::db::Db;

/// What making archives needs.
pub(super) struct Workshop {
    /// The data directory.
    pub data: DataDir,
    /// Runtime state.
    pub db: Db,
    /// The configuration.
    pub repository: Repository,
    /// Where archives go.
    pub folder: Folder,
    /// Who can open them.
    pub recipients: Vec<String>,
    /// Signs the notes.
    pub signer: Signer,
    /// While it is written, archives make room.
    pub ledger: Ledger,
    /// Commit at HEAD.
    pub head: String,
    /// Bytes that must stay free for the ledger.
    pub reserve: u64,
    /// The time.
    pub clock: SharedClock,
    /// Chance.
    pub entropy: SharedEntropy,
}

/// Where it stands in the run and in the chain.
pub(super) struct Link<'a> {
    /// The recovery point.
    pub set: &'a str,
    /// Its number.
    pub seq: u64,
    /// The note before it.
    pub prev: &'a str,
    /// Whether it holds what a restore in place is about to replace.
    pub safety: bool,
}

/// A made archive.
pub(super) struct Made {
    /// Its note.
    pub note: Sidecar,
    /// Digest of the note's file.
    pub digest: String,
    /// Opens it.
    pub identity: Secret<String>,
}

/// What the directory for plain copies begins with.
pub(super) const STAGING: &str = ".staging-";

/// A directory for plain copies, closed to everybody else, removed with all that is in it.
pub(super) struct Staging(PathBuf);

impl Staging {
    /// Makes one below `parent`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn new(parent: &Path, id: &str) -> Verb<Self> {
        let path = parent.join(format!("{STAGING}{id}"));
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|e| Fault::unavailable(format!("{} cannot be made: {e}", path.display())).because(e))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

enum Ready {
    Files(source::Prepared),
    Deployment(deployment::Prepared),
    Command(Line, String),
}

impl Workshop {
    /// Makes the archive of one vault; `line` is its command, where it has one.
    ///
    /// # Errors
    /// What its source says, or the disk; nothing of it is left then.
    pub(super) fn make(&self, vault: &Vault, line: Option<Line>, link: &Link<'_>) -> Verb<Made> {
        let started_at = self.clock.now();
        let id = ids::mint("ar", started_at, self.entropy.as_ref());
        // On the same disk as the archives, and never in a folder that others share.
        let staging = Staging::new(self.folder.root(), &id)?;
        let (ready, facts) = self.prepare(vault, line, staging.path())?;
        let meta = Meta {
            format: archive::FORMAT,
            id: id.clone(),
            vault: vault.name.clone(),
            set: link.set.to_owned(),
            source: vault.origin.word().to_owned(),
            program: format!("lifeboat {}", env!("CARGO_PKG_VERSION")),
            head: self.head.clone(),
            started_at,
            facts,
        };
        let file = name_of(&vault.name, &id, started_at);
        let (partial, made) = self.folder.begin(&file, &id)?;
        let key = Ephemeral::generate();
        let mut note = self.write(&meta, (ready, staging.path()), made, &key)?;
        (note.file, note.seq, note.prev) = (file, link.seq, link.prev.to_owned());
        note.safety = link.safety;
        self.admit(note, partial, key)
    }

    /// Reads back what was written, gives it its name, and only then the note that makes it count.
    ///
    /// # Errors
    /// When it does not read back as it was written, or the name or the note cannot be given; nothing of it is left then.
    pub(super) fn admit(&self, mut note: Sidecar, partial: Partial, key: Ephemeral) -> Verb<Made> {
        note.sha256 = self.verify(&note, partial.path(), &key)?;
        note.verified_at = self.clock.now();
        partial.commit()?;
        let bytes = note.sign(&self.signer)?;
        let digest = super::sidecar::digest(&bytes);
        let noted = self.folder.put(&note.path(), &note.id, &bytes);
        if noted.is_err() {
            // An archive without a note does not count; it would only take room.
            let _ = fs::remove_file(self.folder.path(&note.file));
        }
        noted.map(|()| Made { note, digest, identity: key.text() })
    }

    fn prepare(&self, vault: &Vault, line: Option<Line>, staging: &Path) -> Verb<(Ready, Value)> {
        match &vault.origin {
            Origin::Deployment => {
                self.need_room(0)?;
                let ready = deployment::prepare(&self.data, &self.db, &self.repository, staging)?;
                // Where everything stood: a rebuild elsewhere tells by it what lay inside.
                let root = std::path::absolute(self.data.root()).unwrap_or_else(|_| self.data.root().to_owned());
                let facts = json!({ "state": ready.facts, "root": root });
                Ok((Ready::Deployment(ready), facts))
            }
            Origin::Directory(path) => {
                let excluded: Vec<&str> = vault.exclude.iter().map(String::as_str).collect();
                let ready = source::prepare(path, &excluded, staging, |bytes| self.need_room(bytes))?;
                let facts = json!({ "databases": ready.facts });
                Ok((Ready::Files(ready), facts))
            }
            Origin::Command(config) => {
                self.need_room(command::PART)?;
                let line = line.ok_or_else(|| Fault::bug("a command that was not made ready"))?;
                let facts = json!({ "command": config.command, "approved": command::digest(config) });
                Ok((Ready::Command(line, config.output.clone()), facts))
            }
        }
    }

    fn write(&self, meta: &Meta, (ready, staging): (Ready, &Path), file: File, key: &Ephemeral) -> Verb<Sidecar> {
        let mut recipients = self.recipients.clone();
        recipients.push(key.recipient());
        let mut writer = Writer::begin(self.output(file), &recipients, meta).map_err(unmade)?;
        let pace: Arc<dyn Pace> = Arc::new(Beside::new(&self.ledger));
        if !matches!(ready, Ready::Command(..)) {
            // A command has its time; only the disk is spared for it.
            writer.go_at(pace.clone());
        }
        let lost = ArchiveFault::io("the archive is not fed");
        let complete = match ready {
            // Reading and digesting it is work for a core that has nothing else to do; what is made beside it stays before it.
            Ready::Files(files) => {
                archive::last(|| files.feed(&mut writer, pace.as_ref())).map_err(lost).flatten().map_err(unmade)?
            }
            Ready::Deployment(files) => {
                archive::last(|| files.feed(&mut writer, pace.as_ref())).map_err(lost).flatten().map_err(unmade)?
            }
            Ready::Command(line, output) => {
                command::feed(line, &mut writer, &Feeding { output: &output, at: meta.started_at, staging })?
            }
        };
        let sealed = writer.finish(self.clock.now()).map_err(unmade)?;
        let bytes = landed(sealed.output)?;
        let meta = meta.clone();
        Ok(Sidecar {
            format: FORMAT,
            id: meta.id,
            vault: meta.vault,
            set: meta.set,
            source: meta.source,
            program: meta.program,
            head: meta.head,
            file: String::new(),
            bytes,
            sha256: String::new(),
            manifest_sha256: sealed.manifest_sha256,
            entries: sealed.manifest.entries.len() as u64,
            payload_bytes: sealed.manifest.bytes,
            complete,
            started_at: meta.started_at,
            created_at: sealed.manifest.finished_at,
            verified_at: Timestamp(0),
            recipients: self.recipients.clone(),
            content: None,
            safety: false,
            seq: 0,
            prev: String::new(),
            key: String::new(),
            signature: String::new(),
        })
    }

    /// What an archive is written through: counted, and watched for the room that is left.
    pub(super) fn output(&self, file: File) -> Output {
        let (watch, pace) = (self.folder.root().to_owned(), Beside::new(&self.ledger));
        let guarded = Guarded { file, written: 0, since: 0, unsynced: 0, watch, reserve: self.reserve, pace };
        BufWriter::with_capacity(1 << 18, guarded)
    }

    /// Reads back what the disk has, by the identity that only this process knows.
    /// Every byte is authenticated by that, so its digest is that of what was written.
    fn verify(&self, note: &Sidecar, path: &Path, key: &Ephemeral) -> Verb<String> {
        let identities = Identities::read(&[key.text()]).map_err(|e| Fault::bug("an identity that cannot be read").because(e))?;
        let unread = |e: io::Error| Fault::unavailable(format!("the archive does not read back: {e}")).because(e);
        let file = File::open(path).map_err(unread)?;
        read_in_pieces(&file);
        let pace = Beside::new(&self.ledger);
        let read = extract_new(note, (Paced::new(file, &pace), &pace), &identities);
        read.map_err(|e| Fault::unavailable(format!("the archive does not read back: {e}")).because(e))
    }

    pub(super) fn need_room(&self, expected: u64) -> Verb<()> {
        let Some(free) = free(self.folder.root()) else { return Ok(()) };
        // What compresses badly needs as much again as its source.
        if free < self.reserve.saturating_add(expected) {
            let (free, expected) = (free / 1_048_576, expected / 1_048_576);
            return Err(Fault::unavailable(format!(
                "{} has {free} MiB free; the archive may need {expected} MiB, and the ledger's reserve is not touched",
                self.folder.root().display()
            )));
        }
        Ok(())
    }
}

/// What an archive is written through.
pub(super) type Output = BufWriter<Guarded>;

/// Brings what was written to the disk; how many bytes.
///
/// # Errors
/// When it does not get there.
pub(super) fn landed(output: Output) -> Verb<u64> {
    let unsynced = |e: io::Error| Fault::unavailable(format!("the archive does not reach the disk: {e}")).because(e);
    let guarded = output.into_inner().map_err(|e| unsynced(e.into_error()))?;
    guarded.file.sync_all().map_err(unsynced)?;
    forget_pages(&guarded.file);
    Ok(guarded.written)
}

pub(super) fn unmade(cause: ArchiveFault) -> Fault {
    let what = if cause.is_full() { "the archive is not made: the disk is full" } else { "the archive is not made" };
    Fault::unavailable(format!("{what}: {cause}")).because(cause)
}

/// `VAULT/2026/VAULT-20261129T050432Z-ID.tar.zst.age`: by vault and year, and in the order of time.
pub(super) fn name_of(vault: &str, id: &str, at: Timestamp) -> String {
    let (year, month, day) = at.civil();
    let second = at.ms_of_day() / 1000;
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    format!("{vault}/{year:04}/{vault}-{year:04}{month:02}{day:02}T{h:02}{m:02}{s:02}Z-{id}{ARCHIVE}")
}

/// How much is brought to the disk at once. What the ledger syncs meanwhile waits for all that was written before it, so a whole archive at once
/// would hold up every write for as long as the disk takes for it. Many small portions also get there sooner than few large ones.
const PORTION: u64 = 256 * 1024;
/// How much is written between two looks at the room that is left.
const LOOK: u64 = 64 * 1024 * 1024;

/// A file that stops growing before the disk is so full that the ledger cannot go on.
pub(super) struct Guarded {
    file: File,
    written: u64,
    since: u64,
    unsynced: u64,
    watch: PathBuf,
    reserve: u64,
    pace: Beside,
}

impl Write for Guarded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let began = Instant::now();
        let count = self.file.write(bytes)?;
        self.written += count as u64;
        self.since += count as u64;
        self.unsynced += count as u64;
        if self.unsynced >= PORTION {
            self.unsynced = 0;
            self.file.sync_data()?;
            self.pace.rest(began.elapsed());
        }
        if self.since >= LOOK {
            self.since = 0;
            if free(&self.watch).is_some_and(|free| free < self.reserve) {
                return Err(io::Error::new(io::ErrorKind::StorageFull, "only the ledger's reserve is left"));
            }
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
