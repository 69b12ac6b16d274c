//! `credential …` as requests to the API. Never talks to anybody itself; what somebody brings comes by standard input or a file.

use serde_json::json;

use super::args::{CredentialCommand, RotateArgs};
use super::order::{Order, file, segment, standard_input};
use crate::base::fault::{Fault, Verb};

/// The order of a command.
///
/// # Errors
/// When the name has no kind; when standard input or the file cannot be read.
pub(super) fn credential(command: &CredentialCommand) -> Verb<Order> {
    Ok(match command {
        CredentialCommand::List => Order::get("/api/v1/credentials"),
        CredentialCommand::Show { name } => Order::get(path(name)?),
        CredentialCommand::Due => Order::get("/api/v1/credential-due").must("ok"),
        CredentialCommand::Rotate(args) => rotate(args)?,
        CredentialCommand::Fetch { name } => Order::post(format!("{}/fetch", path(name)?), json!({})),
        CredentialCommand::Supply { name, file: from } => {
            let text = from.as_deref().map_or_else(standard_input, file)?;
            let value = text.trim_end_matches(['\r', '\n']);
            Order::post(format!("{}/supply", path(name)?), json!({"value": value}))
        }
        CredentialCommand::Admin { name, .. } => {
            let text = standard_input()?;
            let password = text.trim_end_matches(['\r', '\n']);
            Order::post(format!("{}/admin", path(name)?), json!({"password": password}))
        }
        CredentialCommand::Approve { name, digest } => Order::post(format!("{}/approve", path(name)?), json!({"digest": digest})),
        CredentialCommand::Order { name, order, by } => {
            Order::post(format!("{}/order", path(name)?), json!({"order": order, "by": by}))
        }
        CredentialCommand::Revoke { name, since, reason } => {
            let name = name.clone().unwrap_or_default();
            Order::post("/api/v1/credential-revoke", json!({"name": name, "since": since, "reason": reason})).must("ok")
        }
        CredentialCommand::Proofs { id: None } => Order::get("/api/v1/credential-proofs"),
        CredentialCommand::Proofs { id: Some(id) } => Order::get(format!("/api/v1/credential-proofs/{}", segment(id))),
        CredentialCommand::Plan { commit: false } => Order::get("/api/v1/credential-plan"),
        CredentialCommand::Plan { commit: true } => Order::post("/api/v1/credential-plan", json!({})),
    })
}

fn rotate(args: &RotateArgs) -> Verb<Order> {
    if args.prove {
        let order = json!({"all": args.all, "seconds": args.seconds, "rate": args.rate});
        return Ok(Order::post("/api/v1/credential-proofs", order).must("passed"));
    }
    let name = args.name.as_deref().unwrap_or_default();
    let order =
        json!({"overlap": args.overlap, "force": args.force, "reason": args.reason, "note": args.note, "fetch": args.fetch});
    Ok(Order::post(format!("{}/rotate", path(name)?), order))
}

fn path(name: &str) -> Verb<String> {
    let (kind, rest) = name.split_once('/').ok_or_else(|| {
        Fault::invalid("name", "a credential is called KIND/NAME, such as client-key/ci; see lifeboat credential list")
    })?;
    Ok(format!("/api/v1/credentials/{}/{}", segment(kind), segment(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_path_of_two_segments() {
        assert_eq!(path("upstream/github:authorization").unwrap(), "/api/v1/credentials/upstream/github%3Aauthorization");
        assert_eq!(path("client-key/ci").unwrap(), "/api/v1/credentials/client-key/ci");
        assert_eq!(path("ci").unwrap_err().kind.exit(), 64);
    }
}
