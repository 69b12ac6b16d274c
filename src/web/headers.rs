//! The security headers of every answer of the dashboard, errors included. Never loosens itself for a page.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// The policy of one response: no inline script or style, nothing from elsewhere, no framing, and only htmx may make markup from text.
pub fn content_security_policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types htmx"
    )
}

const FIXED: [(HeaderName, &str); 6] = [
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), microphone=(), midi=(), payment=(), usb=()",
    ),
];

/// Puts the headers on an answer. `Cache-Control` is `no-store` unless the answer says otherwise (assets do).
pub fn put(headers: &mut HeaderMap, nonce: &str, host: &str) {
    if let Ok(policy) = HeaderValue::from_str(&content_security_policy(nonce)) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in FIXED {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if has_a_name(host) {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
}

// Strict transport for localhost or a bare address would outlive Lifeboat in the browser and break whatever else listens there.
fn has_a_name(host: &str) -> bool {
    let name = super::origin::name_of(host);
    !name.is_empty() && name != "localhost" && !name.ends_with(".localhost") && name.parse::<IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dressed(host: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        put(&mut headers, "bm9uY2U=", host);
        headers
    }

    #[test]
    fn atk_a07_every_answer_forbids_framing() {
        let headers = dressed("lifeboat.example:8443");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("frame-ancestors 'none'"));
        assert_eq!(headers["x-frame-options"], "DENY");
        assert_eq!(headers["cache-control"], "no-store");
    }

    #[test]
    fn atk_a08_the_policy_has_no_unsafe_and_wants_trusted_types() {
        let policy = content_security_policy("abc");
        assert!(!policy.contains("unsafe"));
        assert!(policy.starts_with("default-src 'none'; script-src 'self' 'nonce-abc'; style-src 'self';"));
        assert!(policy.ends_with("require-trusted-types-for 'script'; trusted-types htmx"));
    }

    #[test]
    fn strict_transport_is_for_names_only() {
        for bare in ["localhost:8443", "127.0.0.1:8443", "[::1]:8443", "", "a.localhost"] {
            assert!(!dressed(bare).contains_key("strict-transport-security"), "{bare}");
        }
        assert!(dressed("lifeboat.example").contains_key("strict-transport-security"));
    }
}
