//! The command line: parse, perform the verb, print, exit status (docs/CONTRACT.md, "Commands"). Never holds a rule of its own.

mod alerts;
mod args;
mod clients;
mod control;
mod credentials;
mod difference;
mod doctor;
mod drill;
mod evidence;
mod harden;
mod import;
mod local;
mod offline;
mod operators;
mod order;
mod out;
mod policy;
mod rebuild;
mod recovery;
mod serve;
mod stream;
mod time;

use std::ffi::OsString;
use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind;
use serde_json::Value;

use crate::admin::kill::Running;
use crate::base::fault::{Fault, FaultKind, Verb};
use crate::config::paths::DataDir;
use crate::demo;
use crate::proxy::sandbox;
use args::{
    AuditCommand, Cli, ClientCommand, Command, ConfigCommand, CredentialCommand, KillCommand, PolicyCommand, RecipientCommand,
    ServerCommand,
};
use control::Control;
use order::Order;
use out::Voice;

// A kill takes milliseconds; its proof at most five seconds.
const SILENCE: Duration = Duration::from_secs(1);
const LAST_CHANCE: Duration = Duration::from_secs(6);

const DONE: u8 = 0;
const CHECK_FAILED: u8 = 2;
const REFUSED: u8 = 3;
const BAD_USAGE: u8 = 64;

/// Runs one command and gives its exit status.
pub fn run(arguments: Vec<OsString>) -> u8 {
    // The commands that Lifeboat starts itself come first: they must run before any thread or runtime exists.
    match arguments.get(1).and_then(|word| word.to_str()) {
        Some(sandbox::SUBCOMMAND) => return sandbox::run(&arguments[2..]),
        Some(drill::SUBCOMMAND) => return drill::perform(&arguments[2..]),
        Some(demo::SUBCOMMAND) => return demo::run(demo::memory_file(arguments.get(2).and_then(|word| word.to_str()))),
        Some(demo::STAND_IN_SUBCOMMAND) => return demo::run_stand_in(),
        _ => {}
    }
    let json = arguments.iter().any(|word| word == "--json");
    match Cli::try_parse_from(arguments) {
        Ok(cli) => perform(cli),
        Err(fault) => misused(&fault, json),
    }
}

fn misused(fault: &clap::Error, json: bool) -> u8 {
    let asked = matches!(fault.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if asked || !json {
        fault.print().ok();
        return if asked { DONE } else { BAD_USAGE };
    }
    let text = fault.to_string();
    let sentence = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
    let words: Vec<&str> = sentence.split_whitespace().collect();
    out::fault(Voice::Json, &Fault::new(FaultKind::Invalid, words.join(" ")))
}

fn perform(cli: Cli) -> u8 {
    harden::harden();
    // Words of a command that is not there are not read, but for this one.
    let asked = matches!(&cli.command, Command::Later(words) if words.iter().any(|word| word == "--json"));
    let voice = if cli.json || asked { Voice::Json } else { Voice::Text };
    let data = DataDir::new(cli.data.clone());
    let ended = match &cli.command {
        Command::Up(up) => serve::up(&data, up, voice),
        Command::Serve => serve::serve(&data, voice),
        Command::Tls(command) => local::tls(&data, command, voice),
        Command::Trust(command) => local::trust(&data, command, voice),
        Command::Rebuild(args) => rebuild::rebuild(args, voice),
        Command::Evidence(command) => evidence::evidence(&data, command, voice),
        Command::Recipient(RecipientCommand::Prove { name, identity: Some(file), .. }) => recovery::prove(&data, name, file, voice),
        command => tool(&data, command, voice),
    };
    ended.unwrap_or_else(|fault| {
        let status = out::fault(voice, &fault);
        if is_refused(&cli.command, &fault) { REFUSED } else { status }
    })
}

/// What was handed over once is refused for good.
fn is_refused(command: &Command, fault: &Fault) -> bool {
    matches!(command, Command::Credential(CredentialCommand::Fetch { .. })) && fault.kind == FaultKind::Conflict
}

fn tool(data: &DataDir, command: &Command, voice: Voice) -> Verb<u8> {
    let order = order::order(command)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| Fault::unavailable("no runtime can be started").because(cause))?;
    runtime.block_on(async {
        match (order, command) {
            (Some(order), _) => {
                let text = send(data, command, &order).await?;
                let value = serde_json::from_str(&text).unwrap_or(Value::Null);
                match voice {
                    Voice::Json => out::say(text.trim_end()),
                    Voice::Text => out::say(&out::plain(&shown(data, command, &value))),
                }
                Ok(status_of(&order, &value))
            }
            (None, Command::Audit(AuditCommand::Tail)) => stream::tail(data).await,
            (None, Command::Audit(AuditCommand::Export(filter))) => stream::export(data, filter).await,
            (None, _) => Err(Fault::bug("a command without an order")),
        }
    })
}

/// A document for people; some commands have a form of their own.
fn shown(data: &DataDir, command: &Command, value: &Value) -> String {
    match command {
        Command::Doctor => doctor::text(value),
        Command::Server(ServerCommand::Import(_)) => import::text(value),
        Command::Policy(PolicyCommand::Test { .. }) => policy::text(value),
        Command::Client(ClientCommand::List) => clients::text(value),
        Command::Client(ClientCommand::Add { .. }) => clients::added(data, value),
        Command::Credential(command) => credentials::text(command, value),
        Command::Config(ConfigCommand::Diff { .. } | ConfigCommand::Rollback { .. }) => difference::text(value),
        _ => out::text(value),
    }
}

async fn send(data: &DataDir, command: &Command, order: &Order) -> Verb<String> {
    if let Command::Kill(KillCommand::Engage { .. }) = command {
        return stop(data, order).await;
    }
    either(data, order).await
}

/// The answer of a running Lifeboat, or of the files of one that does not run.
async fn either(data: &DataDir, order: &Order) -> Verb<String> {
    match ask(data, order).await? {
        Some(value) => Ok(value),
        None => offline::send(data, order).await,
    }
}

/// The answer of a running Lifeboat; `None` when none listens.
async fn ask(data: &DataDir, order: &Order) -> Verb<Option<String>> {
    let Some(mut control) = Control::connect(data).await? else { return Ok(None) };
    control.call(order.method.clone(), &order.path, order.body.as_ref(), order.lasts).await.map(Some)
}

/// Stops by the control socket, and by the file `KILL` when the socket does not answer at once: the file has a watcher of its own.
async fn stop(data: &DataDir, order: &Order) -> Verb<String> {
    let mut asked = std::pin::pin!(ask(data, order));
    let quick = tokio::time::timeout(SILENCE, &mut asked).await;
    let waiting = quick.is_err();
    match quick {
        Ok(Ok(Some(value))) => return Ok(value),
        // A socket that is gone while the process still holds its lock: the file stops it, but nothing was proved.
        Ok(Ok(None)) if crate::app::is_held(data) => return offline::engage(data, order.body.as_ref(), Running::Silent),
        Ok(Ok(None)) => return offline::engage(data, order.body.as_ref(), Running::No),
        Ok(Err(fault)) if fault.kind != FaultKind::Unavailable => return Err(fault),
        Ok(Err(_)) | Err(_) => {}
    }
    let by_file = offline::engage(data, order.body.as_ref(), Running::Silent)?;
    if !waiting {
        return Ok(by_file);
    }
    match tokio::time::timeout(LAST_CHANCE, asked).await {
        Ok(Ok(Some(value))) => Ok(value),
        _ => Ok(by_file),
    }
}

fn status_of(order: &Order, value: &Value) -> u8 {
    match order.must {
        Some(field) if value[field] != Value::Bool(true) => CHECK_FAILED,
        _ if order.must_not.is_some_and(|field| !value[field].is_null()) => CHECK_FAILED,
        _ => DONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> Command {
        Cli::try_parse_from(std::iter::once(&"lifeboat").chain(words)).expect("words fit").command
    }

    #[test]
    fn a_second_fetch_is_refused_and_other_conflicts_are_faults() {
        let fetch = command(&["credential", "fetch", "client-key/ci"]);
        assert!(is_refused(&fetch, &Fault::conflict("ana fetched the new secret already")));
        assert!(!is_refused(&fetch, &Fault::unavailable("the database does not answer")));
        assert!(!is_refused(&command(&["credential", "list"]), &Fault::conflict("another one")));
    }

    #[test]
    fn a_rotation_whose_step_failed_is_done_but_not_proved() {
        for words in [&["credential", "rotate", "client-key/ci"][..], &["credential", "order", "client-key/ci", "retire"]] {
            let order = order::order(&command(words)).expect("an order").expect("one of the API");
            let status = |error| status_of(&order, &serde_json::json!({"state": "installed", "error": error}));
            assert_eq!((status(Value::Null), status("transient".into())), (DONE, CHECK_FAILED), "{words:?}");
        }
    }

    #[test]
    fn what_takes_minutes_is_waited_for() {
        for (words, lasts) in [
            (&["backup", "run"][..], true),
            (&["backup", "verify"], true),
            (&["drill", "run"], true),
            (&["restore", "latest", "--to", "/x"], true),
            (&["restore", "latest:a", "--live", "--reason", "x"], true),
            (&["credential", "rotate", "--all", "--prove"], true),
            (&["status"], false),
        ] {
            assert_eq!(order::order(&command(words)).expect("an order").expect("one of the API").lasts, lasts, "{words:?}");
        }
    }

    #[test]
    fn roles_are_named_once_or_more_and_a_password_may_be_left_to_standard_input() {
        for words in [&["client", "add", "ci", "--role", "a", "b"][..], &["client", "add", "ci", "--role", "a", "--role", "b"]] {
            let order = order::order(&command(words)).expect("an order").expect("one of the API");
            let body = order.body.expect("a body");
            assert_eq!((&body["name"], &body["roles"]), (&Value::from("ci"), &serde_json::json!(["a", "b"])), "{words:?}");
        }
        assert!(
            matches!(command(&["client", "add", "--role", "a", "ci"]), Command::Client(ClientCommand::Add { name, .. }) if name == "ci")
        );
        assert!(Cli::try_parse_from(["lifeboat", "operator", "reset", "ana"]).is_ok());
    }

    #[test]
    fn a_time_that_is_none_is_refused_with_the_name_of_its_option() {
        for words in [&["credential", "revoke", "--since", "soon"][..], &["audit", "query", "--since", "soon"]] {
            let fault = Cli::try_parse_from(std::iter::once(&"lifeboat").chain(words)).expect_err("no time").to_string();
            assert!(fault.contains("--since") && fault.contains("30m, 1h, 2d"), "{fault}");
        }
        assert!(Cli::try_parse_from(["lifeboat", "credential", "revoke", "--since", "1h"]).is_ok());
    }
}
