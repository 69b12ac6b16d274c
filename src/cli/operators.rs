//! What `operator …` asks of the API. A password comes by standard input, and goes into the body of one request only.

use serde_json::json;

use super::args::{OperatorCommand, OperatorKeyCommand, OperatorSessionsCommand, OperatorTotpCommand};
use super::order::{Order, segment, standard_input};
use crate::base::fault::Verb;

/// The order of a command.
///
/// # Errors
/// When standard input cannot be read.
pub(super) fn operator(command: &OperatorCommand) -> Verb<Order> {
    let one = |name: &str, verb: &str| Order::post(format!("/api/v1/operators/{}/{verb}", segment(name)), json!({}));
    Ok(match command {
        OperatorCommand::Add { name, role, .. } => {
            Order::post("/api/v1/operators", json!({"name": name, "role": role, "password": standard_input()?}))
        }
        OperatorCommand::List => Order::get("/api/v1/operators"),
        OperatorCommand::Disable { name } => one(name, "disable"),
        OperatorCommand::Reset { name, .. } => Order { body: Some(json!({"password": standard_input()?})), ..one(name, "reset") },
        OperatorCommand::Key(command) => key(command),
        OperatorCommand::Totp(OperatorTotpCommand::Remove { name }) => one(name, "totp/remove"),
        OperatorCommand::Sessions(command) => sessions(command),
    })
}

fn key(command: &OperatorKeyCommand) -> Order {
    match command {
        OperatorKeyCommand::Add { name, role, expires } => {
            Order::post(format!("/api/v1/operators/{}/keys", segment(name)), json!({"role": role, "expires_days": expires}))
        }
        OperatorKeyCommand::List => Order::get("/api/v1/operator-keys"),
        OperatorKeyCommand::Revoke { kid } => Order::post(format!("/api/v1/operator-keys/{}/revoke", segment(kid)), json!({})),
    }
}

fn sessions(command: &OperatorSessionsCommand) -> Order {
    let end = |path: String| Order::post(path, json!({}));
    match command {
        OperatorSessionsCommand::List { name: None } => Order::get("/api/v1/operator-sessions"),
        OperatorSessionsCommand::List { name: Some(name) } => {
            Order::get(format!("/api/v1/operator-sessions?operator={}", segment(name)))
        }
        OperatorSessionsCommand::End { session: Some(session), .. } => {
            end(format!("/api/v1/operator-sessions/{}/end", segment(session)))
        }
        OperatorSessionsCommand::End { name: Some(name), .. } => end(format!("/api/v1/operators/{}/sessions/end", segment(name))),
        OperatorSessionsCommand::End { .. } => end("/api/v1/operator-sessions/end".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{Cli, Command};
    use super::*;

    fn path(words: &[&str]) -> Option<String> {
        let parsed = Cli::try_parse_from(["lifeboat", "operator"].iter().chain(words)).ok()?;
        let Command::Operator(command) = parsed.command else { return None };
        Some(operator(&command).ok()?.path)
    }

    #[test]
    fn ending_sessions_names_whose() {
        assert_eq!(path(&["sessions", "end", "ana"]).as_deref(), Some("/api/v1/operators/ana/sessions/end"));
        assert_eq!(path(&["sessions", "end", "--session", "x1"]).as_deref(), Some("/api/v1/operator-sessions/x1/end"));
        assert_eq!(path(&["sessions", "end", "--all"]).as_deref(), Some("/api/v1/operator-sessions/end"));
        assert_eq!(path(&["sessions", "end"]), None, "nobody's by mistake");
        assert_eq!(path(&["sessions", "end", "ana", "--all"]), None);
        assert_eq!(path(&["sessions", "list", "ana"]).as_deref(), Some("/api/v1/operator-sessions?operator=ana"));
        assert_eq!(path(&["totp", "remove", "ana"]).as_deref(), Some("/api/v1/operators/ana/totp/remove"));
        assert_eq!(path(&["key", "add", "ana", "--role", "viewer"]).as_deref(), Some("/api/v1/operators/ana/keys"));
    }
}
