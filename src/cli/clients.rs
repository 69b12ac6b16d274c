//! What the commands over clients and tokens ask of the API, and how a list of clients reads. Never talks to anybody itself.

use serde_json::{Value, json};

use super::args::{ClientCommand, ClientJwkCommand, ClientSecretCommand, TokenCommand};
use super::order::{Order, segment, standard_input};
use super::out;
use crate::admin::clients::oauth::texts::{self, Facts};
use crate::base::fault::Verb;
use crate::config::paths::DataDir;

pub(super) fn client(command: &ClientCommand) -> Verb<Order> {
    Ok(match command {
        ClientCommand::Add { name, roles, more_roles, rate, expires, oauth } => {
            let roles: Vec<&String> = roles.iter().chain(more_roles).collect();
            let body = json!({"name": name, "roles": roles, "rate": rate, "expires_days": expires, "oauth": oauth});
            Order::post("/api/v1/clients", body)
        }
        ClientCommand::List => Order::get("/api/v1/clients"),
        ClientCommand::Show { name } => Order::get(format!("/api/v1/clients/{}", segment(name))),
        ClientCommand::Revoke { name } => Order::post(format!("/api/v1/clients/{}/revoke", segment(name)), json!({})),
        ClientCommand::Secret(ClientSecretCommand::Add { name, expires }) => {
            Order::post(format!("/api/v1/clients/{}/secrets", segment(name)), json!({"expires_days": expires}))
        }
        ClientCommand::Secret(ClientSecretCommand::List { name: None }) => Order::get("/api/v1/client-secrets"),
        ClientCommand::Secret(ClientSecretCommand::List { name: Some(name) }) => {
            Order::get(format!("/api/v1/client-secrets?client={}", segment(name)))
        }
        ClientCommand::Secret(ClientSecretCommand::Revoke { kid }) => {
            Order::post(format!("/api/v1/client-secrets/{}/revoke", segment(kid)), json!({}))
        }
        ClientCommand::Jwk(ClientJwkCommand::Add { name }) => {
            Order::post(format!("/api/v1/clients/{}/jwks", segment(name)), json!({"jwk": standard_input()?}))
        }
        ClientCommand::Jwk(ClientJwkCommand::Remove { name, kid }) => {
            Order::post(format!("/api/v1/clients/{}/jwks/remove", segment(name)), json!({"kid": kid}))
        }
    })
}

pub(super) fn token(command: &TokenCommand) -> Order {
    let one = |kid: &str, verb: &str| format!("/api/v1/token-keys/{}/{verb}", segment(kid));
    match command {
        TokenCommand::List => Order::get("/api/v1/token-keys"),
        TokenCommand::Stage => Order::post("/api/v1/token-keys/stage", json!({})),
        TokenCommand::Activate { kid, force } => Order::post(one(kid, "activate"), json!({"force": force})),
        TokenCommand::Retire { kid } => Order::post(one(kid, "retire"), json!({})),
        TokenCommand::Remove { kid } => Order::post(one(kid, "remove"), json!({})),
        TokenCommand::Cut { client, reason } => Order::post("/api/v1/tokens/cut", json!({"client": client, "reason": reason})),
    }
}

/// A client that was added, for people; with a secret, also how a script gets a token with it.
pub(super) fn added(data: &DataDir, value: &Value) -> String {
    let mut shown = value.clone();
    if let Some(fields) = shown.as_object_mut() {
        ["issuer", "resource"].into_iter().for_each(|field| drop(fields.remove(field)));
    }
    let text = |field: &str| value[field].as_str();
    let (Some(client), Some(secret), Some(issuer), Some(url)) =
        (text("client_id"), text("secret"), text("issuer"), text("resource"))
    else {
        return out::text(&shown);
    };
    let ca = data.ca_pem();
    let ca = std::fs::canonicalize(&ca).unwrap_or(ca).display().to_string();
    let usage = texts::curl(&Facts { url, issuer, ca: &ca, client, secret });
    format!("{}\n\n--- snippet: curl ---\n{usage}--- end ---", out::text(&shown))
}

/// Clients for people: keys and secrets that count, not those that ended.
pub(super) fn text(value: &Value) -> String {
    let counts = |list: &Value| list.as_array().map_or(0, |all| all.iter().filter(|one| one["state"] == "active").count());
    let row = |client: &Value| {
        let mut row = client.clone();
        for field in ["keys", "secrets"] {
            row[field] = json!(counts(&client[field]));
        }
        row
    };
    let rows: Vec<Value> = value["clients"].as_array().into_iter().flatten().map(row).collect();
    out::text(&json!({ "clients": rows }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_with_a_secret_is_told_how_to_use_it_and_one_with_a_key_is_not() {
        let data = DataDir::new("/nowhere");
        let oauth = json!({"client": "ci", "client_id": "ci", "kid": "a", "secret": "lbs_s", "roles": ["demo"], "expires_at": null,
            "issuer": "https://localhost:8444", "resource": "https://localhost:8444/mcp/demo"});
        let shown = added(&data, &oauth);
        assert!(shown.contains("secret: lbs_s") && shown.contains("url = \"https://localhost:8444/oauth/token\""), "{shown}");
        assert!(shown.contains("user = \"ci:lbs_s\"") && !shown.contains("issuer:"), "{shown}");
        let key = json!({"client": "ci", "kid": "a", "key": "lbk_k", "roles": ["demo"], "expires_at": null});
        assert!(!added(&data, &key).contains("curl"));
    }

    #[test]
    fn a_list_counts_what_counts() {
        let key = |state: &str| json!({"kid": "a", "state": state});
        let ci = json!({"name": "ci", "keys": [key("active"), key("revoked"), key("expired")], "secrets": [key("revoked")]});
        let shown = text(&json!({"clients": [ci]}));
        assert_eq!(shown, "name  keys  secrets\nci    1     0");
        assert_eq!(text(&json!({"clients": []})), "none");
    }
}
