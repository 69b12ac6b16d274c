//! What browsers need to let a page of another origin use the proxy (Fetch standard, section 3.3). Only for the origins that the settings
//! allow; everybody else gets not one of these headers. Never permits anything: a call still needs its key.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, VARY,
};
use http::{HeaderMap, HeaderValue, Method};

use super::origin::Admitted;

const METHODS: &str = "GET, POST, DELETE";
const EXPOSED: &str = "Mcp-Session-Id, Mcp-Protocol-Version, WWW-Authenticate, Lifeboat-Request-Id";
/// Seconds a browser remembers the answer: a page that is no longer allowed is soon forgotten.
const AGE: &str = "600";
/// What MCP clients send; `mcp-…` besides, since tools may ask for headers of their own.
const ASKED: [&str; 5] = ["authorization", "content-type", "accept", "last-event-id", "traceparent"];

/// The headers for one page.
#[derive(Clone, Debug)]
pub struct Cors {
    page: HeaderValue,
    /// Set on the answer to a preflight.
    asked: Option<HeaderValue>,
}

/// What the answer needs; `None` when no page of another origin asks.
pub(super) fn of(admitted: &Admitted) -> Option<Cors> {
    let page = admitted.page.clone()?;
    let asked = is_preflight(admitted).then(|| permitted(&admitted.headers));
    Some(Cors { page, asked })
}

/// Whether a browser asks before it sends the request itself.
pub(super) fn is_preflight(admitted: &Admitted) -> bool {
    admitted.page.is_some() && admitted.method == Method::OPTIONS && admitted.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Of the headers that the page wants to send, those it may.
fn permitted(headers: &HeaderMap) -> HeaderValue {
    let wanted = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let fits = |name: &&str| ASKED.contains(name) || (name.starts_with("mcp-") && name.len() <= 64);
    let wanted = wanted.to_ascii_lowercase();
    let names: Vec<&str> = wanted.split(',').map(str::trim).filter(fits).collect();
    HeaderValue::from_str(&names.join(", ")).unwrap_or(HeaderValue::from_static(""))
}

impl Cors {
    /// Puts the headers on an answer.
    pub(super) fn put(&self, headers: &mut HeaderMap) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.page.clone());
        headers.append(VARY, HeaderValue::from_static("Origin"));
        match &self.asked {
            Some(asked) => {
                headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
                headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
                headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(AGE));
            }
            None => {
                headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pit_26_a_page_may_send_what_clients_send() {
        let mut headers = HeaderMap::new();
        let wanted = "Authorization, content-type,mcp-protocol-version, Mcp-Param-Region, x-forwarded-for, cookie";
        headers.insert(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static(wanted));
        assert_eq!(permitted(&headers), "authorization, content-type, mcp-protocol-version, mcp-param-region");
        assert_eq!(permitted(&HeaderMap::new()), "");
    }
}
