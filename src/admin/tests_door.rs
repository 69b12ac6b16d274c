//! What the listener of a test's admin plane does of the proxy's work: canaries, the kill, keys, secrets and tokens. The proxy itself is tried with the whole
//! app.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::json;

use crate::base::clock::{Clock, SystemClock};
use crate::config::Class;
use crate::crypto::{jwt, keys};
use crate::policy::feed::Feed;
use crate::policy::{Mode, Principal};

pub(super) async fn stand_in(
    feed: Arc<Feed>,
    obeys: Arc<AtomicBool>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let plain = |status: u16| Response::builder().status(status).body(Full::default()).unwrap();
    let shown = request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let server = request.uri().path().trim_start_matches("/mcp/").to_owned();
    let token = shown.strip_prefix("Bearer ").unwrap_or_default();
    if request.uri().path() == "/oauth/token" {
        return Ok(at_the_desk(&feed, &shown).unwrap_or_else(|| plain(401)));
    }
    if token.starts_with("lbk_") {
        return Ok(by_key(&feed, token).unwrap_or_else(|| plain(401)));
    }
    let stands = |principal: &Principal| stands_for(principal).is_none_or(|kid| feed.snapshot().keys.contains_key(&kid));
    let principal = if token.starts_with("eyJ") { by_token(&feed, token) } else { feed.take_canary(token).filter(stands) };
    let Some(principal) = principal else { return Ok(plain(401)) };
    if principal.canary.is_none() {
        return Ok(answered());
    }
    let name = request.headers().get("mcp-name").map(|name| name.to_str().unwrap().to_owned()).unwrap_or_default();
    let body: serde_json::Value = serde_json::from_slice(&request.into_body().collect().await?.to_bytes()).unwrap();
    let tool = body["params"]["name"].as_str().unwrap_or_default();
    assert_eq!(name, tool);
    let class = principal.canary.as_ref().map_or(Class::Destructive, |canary| canary.class);
    let overlay = feed.kill();
    let stopped = overlay.stops(&server, Some(tool), &principal.client, class).filter(|_| obeys.load(Ordering::SeqCst));
    let reason = match stopped {
        Some(entry) if entry.mode == Mode::ReadOnly => (-31001, "kill.read_only"),
        Some(_) => (-31001, "kill.engaged"),
        None => (-31002, "policy.no_grant"),
    };
    let error = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": reason.0, "message": "m", "data": {"reason": reason.1}}});
    Ok(Response::new(Full::from(error.to_string())))
}

/// Answers a key that is in the policy as a server with two tools would.
fn by_key(feed: &Feed, token: &str) -> Option<Response<Full<Bytes>>> {
    let (kid, _) = token.strip_prefix("lbk_")?.split_once('_')?;
    let snapshot = feed.snapshot();
    let counts = snapshot.keys.get(kid).is_some_and(|key| key.hash == crate::crypto::keys::hash_text(token));
    feed.places().note(kid, [127, 0, 0, 1].into(), SystemClock.now(), counts);
    counts.then(answered)
}

fn answered() -> Response<Full<Bytes>> {
    Response::new(Full::from(json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": [], "content": []}}).to_string()))
}

fn stands_for(principal: &Principal) -> Option<Arc<str>> {
    principal.canary.as_ref().and_then(|canary| canary.stands_for.clone())
}

/// Gives a token for a secret that is in the policy; tells a canary that it would get one.
fn at_the_desk(feed: &Feed, shown: &str) -> Option<Response<Full<Bytes>>> {
    let plain = String::from_utf8(STANDARD.decode(shown.strip_prefix("Basic ")?).unwrap()).unwrap();
    let (client, secret) = plain.split_once(':')?;
    let snapshot = feed.snapshot();
    let whole = |body: serde_json::Value| Response::new(Full::from(body.to_string()));
    if secret.starts_with("lbc_") {
        let kid = stands_for(&feed.take_canary(secret)?)?;
        return snapshot.tokens.secrets.get(&kid).map(|_| whole(json!({"stands_for": kid})));
    }
    let kid = keys::parse(secret)?.kid.to_owned();
    let entry = snapshot.tokens.secrets.get(kid.as_str()).filter(|entry| entry.hash == keys::hash_text(secret))?;
    feed.places().note(&kid, [127, 0, 0, 1].into(), SystemClock.now(), true);
    assert_eq!(entry.client.as_ref(), client);
    let signer = snapshot.tokens.signer.as_ref()?;
    feed.issued().mark(&signer.kid, SystemClock.now().plus_ms(crate::policy::tokens::LIFE_MS));
    let token = signer.key.sign(("at+jwt", &signer.kid), &json!({"credential": kid})).unwrap();
    Some(whole(json!({"access_token": token, "expires_in": 600, "scope": "tools:read"})))
}

/// Who shows a token that a published key has signed: a canary, or a client, which is answered as by its key.
fn by_token(feed: &Feed, token: &str) -> Option<Principal> {
    let head = jwt::head(token)?;
    let snapshot = feed.snapshot();
    let key = snapshot.tokens.verifiers.get(head.kid?.as_str())?;
    let claims: serde_json::Value = jwt::open(token, head.alg, &key.key)?;
    let credential = claims["credential"].as_str()?;
    if credential.starts_with("lbc_") {
        return feed.take_canary(credential);
    }
    let secret = snapshot.tokens.secrets.get(credential);
    feed.places().note(credential, [127, 0, 0, 1].into(), SystemClock.now(), secret.is_some());
    secret.map(|secret| Principal { client: secret.client.clone(), kid: secret.kid.clone(), token: None, canary: None })
}
