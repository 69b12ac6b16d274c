//! What the commands of alerts ask of the API. Never talks to anybody itself.

use std::path::Path;

use serde_json::json;

use super::args::{AlertCommand, ReceiverCommand};
use super::order::{Order, segment};
use crate::base::fault::{Fault, Verb};

/// `alert …`.
pub(super) fn alert(command: &AlertCommand) -> Verb<Order> {
    Ok(match command {
        AlertCommand::List => Order::get("/api/v1/alerts"),
        AlertCommand::Ack { id } => Order::post(format!("/api/v1/alerts/{}/ack", segment(id)), json!({})),
        AlertCommand::Test { receiver } => Order::post("/api/v1/alerts/test", json!({"receiver": receiver})).must("ok"),
        AlertCommand::Receiver(command) => receiver(command)?,
    })
}

fn receiver(command: &ReceiverCommand) -> Verb<Order> {
    let one = |name: &str, verb: &str| Order::post(format!("/api/v1/alerts/receivers/{}/{verb}", segment(name)), json!({}));
    Ok(match command {
        ReceiverCommand::List => Order::get("/api/v1/alerts/receivers"),
        ReceiverCommand::Secret { name } => one(name, "secret"),
        ReceiverCommand::Remove { name } => one(name, "remove"),
        ReceiverCommand::Add(args) => Order::post(
            "/api/v1/alerts/receivers",
            json!({
                "name": args.name, "url": args.url, "rules": args.rules, "plain_loopback": args.plain_loopback,
                "allow_addresses": args.allow_addresses, "ca": args.ca.as_deref().map(absolute).transpose()?,
            }),
        ),
    })
}

// The service has another working directory than this command.
fn absolute(path: &Path) -> Verb<String> {
    let wrong = || Fault::invalid(path.display().to_string(), "cannot be found");
    let found = std::fs::canonicalize(path).map_err(|cause| wrong().because(cause))?;
    found.to_str().map(str::to_owned).ok_or_else(wrong)
}
