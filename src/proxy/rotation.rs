//! `POST /credential/rotate`: a client asks for the successor of the key that it shows. Decides only whether it may ask; the key comes from the admin plane
//! and stands on the one answer. Never asks for anybody but whoever shows the key.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;

use super::authn::Caller;
use super::exchange::{Exchange, Sort, Whole};
use super::origin::Admitted;
use super::pipeline::Outcome;
use super::refuse::Refusal;
use super::{Shared, intake, rate};
use crate::config::Class;
use crate::policy::asks::{NotRotated, Successor};

/// Bytes of a body.
const LARGEST: u64 = 1_024;

/// Why no key is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RotationFault {
    /// Another HTTP method.
    NotPost,
    /// Not a body of this kind; what is wrong.
    Malformed(&'static str),
    /// A body over its cap.
    TooLarge,
    /// A token was shown, or a key of an issuer elsewhere.
    Token,
    /// The client's file does not allow it.
    Denied,
    /// An operator stopped the client, or everything.
    Stopped,
    /// A rotation is open already.
    Open,
    /// An overlap that cannot be; what would be right.
    Overlap(String),
    /// The client's own limits.
    TooMany(Duration),
    /// Not now.
    Unavailable,
}

impl RotationFault {
    /// The slug of the ledger.
    pub fn slug(&self) -> &'static str {
        match self {
            Self::NotPost => "wire.no_method",
            Self::Malformed(_) => "wire.malformed",
            Self::TooLarge => "size.request",
            Self::Token => "rotation.token",
            Self::Denied => "rotation.denied",
            Self::Stopped => "kill.engaged",
            Self::Open => "rotation.open",
            Self::Overlap(_) => "rotation.overlap",
            Self::TooMany(_) => "rate.client",
            Self::Unavailable => "rotation.unavailable",
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotPost => StatusCode::METHOD_NOT_ALLOWED,
            Self::Malformed(_) | Self::Overlap(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Token | Self::Denied | Self::Stopped => StatusCode::FORBIDDEN,
            Self::Open => StatusCode::CONFLICT,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The headers of its answer.
    pub fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = vec![no_store()];
        match self {
            Self::NotPost => headers.push((header::ALLOW, HeaderValue::from_static("POST"))),
            Self::TooMany(after) => {
                headers.push((header::RETRY_AFTER, HeaderValue::from(after.as_millis().div_ceil(1_000).max(1) as u64)))
            }
            Self::Unavailable => headers.push((header::RETRY_AFTER, HeaderValue::from(60))),
            _ => {}
        }
        headers
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::NotPost | Self::Malformed(_) | Self::TooLarge | Self::Overlap(_) => "invalid",
            Self::Token | Self::Denied | Self::Stopped => "denied",
            Self::Open => "conflict",
            Self::TooMany(_) | Self::Unavailable => "unavailable",
        }
    }

    /// The document.
    pub fn to_body(&self, request_id: &str) -> Bytes {
        let error = json!({ "kind": self.kind(), "reason": self.slug(), "message": self.text(), "request_id": request_id });
        json!({ "error": error }).to_string().into()
    }

    /// The sentence.
    pub fn text(&self) -> String {
        match self {
            Self::NotPost => "This endpoint takes POST only.".into(),
            Self::Malformed(what) => format!("The request cannot be understood: {what}."),
            Self::TooLarge => "The body is too large.".into(),
            Self::Token => "Only a client key can be replaced here, by showing it. A token ends by itself; get a new one instead.".into(),
            Self::Denied => "This client may not replace its key itself. Ask the operator.".into(),
            Self::Stopped => "Stopped by an operator: the kill switch is engaged. Do not retry; tell your user.".into(),
            Self::Open => "A rotation of this client's key is open already. Nothing was changed. Use the newest key that you have, or ask the operator.".into(),
            Self::Overlap(what) => format!("The overlap is wrong: {what}."),
            Self::TooMany(after) => format!("Too many calls of this client. Wait {} ms, then try again.", after.as_millis()),
            Self::Unavailable => "The key cannot be replaced now. Nothing was changed; the key counts as before. Try again later.".into(),
        }
    }
}

impl From<NotRotated> for RotationFault {
    fn from(why: NotRotated) -> Self {
        match why {
            NotRotated::Denied => Self::Denied,
            NotRotated::Open => Self::Open,
            NotRotated::Overlap(what) => Self::Overlap(what),
            NotRotated::Unavailable => Self::Unavailable,
        }
    }
}

fn no_store() -> (HeaderName, HeaderValue) {
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

/// Serves the endpoint for a client that has shown its key.
///
/// # Errors
/// See [`RotationFault`]; 404 for the canary of a proof.
pub(super) async fn serve(
    shared: &Shared,
    x: &mut Exchange,
    (admitted, caller): (&Admitted, Caller),
    body: &mut Option<Incoming>,
) -> Result<Outcome, Refusal> {
    x.facts.sort = Sort::List;
    x.facts.method = Some("credential/rotate".to_owned());
    if caller.principal.canary.is_some() {
        return Err(Refusal::NoPath);
    }
    let principal = caller.principal.clone();
    may(shared, admitted, caller).map_err(Refusal::Rotation)?;
    let overlap = read(shared, admitted, body).await?;
    // What could not be written down afterwards is not begun.
    if shared.recorder.trouble().is_some() {
        return Err(Refusal::Rotation(RotationFault::Unavailable));
    }
    let asked = shared.feed.asks().ask((principal.client, principal.kid), overlap, x.id.clone()).await;
    let given = asked.map_err(|why| Refusal::Rotation(why.into()))?;
    Ok(Outcome::whole(Whole { extra: vec![no_store()], ..Whole::json(StatusCode::OK, document(&given)) }))
}

fn document(given: &Successor) -> Bytes {
    let key = given.key.reveal();
    let (expires_at, until) = (given.expires_at, given.old_valid_until);
    json!({ "kid": given.kid, "key": key, "expires_at": expires_at, "old_valid_until": until }).to_string().into()
}

/// Whether this client may ask now. Its place in flight is given back: the new key is tried as a call of the same client.
fn may(shared: &Shared, admitted: &Admitted, caller: Caller) -> Result<(), RotationFault> {
    if admitted.method != Method::POST {
        return Err(RotationFault::NotPost);
    }
    // A token is narrower than its client and lives for minutes: it must not become a key that is neither.
    if caller.principal.token.is_some() {
        return Err(RotationFault::Token);
    }
    if !caller.client.self_rotation {
        return Err(RotationFault::Denied);
    }
    if shared.feed.kill().stops("", None, &caller.principal.client, Class::Write).is_some() {
        return Err(RotationFault::Stopped);
    }
    rate::meter(&shared.limiter, caller).map(drop).map_err(|refusal| match refusal {
        Refusal::Rate { after } => RotationFault::TooMany(after),
        _ => RotationFault::TooMany(Duration::from_millis(250)),
    })
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    overlap: Option<String>,
}

/// The overlap of the body; none without a body.
async fn read(shared: &Shared, admitted: &Admitted, body: &mut Option<Incoming>) -> Result<Option<String>, Refusal> {
    let malformed = |what| Refusal::Rotation(RotationFault::Malformed(what));
    // What is asked stands in the body alone: a query ends up in logs.
    if admitted.query.is_some() {
        return Err(malformed("the overlap belongs into the body"));
    }
    let Some(body) = body.take() else { return Ok(None) };
    let bytes = intake::collect(&admitted.headers, body, LARGEST, &shared.bodies).await.map_err(|refusal| match refusal {
        Refusal::RequestSize { .. } => Refusal::Rotation(RotationFault::TooLarge),
        other => other,
    })?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let kind = admitted.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_json = kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json");
    if !is_json || admitted.headers.contains_key(CONTENT_ENCODING) {
        return Err(malformed("a body must be application/json"));
    }
    let wrong = "the body must be JSON such as {\"overlap\":\"1h\"}, or none";
    // A list would be read as the fields in their order.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(malformed(wrong));
    }
    let wanted: Wanted = serde_json::from_slice(&bytes).map_err(|_| malformed(wrong))?;
    Ok(wanted.overlap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_status_and_says_what_to_do() {
        let all = [
            (RotationFault::NotPost, 405),
            (RotationFault::Malformed("x"), 400),
            (RotationFault::TooLarge, 413),
            (RotationFault::Token, 403),
            (RotationFault::Denied, 403),
            (RotationFault::Stopped, 403),
            (RotationFault::Open, 409),
            (RotationFault::Overlap("x".into()), 400),
            (RotationFault::TooMany(Duration::from_millis(1_200)), 429),
            (RotationFault::Unavailable, 503),
        ];
        for (fault, status) in all {
            assert_eq!(fault.status().as_u16(), status, "{fault:?}");
            let body: serde_json::Value = serde_json::from_slice(&fault.to_body("req_1")).expect("JSON");
            assert_eq!((&body["error"]["reason"], &body["error"]["request_id"]), (&json!(fault.slug()), &json!("req_1")));
            assert!(body["error"]["message"].as_str().is_some_and(|text| text.ends_with('.')), "{body}");
            assert!(fault.headers().contains(&no_store()), "{fault:?}");
        }
        let after = RotationFault::TooMany(Duration::from_millis(1_200)).headers();
        assert!(after.contains(&(header::RETRY_AFTER, HeaderValue::from(2))));
    }
}
