//! Has an issuer's commands run on this host: only as they were approved here, each with one line of JSON on standard input and nothing secret in its arguments
//! or its environment. What one writes is bounded, and never repeated.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Made, Shown, text};
use crate::admin::command::{self, Line, collect, typed};
use crate::admin::{Actor, Admin, vaults};
use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;
use crate::base::size::ByteSize;
use crate::config::command_issuer::CommandIssuerConfig;

/// What one may write: a list of tokens is the longest.
const MOST: ByteSize = ByteSize::mib(1);

/// What a host approves: every program with its arguments, and every variable with its value (a variable can make a program run other code).
pub(super) fn digest(config: &CommandIssuerConfig) -> String {
    command::digest(&json!([config.create, config.revoke, config.list, config.env]))
}

fn owner(config: &CommandIssuerConfig) -> String {
    format!("command/{}", config.name)
}

/// The command lines as they would be typed, with their variables; their digest; and whether this host approved them.
///
/// # Errors
/// When the database does not answer.
pub(in super::super) async fn described(admin: &Admin, config: &CommandIssuerConfig) -> Verb<(Vec<String>, String, bool)> {
    let all = [("create", &config.create), ("revoke", &config.revoke), ("list", &config.list)];
    let lines = all.into_iter().filter(|(_, words)| !words.is_empty()).map(|(what, words)| format!("{what}: {}", typed(words)));
    let env = config.env.iter().map(|(name, value)| format!("variable: {name}={value}"));
    let digest = digest(config);
    let approved = command::is_approved(&admin.db, &owner(config), &digest).await?;
    Ok((lines.chain(env).collect(), digest, approved))
}

/// Approves the command lines as they are now.
///
/// # Errors
/// When the database does not answer.
pub(in super::super) async fn approve(admin: &Admin, actor: &Actor, config: &CommandIssuerConfig) -> Verb<()> {
    command::approve(&admin.db, &owner(config), &digest(config), (admin.clock.now(), &actor.name)).await
}

/// Why nothing of it runs, when it was not approved here.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn unapproved(admin: &Admin, config: &CommandIssuerConfig) -> Verb<Option<String>> {
    let approved = command::is_approved(&admin.db, &owner(config), &digest(config)).await?;
    let line = typed(&config.create);
    let said =
        || format!("its command lines are not approved on this host: {line}. lifeboat credential approve command/{}", config.name);
    Ok((!approved).then(said))
}

/// Runs one of them.
async fn run(
    admin: &Admin,
    config: &CommandIssuerConfig,
    words: &[String],
    (mut asked, secret, token): (Value, Shown<'_>, Option<&str>),
    tells: bool,
) -> Verb<Secret<Vec<u8>>> {
    if let Some(said) = unapproved(admin, config).await? {
        return Err(Fault::unavailable(said));
    }
    let (program, arguments) = words.split_first().ok_or_else(|| Fault::bug("a command without a program"))?;
    if let Some(secret) = secret {
        asked["admin"] = json!(secret.reveal());
    }
    if let Some(token) = token {
        asked["token"] = json!(token);
    }
    let hidden = secret.cloned().into_iter().chain(token.map(|token| Secret::new(token.to_owned()))).collect();
    collect(Line {
        program: program.clone(),
        arguments: arguments.to_vec(),
        env: config.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        secrets: Vec::new(),
        input: Some(Secret::new(format!("{asked}\n").into_bytes())),
        hidden,
        tells,
        limit: Duration::from_secs(config.timeout_seconds),
        bytes: (ByteSize(0), MOST),
        stop: vaults::commands_stop(admin),
    })
    .await
}

/// Tries a secret with the command that changes nothing, when there is one.
///
/// # Errors
/// `Invalid` when that does not end well; `Unavailable` when it was not approved here.
pub(super) async fn try_with(admin: &Admin, config: &CommandIssuerConfig, secret: &Secret<String>) -> Verb<()> {
    // The secret is sealed for the lines that were approved, so that comes first.
    if let Some(said) = unapproved(admin, config).await? {
        return Err(Fault::conflict(said));
    }
    if config.list.is_empty() {
        return Ok(());
    }
    let tried = run(admin, config, &config.list, (json!({}), Some(secret), None), true).await;
    tried.map(drop).map_err(|fault| Fault::invalid("password", format!("it is not taken: {}", fault.message)))
}

/// Has a token made.
///
/// # Errors
/// When the command does not end well, or writes something else.
pub(super) async fn create(admin: &Admin, config: &CommandIssuerConfig, label: &str, secret: Shown<'_>) -> Verb<Made> {
    // Its last words may hold the token, which nobody knows yet.
    let written = run(admin, config, &config.create, (json!({ "label": label }), secret, None), false).await?;
    let program = config.create.first().map_or("", String::as_str);
    let made = read(written.reveal(), label);
    made.map_err(|what| Fault::unavailable(format!("{program} {what}")))
}

/// Reads `{"id","token"}`, or a bare token, which is called by its label.
fn read(written: &[u8], label: &str) -> Result<Made, &'static str> {
    let line = std::str::from_utf8(written).map_err(|_| "wrote something that is no text")?.trim();
    if !line.starts_with('{') {
        if line.contains(char::is_whitespace) {
            return Err("wrote neither a token nor JSON");
        }
        return Made::of(label.to_owned(), line.to_owned());
    }
    let answer: Value = serde_json::from_str(line).map_err(|_| "wrote something that is no JSON")?;
    let token = text(&answer, "/token").ok_or("wrote no token")?;
    let id =
        if answer.get("id").is_some_and(|id| !id.is_null()) { text(&answer, "/id").unwrap_or_default() } else { label.to_owned() };
    Made::of(id, token)
}

/// What the issuer calls the tokens of a label; none when there is no command that says so.
///
/// # Errors
/// When the command does not end well, or writes something else.
pub(super) async fn labelled(admin: &Admin, config: &CommandIssuerConfig, label: &str, secret: Shown<'_>) -> Verb<Vec<String>> {
    let Some(program) = config.list.first() else { return Ok(Vec::new()) };
    let written = run(admin, config, &config.list, (json!({ "label": label }), secret, None), true).await?;
    let read: Result<Value, _> = serde_json::from_slice(written.reveal());
    let items = read.ok().and_then(|answer| answer.as_array().cloned());
    let items = items.ok_or_else(|| Fault::unavailable(format!("{program} wrote something that is no JSON list")))?;
    Ok(items.iter().filter(|item| text(item, "/label").as_deref() == Some(label)).filter_map(|item| text(item, "/id")).collect())
}

/// Has a token ended.
///
/// # Errors
/// When the command does not end well.
pub(super) async fn revoke(
    admin: &Admin,
    config: &CommandIssuerConfig,
    (id, token): (&str, Option<&str>),
    secret: Shown<'_>,
) -> Verb<()> {
    run(admin, config, &config.revoke, (json!({ "id": id }), secret, token), true).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_writes_a_bare_token_or_one_with_its_id() {
        let made = |text: &str| read(text.as_bytes(), "lifeboat-rot_1").map(|made| (made.id, made.token.reveal().clone()));
        let is = |id: &str, token: &str| Ok((id.to_owned(), token.to_owned()));
        assert_eq!(made("tok-1\n"), is("lifeboat-rot_1", "tok-1"));
        assert_eq!(made("{\"id\": 7, \"token\": \"tok-1\"}\n"), is("7", "tok-1"));
        assert_eq!(made("{\"token\": \"tok-1\"}"), is("lifeboat-rot_1", "tok-1"));
        assert_eq!(made("{\"id\": null, \"token\": \"tok-1\"}"), is("lifeboat-rot_1", "tok-1"));
        for bad in [
            "",
            "\n",
            "a\nb",
            "no token today",
            "{}",
            "{\"token\": \"\"}",
            "{\"token\": \"a",
            "{\"id\": \"\", \"token\": \"a\"}",
            "{\"id\": [], \"token\": \"a\"}",
        ] {
            assert!(made(bad).is_err(), "{bad:?}");
        }
        assert!(read(&[0xff], "x").is_err() && made(&"x".repeat(9_000)).is_err());
    }

    #[test]
    fn what_makes_other_code_run_changes_the_digest_and_nothing_else_does() {
        let config = CommandIssuerConfig {
            create: vec!["/bin/a".into(), "b c".into()],
            revoke: vec!["/bin/d".into()],
            ..CommandIssuerConfig::default()
        };
        let changed = |change: fn(&mut CommandIssuerConfig)| {
            let mut other = config.clone();
            change(&mut other);
            digest(&other) != digest(&config)
        };
        assert!(changed(|c| c.create[0].push('x')) && changed(|c| c.create = vec!["/bin/a".into(), "b".into(), "c".into()]));
        assert!(changed(|c| c.revoke.push("x".into())) && changed(|c| c.list.push("/bin/e".into())));
        assert!(changed(|c| drop(c.env.insert("LD_PRELOAD".into(), "/tmp/x.so".into()))));
        assert!(!changed(|c| c.timeout_seconds = 5) && !changed(|c| c.server = "other".into()));
    }
}
