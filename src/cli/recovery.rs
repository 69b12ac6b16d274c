//! What the commands of vaults, archives and drills ask of the API, and the proof of possession, for which the identity stays in this process.
//! Never prints an identity.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::args::{BackupCommand, DrillCommand, RecipientCommand, RestoreArgs, VaultAddArgs, VaultCommand};
use super::order::{Order, file, segment, standard_input};
use super::out::{self, Voice};
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;
use crate::config::paths::DataDir;
use crate::crypto::recovery;

const DONE: u8 = 0;

fn prove_order(name: &str, answer: Option<String>) -> Order {
    Order::post(format!("/api/v1/recipients/{}/prove", segment(name)), json!({"answer": answer}))
}

/// `recipient …`.
pub(super) fn recipient(command: &RecipientCommand) -> Verb<Order> {
    Ok(match command {
        RecipientCommand::List => Order::get("/api/v1/recipients"),
        RecipientCommand::Add { name, recipient } => {
            Order::post("/api/v1/recipients", json!({"name": name, "recipient": recipient}))
        }
        RecipientCommand::Prove { name, answer_stdin: true, .. } => prove_order(name, Some(standard_input()?)),
        RecipientCommand::Prove { name, .. } => prove_order(name, None),
        RecipientCommand::Remove { name } => Order::post(format!("/api/v1/recipients/{}/remove", segment(name)), json!({})),
    })
}

/// `recipient prove NAME --identity FILE`: asks for the word, decrypts it here, and sends it back.
pub(super) fn prove(data: &DataDir, name: &str, identity: &Path, voice: Voice) -> Verb<u8> {
    let identity = Secret::new(file(identity)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| Fault::unavailable("no runtime can be started").because(cause))?;
    let send = |order: Order| runtime.block_on(super::either(data, &order));
    let asked: Value = serde_json::from_str(&send(prove_order(name, None))?).unwrap_or(Value::Null);
    let sealed = BASE64.decode(asked["challenge"].as_str().unwrap_or_default()).unwrap_or_default();
    let word = recovery::decrypt(&identity, &sealed)?;
    let text = send(prove_order(name, Some(word.reveal().clone())))?;
    match voice {
        Voice::Json => out::say(text.trim_end()),
        Voice::Text => out::say(&out::text(&serde_json::from_str(&text).unwrap_or(Value::Null))),
    }
    Ok(DONE)
}

/// `vault …`.
pub(super) fn vault(command: &VaultCommand) -> Verb<Order> {
    Ok(match command {
        VaultCommand::List => Order::get("/api/v1/vaults"),
        VaultCommand::Clean { vault, dry_run } => {
            Order::post(format!("/api/v1/vaults/{}/clean", segment(vault)), json!({"dry_run": dry_run}))
        }
        VaultCommand::Kept => Order::get("/api/v1/vaults/kept"),
        VaultCommand::Add(args) => Order::post("/api/v1/vaults", vault_add(args)?),
        VaultCommand::Approve { name, env_file } => {
            let env = env_file.as_deref().map(file).transpose()?;
            Order::post(format!("/api/v1/vaults/{}/approve", segment(name)), json!({"env": env}))
        }
    })
}

fn vault_add(args: &VaultAddArgs) -> Verb<Value> {
    let path = args.path.as_deref().map(absolute).transpose()?.unwrap_or_default();
    let env = args.env_file.as_deref().map(file).transpose()?;
    Ok(json!({
        "name": args.name, "path": path, "command": args.command, "env": env, "preset": args.preset, "server": args.server,
        "exclude": args.exclude,
    }))
}

/// `backup …`.
pub(super) fn backup(command: &BackupCommand) -> Verb<Order> {
    Ok(match command {
        BackupCommand::Run { vault } => Order::post("/api/v1/backup", json!({"vault": vault})).must("ok").lasting(),
        BackupCommand::List => Order::get("/api/v1/archives"),
        BackupCommand::Copies => Order::get("/api/v1/archives/copies").must("ok").lasting(),
        BackupCommand::Verify => Order::post("/api/v1/archives/verify", json!({})).must("ok").lasting(),
        BackupCommand::Prune { dry_run, much } => Order::post("/api/v1/archives/prune", json!({"dry_run": dry_run, "much": much})),
        BackupCommand::Reencrypt { identity, dry_run } => {
            let identity = identity.as_deref().map(file).transpose()?;
            let order = Order::post("/api/v1/archives/reencrypt", json!({"identity": identity, "dry_run": dry_run})).lasting();
            if *dry_run { order } else { order.must("ok") }
        }
        BackupCommand::Hold { archive, reason, .. } => {
            Order::post(format!("/api/v1/archives/{}/hold", segment(archive)), json!({"reason": reason}))
        }
    })
}

/// `restore`.
pub(super) fn restore(args: &RestoreArgs) -> Verb<Order> {
    if args.live {
        return live(args);
    }
    let to = args.to.as_deref().map(absolute).transpose()?.unwrap_or_default();
    let identity = args.identity.as_deref().map(file).transpose()?;
    moment(args)?;
    Ok(Order::post(
        "/api/v1/restore",
        json!({
            "archive": args.archive, "to": to, "path": args.path, "at": args.at, "dry_run": args.dry_run, "identity": identity,
        }),
    )
    .lasting())
}

/// What `--at` means is told before it is sent.
fn moment(args: &RestoreArgs) -> Verb<()> {
    match args.at.as_deref().map(Timestamp::parse) {
        Some(None) => Err(Fault::invalid("--at", "is an RFC 3339 time, such as 2026-11-29T02:00:00Z")),
        _ => Ok(()),
    }
}

/// `restore --live`.
fn live(args: &RestoreArgs) -> Verb<Order> {
    if args.path.is_some() {
        return Err(Fault::invalid("--path", "--live brings back a whole vault; bring one path back with --to, and copy it"));
    }
    if args.reason.is_none() && !args.dry_run {
        return Err(Fault::invalid("--reason", "--live needs a reason"));
    }
    let identity = args.identity.as_deref().map(file).transpose()?;
    moment(args)?;
    let order = Order::post(
        "/api/v1/restore/live",
        json!({
            "archive": args.archive, "reason": args.reason.clone().unwrap_or_default(), "at": args.at, "dry_run": args.dry_run,
            "without_backup": args.without_backup, "identity": identity,
        }),
    );
    Ok(order.must("ok").lasting())
}

/// `drill …`.
pub(super) fn drill(command: &DrillCommand) -> Verb<Order> {
    Ok(match command {
        DrillCommand::Run { scenario, identity } => {
            let identity = identity.as_deref().map(file).transpose()?;
            Order::post("/api/v1/drills", json!({"scenario": scenario, "identity": identity})).must("passed").lasting()
        }
        DrillCommand::List => Order::get("/api/v1/drills"),
        DrillCommand::Show { id } => Order::get(format!("/api/v1/drills/{}", segment(id))),
        DrillCommand::Schedule { cron: None, paused: None, .. } => Order::get("/api/v1/schedules"),
        DrillCommand::Schedule { job, cron, paused } => {
            Order::post("/api/v1/schedules", json!({"job": job, "cron": cron, "paused": paused}))
        }
    })
}

/// The service has another working directory than this command.
fn absolute(path: &Path) -> Verb<PathBuf> {
    std::path::absolute(path).map_err(|cause| Fault::invalid(path.display().to_string(), "is no path").because(cause))
}
