//! The cookies of the dashboard: the session, and the first step of a sign-in that has two. Never read by script, never sent to another site,
//! never set for a sub-domain.

use axum::http::{HeaderMap, header};

/// Its name; the prefix makes browsers insist on Secure, `Path=/` and no `Domain`.
pub const NAME: &str = "__Host-lifeboat";

/// The cookie between the password and the code.
pub const STEP: &str = "__Host-lifeboat-step";

/// What a request shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown<'a> {
    /// No session cookie.
    None,
    /// Exactly one.
    One(&'a str),
    /// Several: somebody planted one (ATK-A17), and nobody can tell which.
    Several,
}

/// Reads the session cookie from all `Cookie` headers.
pub fn read(headers: &HeaderMap) -> Shown<'_> {
    read_named(headers, NAME)
}

/// Reads the cookie of the first step.
pub fn read_step(headers: &HeaderMap) -> Shown<'_> {
    read_named(headers, STEP)
}

fn read_named<'a>(headers: &'a HeaderMap, wanted: &str) -> Shown<'a> {
    let mut values = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| name.eq_ignore_ascii_case(wanted))
        .map(|(_, value)| value);
    match (values.next(), values.next()) {
        (None, _) => Shown::None,
        (Some(value), None) => Shown::One(value),
        (Some(_), Some(_)) => Shown::Several,
    }
}

/// `Set-Cookie` of a new session. It lives as long as the browser; the server ends it earlier.
pub fn set(token: &str) -> String {
    format!("{NAME}={token}; Path=/; Secure; HttpOnly; SameSite=Strict")
}

/// `Set-Cookie` that takes the session away.
pub fn clear() -> String {
    format!("{NAME}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0")
}

/// `Set-Cookie` between the password and the code.
pub fn set_step(token: &str) -> String {
    format!("{STEP}={token}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=300")
}

/// `Set-Cookie` that takes the first step away.
pub fn clear_step() -> String {
    format!("{STEP}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn shown(lines: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, HeaderValue::from_static(line));
        }
        format!("{:?}", read(&headers))
    }

    #[test]
    fn atk_a17_two_session_cookies_are_no_session() {
        assert_eq!(shown(&[]), "None");
        assert_eq!(shown(&["a=b; __Host-lifeboat=x; __Host-lifeboat-step=y"]), "One(\"x\")");
        assert_eq!(shown(&["__Host-lifeboat=x; __Host-lifeboat=y"]), "Several");
        assert_eq!(shown(&["__Host-lifeboat=x", "__host-LIFEBOAT=y"]), "Several");
    }

    #[test]
    fn atk_a04_the_cookie_has_every_flag() {
        for cookie in [set("t"), clear(), set_step("t"), clear_step()] {
            for flag in ["__Host-lifeboat", "Path=/", "Secure", "HttpOnly", "SameSite=Strict"] {
                assert!(cookie.contains(flag), "{cookie} lacks {flag}");
            }
            assert!(!cookie.contains("Domain"));
        }
    }
}
