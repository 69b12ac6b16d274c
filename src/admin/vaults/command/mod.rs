//! Vaults whose content is the output of a command: approving the command line on this host, and running it for an archive. A command that was
//! not approved here never starts, and what does not end well is no archive.

mod host;
mod parts;
mod store;

use std::io::{BufReader, Write};
use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub(super) use crate::admin::command::Line;
pub(super) use host::digest;
pub use store::STATEMENTS;

use super::archive::unmade;
use crate::admin::actor::Right;
use crate::admin::command::{self, Running};
use crate::admin::servers::{names_of, read_env, words as split};
use crate::admin::{Actor, Admin, tree};
use crate::audit::Event;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::config::VaultConfig;
use crate::crypto::archive::Writer;
use crate::db::Db;
use parts::{Shape, Stopped};

/// Bytes of one file in the archive.
pub(super) const PART: u64 = 64 * 1024 * 1024;
/// What is taken from the pipe at once.
const BUFFER: usize = 256 * 1024;
/// How long a command that is running may hold up a stop: it gets time to end in order, and is killed then.
const LAST: Duration = Duration::from_secs(12);

/// An approval, as an order.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ApproveVault {
    /// Variables that the command needs and git must not hold, one `NAME=value` a line: the text of `--env-file FILE`. Kept sealed on this
    /// host; what was kept before is replaced. When absent it stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// Approves only the command line of this digest, as `vault list` shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// A command line was approved.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct VaultApproved {
    /// The vault.
    pub vault: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Plain variables, `NAME=value`.
    pub env: Vec<String>,
    /// Names of the variables that this host keeps for it.
    pub secret_env: Vec<String>,
    /// Names of variables that are due and that this host keeps no value for: until it does, the command does not start.
    pub missing: Vec<String>,
    /// What was approved, as SHA-256.
    pub digest: String,
}

/// What an operator typed as a command.
pub(super) struct Typed {
    /// The words of it.
    pub command: Vec<String>,
    /// Variables to keep.
    pub kept: Vec<(String, String)>,
}

/// Reads a command line and the text of a variable file.
///
/// # Errors
/// `Invalid`, naming the field.
pub(super) fn read(line: &str, env: Option<&str>) -> Verb<Typed> {
    let command = split(line).map_err(|fault| Fault { place: Some("command".into()), ..fault })?;
    if !command.first().is_some_and(|program| program.starts_with('/')) {
        return Err(Fault::invalid("command", "must begin with the absolute path of a program; no shell reads it"));
    }
    Ok(Typed { command, kept: env.map(read_env).transpose()?.unwrap_or_default() })
}

/// Keeps what a new vault needs on this host, and approves its command line here. Gives the digest.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn take(
    admin: &Admin,
    actor: &Actor,
    (vault, config): (&str, &VaultConfig),
    kept: &[(String, String)],
) -> Verb<String> {
    // What an earlier vault of this name left behind on this host is none of the new one's business.
    command::forget(&admin.db, &owner(vault)).await?;
    store::forget(&admin.db, vault).await?;
    if !kept.is_empty() {
        keep(admin, vault, kept).await?;
    }
    let digest = digest(config);
    command::approve(&admin.db, &owner(vault), &digest, (admin.clock.now(), &actor.name)).await?;
    Ok(digest)
}

/// Under which name what was approved for a vault is kept.
fn owner(vault: &str) -> String {
    format!("vault/{vault}")
}

async fn keep(admin: &Admin, vault: &str, pairs: &[(String, String)]) -> Verb<()> {
    let with = (admin.sealer.as_ref(), admin.entropy.as_ref(), admin.clock.now());
    host::keep(&admin.db, with, vault, pairs).await
}

/// Approves the command line of a vault as it stands in the configuration on this host, and keeps the variables that are given.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `NotFound`; `Invalid` for a vault without a command, or a variable that is not due; `Conflict` when the command
/// line is not the one of the digest that was given.
pub async fn approve(admin: &Admin, actor: &Actor, name: &str, order: ApproveVault) -> Verb<VaultApproved> {
    actor.need(Right::Administer, "vault.approve")?;
    // It runs outside of any sandbox: a page that somebody left open is not enough.
    actor.need_person("vault.approve", admin.clock.now())?;
    let config = tree::desired(admin).await?.vaults.remove(name);
    let config = config.ok_or_else(|| Fault::not_found(format!("there is no vaults/{name}.toml")))?;
    if config.command.is_empty() {
        return Err(Fault::invalid("name", format!("vault {name} has a path and no command: there is nothing to approve")));
    }
    let digest = digest(&config);
    if order.digest.as_ref().is_some_and(|seen| *seen != digest) {
        return Err(Fault::conflict(format!("the command line of vault {name} is another one by now; look at it again")));
    }
    if let Some(text) = &order.env {
        let pairs = read_env(text)?;
        host::due(name, &config, &pairs)?;
        keep(admin, name, &pairs).await?;
    }
    command::approve(&admin.db, &owner(name), &digest, (admin.clock.now(), &actor.name)).await?;
    let kept = host::kept(&admin.db, &admin.sealer, name).await?;
    let mut event = Event::action(&actor.name, "vault.approve", name);
    event.params = Some(told(&config, &digest));
    admin.record(event).await?;
    Ok(VaultApproved {
        vault: name.to_owned(),
        env: config.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        secret_env: config.secret_env.clone(),
        missing: config.secret_env.iter().filter(|due| !kept.contains_key(*due)).cloned().collect(),
        command: config.command,
        digest,
    })
}

/// What the ledger says of an approval: never a value that is kept.
pub(super) fn told(config: &VaultConfig, digest: &str) -> serde_json::Value {
    serde_json::json!({ "command": config.command, "env": config.env, "secret_env": config.secret_env, "approved": digest })
}

/// Digests of the command lines that are approved on this host, by vault.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn approvals(admin: &Admin) -> Verb<std::collections::HashMap<String, String>> {
    let all = command::approvals(&admin.db).await?;
    let of_vault = |(owner, digest): (String, String)| owner.strip_prefix("vault/").map(|name| (name.to_owned(), digest));
    Ok(all.into_iter().filter_map(of_vault).collect())
}

/// In a deployment that was rebuilt for a drill: no command may start there, for it would reach what production reaches.
///
/// # Errors
/// When the database does not answer.
pub async fn forget_approvals(db: &Db) -> Verb<()> {
    command::forget_all(db).await
}

/// The command of a vault, ready to start.
///
/// # Errors
/// `Unavailable` when it was not approved on this host, or a variable is due that this host keeps no value for.
pub(super) async fn ready(admin: &Admin, name: &str, config: &VaultConfig) -> Verb<Line> {
    if !command::is_approved(&admin.db, &owner(name), &digest(config)).await? {
        let line = config.command.join(" ");
        return Err(Fault::unavailable(format!(
            "its command line is not approved on this host: {line}. lifeboat vault approve {name}"
        )));
    }
    let mut kept = host::kept(&admin.db, &admin.sealer, name).await?;
    let mut secrets = Vec::new();
    for due in &config.secret_env {
        let value = kept.remove(due).ok_or_else(|| {
            let mend = format!("lifeboat vault approve {name} --env-file FILE");
            Fault::unavailable(format!("this host keeps no value for its variable {due}. {mend}"))
        })?;
        secrets.push((due.clone(), value));
    }
    let (program, arguments) = config.command.split_first().ok_or_else(|| Fault::bug("a command without a program"))?;
    Ok(Line {
        program: program.clone(),
        arguments: arguments.to_vec(),
        env: config.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        secrets,
        input: None,
        hidden: Vec::new(),
        tells: true,
        limit: Duration::from_secs(config.timeout_seconds),
        bytes: (config.min_bytes, config.max_bytes),
        stop: stops(admin),
    })
}

/// What a run needs of its archive.
pub(super) struct Feeding<'a> {
    /// Name of the file in the archive.
    pub output: &'a str,
    /// When it began.
    pub at: Timestamp,
    /// Directory for what is held.
    pub staging: &'a Path,
}

/// Runs a command and writes its output. Blocks, within the runtime. Whatever fails, no process of its group is left.
///
/// # Errors
/// How the command ended when that was not well, with its last words; or what keeps the archive from being written.
pub(super) fn feed<W: Write + Send + 'static>(line: Line, writer: &mut Writer<W>, feeding: &Feeding<'_>) -> Verb<bool> {
    let mut source = BufReader::with_capacity(BUFFER, Running::start(line)?);
    let mtime = u64::try_from(feeding.at.0 / 1000).unwrap_or(0);
    let shape = Shape { name: feeding.output, size: PART, mtime, staging: feeding.staging };
    let written = parts::write(&mut source, writer, &shape);
    let ended = source.into_inner().close();
    match (written, ended) {
        (Ok(_), Ok(())) => Ok(true),
        (Err(Stopped::Archive(cause)), _) => Err(unmade(cause)),
        (Err(Stopped::Held(cause)), _) => {
            Err(Fault::unavailable(format!("the output of its command cannot be held for the archive: {cause}")).because(cause))
        }
        (_, Err(why)) => Err(Fault::unavailable(format!("its command {why}"))),
        (Err(Stopped::Source), Ok(())) => Err(Fault::bug("a command that failed and ended well")),
    }
}

/// Ends commands when Lifeboat stops.
pub(in crate::admin) fn stops(admin: &Admin) -> CancellationToken {
    admin.vaults.stop.clone()
}

/// Ends the command that runs, when Lifeboat stops, and waits until it is gone.
pub async fn end(admin: &Admin) {
    admin.vaults.stop.cancel();
    let _ = tokio::time::timeout(LAST, admin.vaults.running.lock()).await;
}

/// Names and values apart, as a vault's file holds the names.
pub(super) fn due_names(kept: &[(String, String)]) -> Vec<String> {
    names_of(kept)
}
