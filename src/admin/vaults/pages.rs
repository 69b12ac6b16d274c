//! The pages of vaults: what is protected, its archives, who opens them, bringing back; and the recovery kit to print. Pure.

use askama::Template;

use super::elsewhere::CopyView;
use super::form::AddForm;
use super::live::pages::KeptRow;
use super::live::{self, KeptList};
use super::model::{Archive, ArchiveList, RecipientList, VaultList, VaultView};
use crate::admin::OperatorRole;
use crate::admin::actor::Right;
use crate::admin::shell::{Shell, sentence};
use crate::base::clock::Timestamp;
use crate::web::human;
use crate::web::view::{Badge, Code, Tone};

/// Daily, and two hours for a late one.
const FRESH_MS: i64 = 26 * 3_600_000;
const SHOWN: usize = 30;

/// `/vaults`.
#[derive(Template)]
#[template(path = "vaults/page.html")]
pub struct VaultsPage {
    /// Around it.
    pub shell: Shell,
    /// In it.
    pub page: VaultsView,
}

/// What the page shows.
#[derive(Clone, Debug, Default)]
pub struct VaultsView {
    /// `3 vaults`.
    pub tally: String,
    /// What is wrong with the destination.
    pub faults: Vec<String>,
    /// All of them.
    pub vaults: Vec<VaultRow>,
    /// The newest archives.
    pub archives: Vec<ArchiveRow>,
    /// How many more there are.
    pub more: usize,
    /// Who opens them.
    pub recipients: Vec<RecipientRow>,
    /// What is wrong with that.
    pub warnings: Vec<String>,
    /// Copies of the archives.
    pub copies: Vec<CopyRow>,
    /// Role operator.
    pub may_run: bool,
    /// Role admin.
    pub may_restore: bool,
    /// The form to bring back, as it was typed.
    pub form: RestoreForm,
    /// What restores in place kept.
    pub kept: Vec<KeptRow>,
    /// The form to add one, as it was typed.
    pub add: AddForm,
    /// Every server.
    pub servers: Vec<String>,
    /// Remote servers that no vault is of.
    pub bare: Vec<String>,
}

/// One vault.
#[derive(Clone, Debug)]
pub struct VaultRow {
    /// Its name.
    pub name: String,
    /// Its newest archive.
    pub badge: Badge,
    /// What is read.
    pub origin: String,
    /// How many archives.
    pub archives: usize,
    /// A command that waits for approval: its digest and what it needs.
    pub waits: Option<Waiting>,
}

/// A command that does not start yet.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// What is approved by the button.
    pub digest: String,
    /// Its plain variables.
    pub env: Vec<String>,
    /// Names of the variables it needs kept.
    pub secret_env: Vec<String>,
}

impl VaultRow {
    fn of(vault: &VaultView, now: Timestamp) -> Self {
        let waits = vault.command.as_ref().filter(|command| !command.approved).map(|command| Waiting {
            digest: command.digest.clone(),
            env: command.env.clone(),
            secret_env: command.secret_env.clone(),
        });
        let badge = match vault.last_archive {
            _ if waits.is_some() => Badge::new(Tone::Warn, "waits for approval"),
            None => Badge::new(Tone::Warn, "none"),
            Some(at) if now.since_ms(at) > FRESH_MS => Badge::new(Tone::Warn, human::ago(at, now)),
            Some(at) => Badge::new(Tone::Ok, human::ago(at, now)),
        };
        let source = vault.path.as_ref().or(vault.command.as_ref().map(|command| &command.line));
        let origin = match (source, &vault.server) {
            (None, _) => "configuration, state, keys, ledger".to_owned(),
            (Some(path), Some(server)) => format!("{path}, memory of {server}"),
            (Some(path), None) => path.clone(),
        };
        Self { name: vault.name.clone(), badge, origin, archives: vault.archives, waits }
    }
}

/// One archive.
#[derive(Clone, Debug)]
pub struct ArchiveRow {
    /// When it was finished.
    pub when: String,
    /// Its vault.
    pub vault: String,
    /// Verified or damaged.
    pub badge: Badge,
    /// What is wrong.
    pub note: String,
    /// Its size.
    pub size: String,
    /// Its id.
    pub id: String,
}

impl ArchiveRow {
    fn of(archive: &Archive, now: Timestamp) -> Self {
        let badge = match (archive.verified, archive.complete) {
            (false, _) => Badge::new(Tone::Warn, "damaged"),
            (_, false) => Badge::new(Tone::Warn, "partial"),
            _ if archive.safety => Badge::new(Tone::Plain, "replaced"),
            _ => Badge::new(Tone::Ok, "verified"),
        };
        let note = match (&archive.fault, archive.complete) {
            (Some(fault), _) => sentence(fault),
            _ if archive.safety => "what a restore in place replaced; taken only when it is named".to_owned(),
            (None, false) => "its source changed or could not be read as a whole".to_owned(),
            _ => String::new(),
        };
        let (when, size) = (human::when(archive.created_at, now), human::bytes(archive.bytes));
        Self { when, vault: archive.vault.clone(), badge, note, size, id: archive.id.clone() }
    }
}

/// One recipient.
#[derive(Clone, Debug)]
pub struct RecipientRow {
    /// What it is called.
    pub name: String,
    /// `age1…`.
    pub key: String,
    /// When possession was shown.
    pub note: String,
    /// Whether it was.
    pub proved: bool,
}

/// One copy of the archives.
#[derive(Clone, Debug)]
pub struct CopyRow {
    /// Where.
    pub place: String,
    /// What is to be known of it.
    pub note: String,
    /// Whether it is in line.
    pub well: bool,
}

impl CopyRow {
    fn of(copy: &CopyView, now: Timestamp) -> Self {
        let note = match (&copy.fault, copy.missing.unwrap_or_default(), &copy.lock) {
            (Some(fault), _, _) => sentence(fault),
            (None, 0, Some(lock)) => format!("in line, the newest kept by the bucket: {lock}"),
            (None, 0, None) => format!("in line {}", human::ago(copy.at, now)),
            (None, missing, _) => format!("lacks {}", human::plural(missing as u64, "file")),
        };
        Self { place: copy.place.clone(), note, well: copy.wrong().is_none() }
    }
}

fn recipients(list: &RecipientList, now: Timestamp) -> Vec<RecipientRow> {
    let row = |one: &super::RecipientView| RecipientRow {
        name: one.name.clone(),
        key: one.recipient.clone(),
        note: one.proved_at.map_or("never shown to be at hand".to_owned(), |at| format!("shown {}", human::ago(at, now))),
        proved: one.proved_at.is_some(),
    };
    list.recipients.iter().map(row).collect()
}

/// The form to bring back.
#[derive(Clone, Debug, Default)]
pub struct RestoreForm {
    /// Field.
    pub archive: String,
    /// Field.
    pub to: String,
    /// Field.
    pub path: String,
}

/// `12 files, 3 MiB`.
pub fn content(files: u64, bytes: u64) -> String {
    format!("{}, {}", human::plural(files, "file"), human::bytes(bytes))
}

/// What the page is made of.
pub struct Facts<'a> {
    /// Vaults.
    pub vaults: &'a VaultList,
    /// Archives.
    pub archives: &'a ArchiveList,
    /// Copies of them.
    pub copies: &'a [CopyView],
    /// Who opens them.
    pub recipients: &'a RecipientList,
    /// What was typed.
    pub form: RestoreForm,
    /// What restores in place kept.
    pub kept: &'a KeptList,
    /// What was typed to add one.
    pub add: AddForm,
    /// Every server, and whether it is remote.
    pub servers: Vec<(String, bool)>,
}

/// The whole page.
pub fn page(shell: Shell, facts: Facts<'_>, role: OperatorRole) -> VaultsPage {
    let now = shell.now;
    let all = &facts.archives.archives;
    let page = VaultsView {
        tally: human::plural(facts.vaults.vaults.len() as u64, "vault"),
        faults: facts.archives.faults.iter().map(|fault| sentence(fault)).collect(),
        vaults: facts.vaults.vaults.iter().map(|vault| VaultRow::of(vault, now)).collect(),
        archives: all.iter().take(SHOWN).map(|archive| ArchiveRow::of(archive, now)).collect(),
        more: all.len().saturating_sub(SHOWN),
        recipients: recipients(facts.recipients, now),
        warnings: facts.recipients.warnings.iter().map(|warning| sentence(warning)).collect(),
        copies: facts.copies.iter().map(|copy| CopyRow::of(copy, now)).collect(),
        may_run: role.has(Right::Operate),
        may_restore: role.has(Right::Administer),
        form: facts.form,
        kept: live::pages::kept(facts.kept, now),
        add: facts.add,
        bare: bare(&facts.servers, facts.vaults),
        servers: facts.servers.into_iter().map(|(name, _)| name).collect(),
    };
    VaultsPage { shell, page }
}

/// Remote servers that no vault is of.
fn bare(servers: &[(String, bool)], vaults: &VaultList) -> Vec<String> {
    let kept = |server: &str| vaults.vaults.iter().any(|vault| vault.server.as_deref() == Some(server));
    servers.iter().filter(|(name, remote)| *remote && !kept(name)).map(|(name, _)| name.clone()).collect()
}

/// `/vaults/kit`.
#[derive(Template)]
#[template(path = "vaults/kit.html")]
pub struct KitPage {
    /// Around it.
    pub shell: Shell,
    /// In it.
    pub page: KitView,
}

/// What stands on the printed page.
#[derive(Clone, Debug)]
pub struct KitView {
    /// Where archives go.
    pub destination: String,
    /// The data directory.
    pub data: String,
    /// Of this Lifeboat.
    pub version: &'static str,
    /// Digest of its program.
    pub binary: String,
    /// The instance's public key.
    pub trust: String,
    /// Who opens archives.
    pub recipients: Vec<RecipientRow>,
    /// How everything comes back.
    pub rebuild: Vec<Code>,
    /// How an archive is read without Lifeboat.
    pub stock: Vec<Code>,
}

/// The kit.
pub fn kit(shell: Shell, list: &RecipientList, (destination, data): (String, String), binary: String) -> KitPage {
    let trust = list.instance_key.clone();
    let rebuild = format!(
        "lifeboat rebuild --from {destination} --identity recovery.key \\\n  --trust {trust} \\\n  --to {data}\nlifeboat --data {data} serve"
    );
    let stock = "age -d -i recovery.key ARCHIVE.tar.zst.age | zstd -d | tar x".to_owned();
    let page = KitView {
        recipients: recipients(list, shell.now),
        rebuild: vec![Code::new("On the new machine", rebuild)],
        stock: vec![Code::new("With age, zstd and tar", stock)],
        version: env!("CARGO_PKG_VERSION"),
        destination,
        data,
        binary,
        trust,
    };
    KitPage { shell, page }
}
