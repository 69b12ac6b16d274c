//! Gives an access token (RFC 6749 section 4.4, RFC 8707, RFC 9068): for one client, one resource, scopes that its grants reach, ten minutes.
//! Recorded before it is given; never wider than what was asked for.

use std::sync::Arc;

use serde_json::json;

use super::answer;
use super::client::{self, Proven};
use super::fault::OauthFault;
use super::form::Form;
use crate::audit::{Durability, Event};
use crate::base::clock::Timestamp;
use crate::base::ids::mint;
use crate::config::Class;
use crate::policy::decide::reach;
use crate::policy::tokens::{LIFE_MS, Signer};
use crate::policy::{Scopes, Snapshot};
use crate::proxy::Shared;
use crate::proxy::exchange::Exchange;
use crate::proxy::origin::Admitted;
use crate::proxy::pipeline::Outcome;

/// What kind of token it is (RFC 9068 section 2.1).
pub(super) const TYPE: &str = "at+jwt";

/// The claim that says to the millisecond when it was issued: cuts are as exact.
pub(super) const ISSUED: &str = "issued_ms";

/// Answers a token request.
///
/// # Errors
/// See [`OauthFault`].
pub(super) async fn issue(shared: &Shared, x: &Exchange, admitted: &Admitted, form: &Form) -> Result<Outcome, OauthFault> {
    let snapshot = shared.feed.snapshot();
    let proven = client::prove(shared, &snapshot, (admitted, form), x.remote.ip())?;
    if proven.stands_in {
        return stood_in(shared, x, &proven).await;
    }
    match form.one("grant_type")? {
        Some("client_credentials") => {}
        Some(_) => return Err(OauthFault::Grant),
        None => return Err(OauthFault::Malformed("grant_type is missing")),
    }
    let server = target(&snapshot, &admitted.base, form)?;
    let scopes = scopes(&snapshot, &proven, &server, form.one("scope")?)?;
    shared.oauth.throttle.give(&proven.client.name).map_err(|seconds| OauthFault::TooMany { seconds })?;
    let given = sign(shared, &proven, (&admitted.base, &server), scopes)?;
    record(shared, x, (&proven, &server), &given).await?;
    let body = json!({
        "access_token": given.text,
        "token_type": "Bearer",
        "expires_in": LIFE_MS / 1_000,
        "scope": scopes.to_string(),
    });
    metrics::counter!("lifeboat_tokens_total").increment(1);
    Ok(answer::done(body.to_string().into()))
}

/// The answer to a proof of ours: whom it stands for would be given a token now.
async fn stood_in(shared: &Shared, x: &Exchange, proven: &Proven) -> Result<Outcome, OauthFault> {
    let event = Event {
        request_id: Some(x.id.clone()),
        kid: Some(proven.kid.to_string()),
        remote: Some(x.remote.ip().to_string()),
        revision: Some(shared.feed.snapshot().revision.to_string()),
        ..Event::system("credential.canary", format!("oauth/token as {}", proven.client.name))
    };
    shared.recorder.record(event, Durability::Written).await.map_err(|_| OauthFault::Ledger)?;
    Ok(answer::done(json!({ "stands_for": proven.kid }).to_string().into()))
}

/// The server whose URL the one `resource` is.
fn target(snapshot: &Snapshot, base: &str, form: &Form) -> Result<Arc<str>, OauthFault> {
    let mut resources = form.all("resource");
    let resource = resources.next().ok_or(OauthFault::Target("A token is for one resource, and none was named."))?;
    if resources.next().is_some() {
        return Err(OauthFault::Target("A token is for one resource, and several were named."));
    }
    let named = resource.strip_prefix(base).and_then(|path| path.strip_prefix("/mcp/"));
    let server = named.and_then(|name| snapshot.servers.get(name)).map(|server| server.name.clone());
    server.ok_or(OauthFault::Target("There is no such resource here."))
}

/// What is asked for, when the client's grants reach it; to read, when nothing is asked for.
fn scopes(snapshot: &Snapshot, proven: &Proven, server: &str, asked: Option<&str>) -> Result<Scopes, OauthFault> {
    let unknown = || OauthFault::Scope("There is no such scope.".into());
    let asked = asked.map_or(Ok(Scopes::of(Class::Read)), |text| Scopes::parse(text).map_err(|_| unknown()))?;
    let most = reach(snapshot, &proven.client, server);
    if asked.top() <= most {
        return Ok(asked);
    }
    Err(OauthFault::Scope(match most {
        None => "This client has no grant on that server.".into(),
        Some(class) => format!("This client's grants on that server reach {} at most.", Scopes::of(class)),
    }))
}

struct Given {
    text: String,
    jti: String,
    expires_at: Timestamp,
    resource: String,
    scope: String,
    key: Arc<str>,
}

fn sign(shared: &Shared, proven: &Proven, (base, server): (&str, &str), scopes: Scopes) -> Result<Given, OauthFault> {
    let now = shared.clock.now();
    let jti = mint("tok", now, shared.entropy.as_ref());
    let client = proven.client.name.as_ref();
    let (signer, issued) = signer(shared, client, now)?;
    let issued_at = issued.0.div_euclid(1_000);
    let expires = issued_at + LIFE_MS / 1_000;
    let resource = format!("{base}/mcp/{server}");
    let claims = json!({
        "iss": base,
        "sub": client,
        "client_id": client,
        "aud": resource,
        "iat": issued_at,
        ISSUED: issued.0,
        "exp": expires,
        "jti": jti,
        "scope": scopes.to_string(),
        "credential": proven.kid,
    });
    let text = signer.key.sign((TYPE, &signer.kid), &claims).map_err(|fault| {
        tracing::error!(%fault, "a token cannot be signed");
        OauthFault::NoKey
    })?;
    let (expires_at, key) = (Timestamp(expires.saturating_mul(1_000)), signer.kid);
    Ok(Given { text, jti, expires_at, resource, scope: scopes.to_string(), key })
}

/// The key that signs, and when the token counts as issued. Before a key is used, its last expiry is noted, and only then is it looked
/// whether it still signs: so whoever replaces it knows of every token that it ever signed.
fn signer(shared: &Shared, client: &str, now: Timestamp) -> Result<(Signer, Timestamp), OauthFault> {
    loop {
        let snapshot = shared.feed.snapshot();
        let signer = snapshot.tokens.signer.clone().ok_or(OauthFault::NoKey)?;
        let issued = snapshot.tokens.cuts.issue(client, now);
        shared.feed.issued().mark(&signer.kid, Timestamp((issued.0.div_euclid(1_000) * 1_000).saturating_add(LIFE_MS)));
        let still = shared.feed.snapshot().tokens.signer.as_ref().is_some_and(|current| current.kid == signer.kid);
        if still {
            return Ok((signer, issued));
        }
    }
}

async fn record(shared: &Shared, x: &Exchange, (proven, server): (&Proven, &str), given: &Given) -> Result<(), OauthFault> {
    let event = Event {
        request_id: Some(x.id.clone()),
        client: Some(proven.client.name.to_string()),
        kid: Some(proven.kid.to_string()),
        remote: Some(x.remote.ip().to_string()),
        server: Some(server.to_owned()),
        revision: Some(shared.feed.snapshot().revision.to_string()),
        params: Some(json!({
            "jti": given.jti, "scope": given.scope, "resource": given.resource, "expires_at": given.expires_at, "key": given.key,
        })),
        ..Event::system("token.issue", given.jti.clone())
    };
    shared.recorder.record(event, Durability::Written).await.map(drop).map_err(|_| OauthFault::Ledger)
}
