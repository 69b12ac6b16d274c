//! What the commands over clients and tokens ask of the API. Never talks to anybody itself.

use serde_json::json;

use super::args::{ClientCommand, ClientJwkCommand, ClientSecretCommand, TokenCommand};
use super::order::{Order, segment, standard_input};
use crate::base::fault::Verb;

pub(super) fn client(command: &ClientCommand) -> Verb<Order> {
    Ok(match command {
        ClientCommand::Add { name, roles, rate, expires, oauth } => {
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
