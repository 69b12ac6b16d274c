//! How an answer of the token endpoint looks on the wire. Never kept by a cache (RFC 6749 section 5.1).

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::fault::OauthFault;
use crate::proxy::exchange::Whole;
use crate::proxy::pipeline::Outcome;

fn no_store() -> (HeaderName, HeaderValue) {
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

/// Done.
pub(super) fn done(body: Bytes) -> Outcome {
    Outcome::whole(Whole { extra: vec![no_store()], ..Whole::json(StatusCode::OK, body) })
}

impl OauthFault {
    /// The headers of its answer.
    pub(in crate::proxy) fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = vec![no_store()];
        if self.challenges() {
            headers.push((header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"lifeboat\", charset=\"UTF-8\"")));
        }
        if *self == Self::NotPost {
            headers.push((header::ALLOW, HeaderValue::from_static("POST")));
        }
        headers.extend(self.wait().map(|seconds| (header::RETRY_AFTER, HeaderValue::from(seconds))));
        headers
    }
}
