//! Asking our own token endpoint for a token, as a client with a secret does, at one listener and for one server. Never keeps a token, and never shows a
//! secret to anybody else.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, StatusCode, header};

use super::canary::{self, Target};
use super::drivers::Trouble;
use crate::admin::{Admin, kill};
use crate::base::secret::Secret;
use crate::config::Class;
use crate::policy::feed::ProxyListener;
use crate::policy::scopes::{FIRST, Scopes};
use crate::web::form::encode;

/// Where tokens are given.
const PATH: &str = "/oauth/token";

/// A token that was given.
pub(super) struct Given {
    /// It.
    pub text: Secret<String>,
    /// What it is good for.
    pub scope: String,
    /// Seconds it lives.
    pub expires_in: i64,
}

/// A request that proves who asks, and asks for nothing that could be given: enough for a proof.
pub(super) fn bare(client: &str, secret: &str) -> (http::request::Builder, Bytes) {
    request((client, secret), "grant_type=client_credentials".to_owned())
}

fn request((client, secret): (&str, &str), body: String) -> (http::request::Builder, Bytes) {
    // Both parts are encoded as in a form first (RFC 6749 section 2.3.1).
    let basic = STANDARD.encode(format!("{}:{}", encode(client), encode(secret)));
    let request = Request::post(PATH)
        .header(header::AUTHORIZATION, format!("Basic {basic}"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::ACCEPT, "application/json");
    (request, Bytes::from(body))
}

/// Asks for a token with which the target can be called. Gives the HTTP status, and the token when there is one.
///
/// # Errors
/// When the listener does not answer.
pub(super) async fn try_ask(
    admin: &Admin,
    listener: &ProxyListener,
    target: &Target,
    (client, secret): (&str, &Secret<String>),
) -> Result<(StatusCode, Result<Given, String>), Trouble> {
    let resource = format!("{}/mcp/{}", base(admin, listener), target.server);
    let body =
        format!("grant_type=client_credentials&resource={}&scope={}", encode(&resource), encode(&scope(admin, client, target)));
    let (status, body) = canary::send(admin, listener, request((client, secret.reveal()), body)).await?;
    let answer = canary::message(&body);
    let given = answer["access_token"].as_str().filter(|_| status == StatusCode::OK).map(|text| Given {
        text: Secret::new(text.to_owned()),
        scope: answer["scope"].as_str().unwrap_or_default().to_owned(),
        expires_in: answer["expires_in"].as_i64().unwrap_or_default(),
    });
    let why = || match answer["error"].as_str() {
        Some(error) => format!("HTTP status {}, {error}", status.as_u16()),
        None => format!("HTTP status {}", status.as_u16()),
    };
    Ok((status, given.ok_or_else(why)))
}

/// Asks for a token with which the target can be called.
///
/// # Errors
/// When none is given, or the listener does not answer.
pub(super) async fn ask(
    admin: &Admin,
    listener: &ProxyListener,
    target: &Target,
    shown: (&str, &Secret<String>),
) -> Result<Given, Trouble> {
    let (_, given) = try_ask(admin, listener, target, shown).await?;
    given.map_err(|why| Trouble::transient(format!("no token for {} at {}: {why}", target.server, listener.name)))
}

/// How a client reaches a listener, byte for byte as the proxy names itself there.
fn base(admin: &Admin, listener: &ProxyListener) -> String {
    let manner = kill::manner(admin);
    let snapshot = admin.feed.snapshot();
    let url = snapshot.settings.public_url.as_ref().map(|url| url.as_str().to_owned());
    url.unwrap_or_else(|| format!("https://{}", kill::authority(listener, &manner)))
}

/// The scope of the class that the target counts as; to read, when only its list is asked for.
fn scope(admin: &Admin, client: &str, target: &Target) -> String {
    let snapshot = admin.feed.snapshot();
    let entry = snapshot.clients.get(client);
    let class = target.tool.as_deref().zip(entry).and_then(|(tool, entry)| canary::permits(&snapshot, entry, &target.server, tool));
    class.filter(|class| *class != Class::Read).map_or_else(|| FIRST.to_owned(), |class| Scopes::of(class).to_string())
}
