//! Opens the parts both planes stand on: database, ledger, configuration, policy, kill state. The kill state is read before anything
//! listens, and an unreadable one means engaged.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::admin::{Admin, Parts, kill, publish, tokens, vaults};
use crate::audit::PublicKey;
use crate::audit::checkpoint::{self, Checkpoint};
use crate::audit::ledger::{Ledger, Opening};
use crate::base::clock::{SharedClock, SystemClock, Timestamp};
use crate::base::fault::{Fault, Verb};
use crate::base::ids::SharedEntropy;
use crate::config::paths::DataDir;
use crate::config::repo::{Author, Repository};
use crate::config::{ConfigFault, Desired, Settings};
use crate::crypto::files::{self, Readers};
use crate::crypto::random::SystemEntropy;
use crate::crypto::seal::InstanceKey;
use crate::db::{Db, Migrations};
use crate::policy::feed::{Feed, ProbeRequest};

/// What the parts are opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Both planes will run: checkpoints go to stdout too.
    Serve,
    /// One command on the files.
    Command,
}

/// The open parts.
pub(super) struct Opened {
    /// Everything a verb may use.
    pub admin: Arc<Admin>,
    /// Where the proxy gets probe requests from.
    pub probes: mpsc::Receiver<ProbeRequest>,
}

const CHECKPOINTS: &str = "refs/lifeboat/checkpoints";
const GIT_PAUSE_MS: i64 = 10 * 60 * 1000;

/// Opens them.
///
/// # Errors
/// When one of them cannot be opened, or HEAD is invalid and no revision was ever applied.
pub(super) async fn open(data: &DataDir, purpose: Purpose) -> Verb<Opened> {
    let clock: SharedClock = Arc::new(SystemClock);
    let entropy: SharedEntropy = Arc::new(SystemEntropy);
    let repository = Repository::open(&data.config())?;
    let db = Db::open(&data.state_db(), &Migrations::embedded()?).await?;
    let overlay = kill::load(Some(&db), data.root(), clock.now(), entropy.as_ref()).await;
    let sealer = Arc::new(InstanceKey::ensure(&data.instance_key(), entropy.as_ref())?);
    tokens::ensure(&db, &sealer, entropy.as_ref(), clock.now()).await?;
    let (snapshot, refused) = publish::first(&db, &repository, &sealer).await?;
    let settings = snapshot.settings.audit.clone();
    let signer = checkpoint::load_or_create_key(&data.ledger_key())?;
    keep_public(data, signer.public())?;
    let opening =
        Opening::new(data.audit(), settings, clock.clone(), signer.clone()).sink(to_repository(repository.clone(), clock.clone()));
    let opening = opening.sink(to_archives(data.archives()));
    let opening = if purpose == Purpose::Serve { opening.sink(Box::new(to_stdout)) } else { opening };
    let (ledger, recorder) = Ledger::open(opening)?;
    let (feed, probes) = Feed::new(snapshot, overlay);
    let parts = Parts { db, repository, feed, recorder, ledger, clock, entropy, data: data.clone(), sealer, refused, signer };
    Ok(Opened { admin: Admin::open(parts).await, probes })
}

/// The settings of HEAD, before anything runs; the defaults when HEAD cannot be read as a whole.
///
/// # Errors
/// When the repository cannot be read.
pub(super) fn settings_of(repository: &Repository) -> Verb<Settings> {
    Ok(Desired::read(&repository.head()?.files).map(|desired| desired.settings).unwrap_or_default())
}

/// The settings of HEAD in a data directory that may be in use.
///
/// # Errors
/// When there is none, or HEAD is invalid.
pub(super) fn strict_settings(data: &DataDir) -> Verb<Settings> {
    if !data.config().join(".git").exists() {
        return Err(Fault::not_found(format!("there is no Lifeboat in {}; make one with lifeboat up", data.root().display())));
    }
    let head = Repository::open(&data.config())?.head()?;
    Desired::read(&head.files).map(|desired| desired.settings).map_err(|faults| ConfigFault::join(&faults))
}

/// What whoever rebuilds must trust; it is nobody's secret.
fn keep_public(data: &DataDir, key: &PublicKey) -> Verb<()> {
    let text = format!("{}\n", vaults::key_text(key));
    let path = data.instance_pub();
    if files::read(&path)?.as_deref() == Some(text.as_bytes()) {
        return Ok(());
    }
    files::write(&path, text.as_bytes(), Readers::Owner)
}

// The copy in git leaves the host with the next push; HEAD stays the desired state alone.
fn to_repository(repository: Repository, clock: SharedClock) -> checkpoint::CheckpointSink {
    let pace = Pace::default();
    Box::new(move |checkpoint: &Checkpoint| {
        if !pace.takes(checkpoint) {
            return;
        }
        let author = Author { name: "lifeboat".into(), at: clock.now() };
        if let Err(fault) = repository.write_ref(CHECKPOINTS, &as_line(checkpoint), &author) {
            tracing::warn!(%fault, "a checkpoint did not reach the configuration repository");
        }
    })
}

/// Which checkpoints are worth three objects in git: each one with a reason, and of those of the minute one in ten minutes.
#[derive(Default)]
struct Pace(Mutex<Option<Timestamp>>);

impl Pace {
    fn takes(&self, checkpoint: &Checkpoint) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rests = last.is_some_and(|last| (0..GIT_PAUSE_MS).contains(&checkpoint.ts.since_ms(last)));
        if rests && checkpoint.why == "interval" {
            return false;
        }
        *last = Some(checkpoint.ts);
        true
    }
}

/// Beside the archives: a rebuild says by it how much of the ledger came after the backup.
fn to_archives(archives: PathBuf) -> checkpoint::CheckpointSink {
    Box::new(move |checkpoint: &Checkpoint| {
        let line = format!("{}\n", as_line(checkpoint));
        if let Err(fault) = files::write(&archives.join(vaults::CHECKPOINT), line.as_bytes(), Readers::Owner) {
            tracing::warn!(%fault, "a checkpoint is not beside the archives");
        }
    })
}

fn to_stdout(checkpoint: &Checkpoint) {
    use std::io::Write;
    // Whoever collects stdout holds a copy of the ledger's head that this host cannot change any more.
    let _closed = writeln!(std::io::stdout().lock(), "checkpoint {}", as_line(checkpoint));
}

fn as_line(checkpoint: &Checkpoint) -> String {
    serde_json::to_string(checkpoint).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(minute: i64, why: &str) -> Checkpoint {
        let (hash, key, signature) = (String::new(), String::new(), String::new());
        Checkpoint { seq: 1, hash, ts: Timestamp(minute * 60_000), why: why.to_owned(), key, signature }
    }

    #[test]
    fn git_takes_one_checkpoint_in_ten_minutes_and_each_with_a_reason() {
        let pace = Pace::default();
        let taken: Vec<i64> = (0..60).filter(|minute| pace.takes(&checkpoint(*minute, "interval"))).collect();
        assert_eq!(taken, [0, 10, 20, 30, 40, 50]);
        assert!(pace.takes(&checkpoint(61, "kill.engage")));
        assert!(pace.takes(&checkpoint(61, "kill.release")));
        assert!(!pace.takes(&checkpoint(62, "interval")));
        assert!(pace.takes(&checkpoint(5, "interval")), "a clock that was set back is no pause");
    }
}
