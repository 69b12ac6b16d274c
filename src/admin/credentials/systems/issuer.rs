//! Asks an issuer of tokens: to make one, to name those there are, to end one. What it answers is bounded, read by JSON pointers and never repeated in a fault.
//! Never shows it what this host keeps for another address.

use serde_json::Value;

use super::store;
use crate::admin::alerts::post::{self, Question};
use crate::admin::{Admin, tree};
use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;
use crate::config::http_issuer::{ADMIN, HttpIssuerConfig, RequestConfig};

const LONGEST_TOKEN: usize = 8_000;

/// A token that an issuer made.
pub(in crate::admin::credentials) struct Made {
    /// What the issuer calls it.
    pub id: String,
    /// It.
    pub token: Secret<String>,
}

/// The issuer of a credential, as the configuration has it now.
///
/// # Errors
/// `NotFound`; when there is no readable configuration.
pub(in crate::admin::credentials) async fn find(admin: &Admin, name: &str) -> Verb<HttpIssuerConfig> {
    let all = tree::standing(admin).await?.credentials.issuers;
    all.into_iter().find(|one| one.name == name).ok_or_else(|| Fault::not_found(format!("there is no credential http/{name}")))
}

fn context(config: &HttpIssuerConfig) -> String {
    format!("http/{}@{}?ca={}", config.name, config.origin(), config.ca.as_deref().unwrap_or_default())
}

/// Whether each request shows what this host keeps.
fn needs_admin(config: &HttpIssuerConfig) -> bool {
    config.headers.values().any(|text| text.contains(ADMIN))
}

/// Whether this host keeps what the issuer wants to see.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin::credentials) async fn has_admin(admin: &Admin, config: &HttpIssuerConfig) -> Verb<bool> {
    let sealed = store::read(&admin.db, &format!("http/{}", config.name)).await?;
    Ok(!needs_admin(config) || sealed.is_some_and(|sealed| admin.sealer.open(&context(config), &sealed).is_ok()))
}

async fn kept(admin: &Admin, config: &HttpIssuerConfig) -> Verb<Option<Secret<String>>> {
    if !needs_admin(config) {
        return Ok(None);
    }
    let name = format!("http/{}", config.name);
    let mend = format!("lifeboat credential admin {name} --password-stdin");
    let sealed = store::read(&admin.db, &name).await?;
    let sealed = sealed.ok_or_else(|| Fault::conflict(format!("this host keeps nothing to show {}: {mend}", config.origin())))?;
    let opened = admin.sealer.open(&context(config), &sealed).map_err(|_| {
        let said = "what this host keeps was given for another address, and is not sent to";
        Fault::conflict(format!("{said} {}. If that is right now: {mend}", config.origin()))
    })?;
    let text = String::from_utf8(opened.reveal().clone()).map_err(|_| Fault::bug("a sealed secret is no text"))?;
    Ok(Some(Secret::new(text)))
}

/// Tries a secret, where there is a request that changes nothing; gives what it is sealed for, whose it is, and where it counts.
///
/// # Errors
/// `NotFound`; `Invalid` when the issuer does not take it or none is needed; `Unavailable` when it does not answer.
pub(super) async fn tried(admin: &Admin, name: &str, secret: &Secret<String>) -> Verb<(String, String, String)> {
    let config = find(admin, name).await?;
    if !needs_admin(&config) {
        return Err(Fault::invalid("name", format!("no header of http/{name} says {ADMIN}, so nothing is kept for it")));
    }
    if let Some(list) = config.listing() {
        let (status, _) = ask(admin, &config, &list, (("an-id", ""), Some(secret))).await?;
        if !(200..300).contains(&status) {
            return Err(Fault::invalid("password", format!("{} does not take it: it answered {status}", config.origin())));
        }
    }
    Ok((context(&config), "issuer".to_owned(), config.origin()))
}

async fn ask(
    admin: &Admin,
    config: &HttpIssuerConfig,
    request: &RequestConfig,
    (words, secret): ((&str, &str), Option<&Secret<String>>),
) -> Verb<(u16, Secret<Vec<u8>>)> {
    let filled =
        config.fill(request, words).map_err(|(key, why)| Fault::conflict(format!("{key} of http/{}: {why}", config.name)))?;
    let with = secret.map(|secret| secret.reveal().as_str()).unwrap_or_default();
    let headers = config.headers.iter().map(|(name, text)| (name.clone(), Secret::new(text.replace(ADMIN, with)))).collect();
    let question = Question { method: &filled.method, headers, body: filled.body };
    let answered = post::question(&filled.target, &admin.alerts.lookup, question).await;
    answered.map_err(|why| Fault::unavailable(format!("{} does not answer: {why}", config.origin())))
}

async fn asked(
    admin: &Admin,
    config: &HttpIssuerConfig,
    request: &RequestConfig,
    words: (&str, &str),
) -> Verb<(u16, Secret<Vec<u8>>)> {
    let secret = kept(admin, config).await?;
    ask(admin, config, request, (words, secret.as_ref())).await
}

fn json(config: &HttpIssuerConfig, (status, body): (u16, Secret<Vec<u8>>)) -> Verb<Secret<Value>> {
    if !(200..300).contains(&status) {
        return Err(Fault::unavailable(format!("{} answered {status}", config.origin())));
    }
    let read = serde_json::from_slice(body.reveal()).map(Secret::new);
    // What it is not must not be repeated: a token may stand in it.
    read.map_err(|_| Fault::unavailable(format!("{} answered something that is no JSON", config.origin())))
}

/// A text or a number as text.
fn text(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Has a token made.
///
/// # Errors
/// When the issuer does not answer, or not with what the configuration says.
pub(in crate::admin::credentials) async fn create(admin: &Admin, config: &HttpIssuerConfig, label: &str) -> Verb<Made> {
    let answer = json(config, asked(admin, config, &config.creating(), ("an-id", label)).await?)?;
    let missing =
        |pointer: &str| Fault::unavailable(format!("{} made a token, and its answer has nothing at {pointer}", config.origin()));
    let id = text(answer.reveal(), &config.create.id).ok_or_else(|| missing(&config.create.id))?;
    let token = text(answer.reveal(), &config.create.token).ok_or_else(|| missing(&config.create.token))?;
    if token.len() > LONGEST_TOKEN || token.chars().any(char::is_control) {
        return Err(Fault::unavailable(format!("{} made a token that no header could hold", config.origin())));
    }
    Ok(Made { id, token: Secret::new(token) })
}

/// What the issuer calls the tokens of a label; none when it cannot be asked.
///
/// # Errors
/// When the issuer does not answer, or not with what the configuration says.
pub(in crate::admin::credentials) async fn labelled(admin: &Admin, config: &HttpIssuerConfig, label: &str) -> Verb<Vec<String>> {
    let (Some(request), Some(list)) = (config.listing(), &config.list) else { return Ok(Vec::new()) };
    let answer = json(config, asked(admin, config, &request, ("an-id", label)).await?)?;
    let items = answer.reveal().pointer(&list.items).and_then(Value::as_array);
    let items = items
        .ok_or_else(|| Fault::unavailable(format!("{} names its tokens elsewhere than at {}", config.origin(), list.items)))?;
    let fits = items.iter().filter(|item| text(item, &list.label).as_deref() == Some(label));
    Ok(fits.filter_map(|item| text(item, &list.id)).collect())
}

/// Has a token ended; one that is gone already is ended.
///
/// # Errors
/// When the issuer does not answer, or refuses.
pub(in crate::admin::credentials) async fn revoke(admin: &Admin, config: &HttpIssuerConfig, id: &str) -> Verb<u16> {
    let (status, _) = asked(admin, config, &config.revoke, (id, "")).await?;
    match status {
        200..300 | 404 | 410 => Ok(status),
        _ => Err(Fault::unavailable(format!("{} answered {status} when it was told to end a token", config.origin()))),
    }
}
