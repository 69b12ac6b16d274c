//! Ends a token before its time (RFC 7009). Only its own client can: for everybody else, and for what is no token, nothing happens and the
//! answer is the same. Effective for the next look of every call; answered once it is stored.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::fault::OauthFault;
use super::form::Form;
use super::{access, answer, client};
use crate::audit::{Durability, Event};
use crate::policy::ended::EndedToken;
use crate::proxy::Shared;
use crate::proxy::exchange::Exchange;
use crate::proxy::origin::Admitted;
use crate::proxy::pipeline::Outcome;

/// How long the store is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Answers a revocation request.
///
/// # Errors
/// See [`OauthFault`].
pub(super) async fn revoke(shared: &Shared, x: &Exchange, admitted: &Admitted, form: &Form) -> Result<Outcome, OauthFault> {
    let snapshot = shared.feed.snapshot();
    let proven = client::prove(shared, &snapshot, (admitted, form), x.remote.ip())?;
    // As many as tokens may be given: nobody has more of them to end.
    shared.oauth.throttle.give(&proven.client.name).map_err(|seconds| OauthFault::TooMany { seconds })?;
    let token = form.one("token")?.ok_or(OauthFault::Malformed("token is missing"))?;
    // token_type_hint only helps to search; there is one kind of token here (RFC 7009 section 2.1).
    let done = || Ok(answer::done(Bytes::new()));
    let Some(found) = access::own(shared, &snapshot, &admitted.base, token) else { return done() };
    if found.client != proven.client.name || found.token.expires_at <= shared.clock.now() {
        return done();
    }
    // Ended before: that stands in the ledger, and once it is stored there is nothing left to do.
    if shared.feed.ended().holds(&found.token.jti) {
        return stored(shared, &found.token.jti).await.and_then(|()| done());
    }
    let ended =
        EndedToken { jti: found.token.jti.to_string(), client: found.client.to_string(), expires_at: found.token.expires_at };
    let event = Event {
        request_id: Some(x.id.clone()),
        client: Some(ended.client.clone()),
        kid: Some(proven.kid.to_string()),
        remote: Some(x.remote.ip().to_string()),
        params: Some(json!({"jti": ended.jti, "expires_at": ended.expires_at})),
        ..Event::system("token.revoke", ended.jti.clone())
    };
    // It counts before anything is written.
    shared.feed.end_token(ended);
    let recorded = shared.recorder.record(event, Durability::Written).await;
    let stored = stored(shared, &found.token.jti).await;
    recorded.map_err(|_| OauthFault::Ledger)?;
    stored.and_then(|()| done())
}

async fn stored(shared: &Shared, jti: &str) -> Result<(), OauthFault> {
    let stored = tokio::time::timeout(PATIENCE, shared.feed.ended().until_stored(jti)).await;
    stored.map_err(|_| OauthFault::NotStored)
}
