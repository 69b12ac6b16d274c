//! The fields of a form or a query, as they were typed. Nothing is lost when a page is shown again with its faults.

use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};

use crate::base::fault::{Fault, Verb};

/// A form is at most so large.
pub const LARGEST: usize = 64 * 1024;

/// Fields in order; a name may come several times.
#[derive(Clone, Debug, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads `a=b&c=d`.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|part| !part.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name), decode(value))
                })
                .collect(),
        )
    }

    /// The first value of a field, without spaces around it; empty when it is missing.
    pub fn get(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// The first value of a field exactly as typed: for passwords.
    pub fn raw(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str())
    }

    /// All values of a field that are not empty.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(n, v)| n == name && !v.trim().is_empty()).map(|(_, v)| v.trim().to_owned()).collect()
    }

    /// Whether a field is there at all: a box that was ticked.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(n, _)| n == name)
    }

    /// The value of a field that must not be empty.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn need(&self, name: &str, sentence: &str) -> Verb<&str> {
        match self.get(name) {
            "" => Err(Fault::invalid(name, sentence)),
            value => Ok(value),
        }
    }

    /// Every field in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// As a browser would send them.
    pub fn encoded(&self) -> String {
        self.pairs().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect::<Vec<_>>().join("&")
    }

    /// Without some of them.
    #[must_use]
    pub fn without(self, names: &[&str]) -> Self {
        Self(self.0.into_iter().filter(|(name, _)| !names.contains(&name.as_str())).collect())
    }

    /// The fields as a query, with some replaced and empty ones left out.
    pub fn query_with(&self, changes: &[(&str, &str)]) -> String {
        let kept = self.0.iter().filter(|(n, v)| !v.is_empty() && changes.iter().all(|(c, _)| c != n));
        let all = kept.map(|(n, v)| (n.as_str(), v.as_str())).chain(changes.iter().copied().filter(|(_, v)| !v.is_empty()));
        all.map(|(n, v)| format!("{}={}", encode(n), encode(v))).collect::<Vec<_>>().join("&")
    }
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let mut ahead = bytes.clone();
                let digits = (ahead.next().and_then(hex), ahead.next().and_then(hex));
                if let (Some(high), Some(low)) = digits {
                    out.push(high << 4 | low);
                    bytes = ahead;
                } else {
                    out.push(b'%');
                }
            }
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Percent-encodes everything but letters, digits and `-._~`.
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = StatusCode;

    /// The body of a form, or the query of anything else. Other bodies are refused, so that `text/plain` cannot pose as a form.
    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        if matches!(*request.method(), axum::http::Method::GET | axum::http::Method::HEAD) {
            return Ok(Self::parse(request.uri().query().unwrap_or_default()));
        }
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let plain_kind = kind.split(';').next().unwrap_or_default().trim();
        if !plain_kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") && !kind.is_empty() {
            return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
        let body = axum::body::to_bytes(request.into_body(), LARGEST).await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
        let text = std::str::from_utf8(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
        Ok(Self::parse(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_read_as_browsers_send_them() {
        let fields = Fields::parse("name=+ci%2Drunner+&role=a&role=b&password=+x+&odd=%zz%4&tick");
        assert_eq!(fields.get("name"), "ci-runner");
        assert_eq!(fields.raw("password"), " x ");
        assert_eq!(fields.all("role"), ["a", "b"]);
        assert_eq!(fields.get("odd"), "%zz%4");
        assert!(fields.has("tick") && !fields.has("other"));
        assert_eq!(Fields::parse(&fields.encoded()).get("odd"), "%zz%4");
        assert!(!fields.clone().without(&["tick"]).has("tick"));
        assert!(fields.need("missing", "say it").is_err());
    }

    #[test]
    fn a_query_keeps_what_is_not_changed() {
        let fields = Fields::parse("client=a%26b&after=9&status=");
        assert_eq!(fields.query_with(&[("after", "12")]), "client=a%26b&after=12");
        assert_eq!(fields.query_with(&[("after", "")]), "client=a%26b");
    }
}
