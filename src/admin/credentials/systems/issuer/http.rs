//! Asks an issuer by HTTP: to make a token, to name those there are, to end one. What it answers is bounded, read by JSON pointers and never repeated in a fault.

use serde_json::Value;

use super::{Made, Shown, text};
use crate::admin::Admin;
use crate::admin::alerts::post::{self, Question};
use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;
use crate::config::http_issuer::{ADMIN, HttpIssuerConfig, RequestConfig};

/// Tries a secret, where there is a request that changes nothing.
///
/// # Errors
/// `Invalid` when the issuer does not take it; `Unavailable` when it does not answer.
pub(super) async fn try_with(admin: &Admin, config: &HttpIssuerConfig, secret: &Secret<String>) -> Verb<()> {
    let Some(list) = config.listing() else { return Ok(()) };
    let (status, _) = ask(admin, config, &list, (("an-id", ""), Some(secret))).await?;
    if !(200..300).contains(&status) {
        return Err(Fault::invalid("password", format!("{} does not take it: it answered {status}", config.origin())));
    }
    Ok(())
}

async fn ask(
    admin: &Admin,
    config: &HttpIssuerConfig,
    request: &RequestConfig,
    (words, secret): ((&str, &str), Shown<'_>),
) -> Verb<(u16, Secret<Vec<u8>>)> {
    let filled =
        config.fill(request, words).map_err(|(key, why)| Fault::conflict(format!("{key} of http/{}: {why}", config.name)))?;
    let with = secret.map(|secret| secret.reveal().as_str()).unwrap_or_default();
    let headers = config.headers.iter().map(|(name, text)| (name.clone(), Secret::new(text.replace(ADMIN, with)))).collect();
    let question = Question { method: &filled.method, headers, body: filled.body };
    let answered = post::question(&filled.target, &admin.alerts.lookup, question).await;
    answered.map_err(|why| Fault::unavailable(format!("{} does not answer: {why}", config.origin())))
}

fn json(config: &HttpIssuerConfig, (status, body): (u16, Secret<Vec<u8>>)) -> Verb<Secret<Value>> {
    if !(200..300).contains(&status) {
        return Err(Fault::unavailable(format!("{} answered {status}", config.origin())));
    }
    let read = serde_json::from_slice(body.reveal()).map(Secret::new);
    // What it is not must not be repeated: a token may stand in it.
    read.map_err(|_| Fault::unavailable(format!("{} answered something that is no JSON", config.origin())))
}

/// Has a token made.
///
/// # Errors
/// When the issuer does not answer, or not with what the configuration says.
pub(super) async fn create(admin: &Admin, config: &HttpIssuerConfig, label: &str, secret: Shown<'_>) -> Verb<Made> {
    let answer = json(config, ask(admin, config, &config.creating(), (("an-id", label), secret)).await?)?;
    let missing =
        |pointer: &str| Fault::unavailable(format!("{} made a token, and its answer has nothing at {pointer}", config.origin()));
    let id = text(answer.reveal(), &config.create.id).ok_or_else(|| missing(&config.create.id))?;
    let token = text(answer.reveal(), &config.create.token).ok_or_else(|| missing(&config.create.token))?;
    if !config.can_end(&id) {
        let said = "made a token and calls it something that no path can hold, so it could never be ended: end it there by hand";
        return Err(Fault::unavailable(format!("{} {said}", config.origin())));
    }
    Made::of(id, token).map_err(|what| Fault::unavailable(format!("{} {what}", config.origin())))
}

/// What the issuer calls the tokens of a label; none when it cannot be asked.
///
/// # Errors
/// When the issuer does not answer, or not with what the configuration says.
pub(super) async fn labelled(admin: &Admin, config: &HttpIssuerConfig, label: &str, secret: Shown<'_>) -> Verb<Vec<String>> {
    let (Some(request), Some(list)) = (config.listing(), &config.list) else { return Ok(Vec::new()) };
    let answer = json(config, ask(admin, config, &request, (("an-id", label), secret)).await?)?;
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
pub(super) async fn revoke(admin: &Admin, config: &HttpIssuerConfig, id: &str, secret: Shown<'_>) -> Verb<u16> {
    let (status, _) = ask(admin, config, &config.revoke, ((id, ""), secret)).await?;
    match status {
        200..300 | 404 | 410 => Ok(status),
        _ => Err(Fault::unavailable(format!("{} answered {status} when it was told to end a token", config.origin()))),
    }
}
