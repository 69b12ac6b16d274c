//! Where a request comes from: the host it names must be ours, and a request that changes something must come from our own pages. Pure.

use axum::http::{HeaderMap, Method, Uri, header};

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// The host is not in the list.
    #[error("This name is not one of the names Lifeboat answers to. They stand in lifeboat.toml under [listen] hosts")]
    Host,
    /// The request was made by a page of another origin, or nobody says by which.
    #[error("The request comes from another site. Open this page from the dashboard and send it again")]
    Origin,
}

/// The host a request names: the authority of its target (HTTP/2), or `Host`. `None` when there is none, or two that differ.
pub fn host_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut named = headers.get_all(header::HOST).iter();
    let host = match (named.next(), named.next()) {
        (_, Some(_)) => return None,
        (Some(value), None) => Some(value.to_str().ok()?),
        (None, None) => None,
    };
    match (uri.authority().map(|a| a.as_str()), host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => None,
        (authority, host) => authority.or(host),
    }
}

/// A host without its port and brackets.
pub fn name_of(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Checks that the named host is one of ours; the port may be any, since it is mapped in many deployments.
///
/// # Errors
/// `Host` when it is another one or none.
pub fn check_host(uri: &Uri, headers: &HeaderMap, is_ours: impl Fn(&str) -> bool) -> Result<(), Foreign> {
    let name = name_of(host_of(uri, headers).ok_or(Foreign::Host)?);
    if is_ours(name) { Ok(()) } else { Err(Foreign::Host) }
}

/// Checks that an unsafe request was made by our own page (ATK-A05). `Sec-Fetch-Site` decides; browsers without it send `Origin`.
/// With neither, a cookie tells that it is a browser after all.
///
/// # Errors
/// `Origin` when it was not, or nobody says so.
pub fn check_origin(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Foreign> {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let fits = match (headers.get("sec-fetch-site"), headers.get(header::ORIGIN)) {
        (Some(site), _) => site == "same-origin" || site == "none",
        (None, Some(origin)) => match (origin.to_str().ok().and_then(|o| o.split_once("://")), host_of(uri, headers)) {
            (Some((_, authority)), Some(host)) => authority.eq_ignore_ascii_case(host),
            _ => false,
        },
        (None, None) => !headers.contains_key(header::COOKIE),
    };
    if fits { Ok(()) } else { Err(Foreign::Origin) }
}

/// A place to come back to after signing in: a path of this site and nothing else (ATK-A13). Everything doubtful becomes `/`.
pub fn local_path(next: &str) -> &str {
    let fits = next.starts_with('/')
        && !next.starts_with("//")
        && next.len() <= 2_000
        && next.bytes().all(|b| (0x21..0x7f).contains(&b) && b != b'\\')
        && !next.starts_with("/login")
        && !next.starts_with("/logout");
    if fits { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (axum::http::HeaderName::from_static(k), axum::http::HeaderValue::from_static(v))).collect()
    }

    fn post(pairs: &[(&'static str, &'static str)]) -> Result<(), Foreign> {
        check_origin(&Method::POST, &Uri::from_static("/kill/engage"), &headers(pairs))
    }

    #[test]
    fn atk_a05_only_our_own_pages_may_post() {
        let host = ("host", "localhost:8443");
        assert_eq!(post(&[host, ("sec-fetch-site", "same-origin")]), Ok(()));
        assert_eq!(post(&[host, ("sec-fetch-site", "none")]), Ok(()));
        assert_eq!(post(&[host, ("origin", "https://localhost:8443")]), Ok(()));
        assert_eq!(post(&[host]), Ok(()), "no browser, no cookie");
        for bad in [
            vec![host, ("sec-fetch-site", "cross-site")],
            vec![host, ("sec-fetch-site", "same-site")],
            vec![host, ("sec-fetch-site", "cross-site"), ("origin", "https://localhost:8443")],
            vec![host, ("origin", "https://evil.example")],
            vec![host, ("origin", "https://localhost:9999")],
            vec![host, ("origin", "null")],
            vec![("origin", "https://localhost:8443")],
            vec![host, ("cookie", "__Host-lifeboat=x")],
        ] {
            assert_eq!(post(&bad), Err(Foreign::Origin), "{bad:?}");
        }
        let get = check_origin(&Method::GET, &Uri::from_static("/kill"), &headers(&[("sec-fetch-site", "cross-site")]));
        assert_eq!(get, Ok(()));
    }

    #[test]
    fn only_our_own_names_are_answered() {
        let settings = crate::config::Settings::default();
        let ours = |name: &str| settings.dashboard_answers_to(name);
        let check = |host: &'static str| check_host(&Uri::from_static("/"), &headers(&[("host", host)]), ours);
        for good in ["localhost:8443", "LOCALHOST", "127.0.0.1:1", "[::1]:8443", "[::1]"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["evil.example", "localhost.evil.example:8443", "evil.example:8443@localhost", ""] {
            assert_eq!(check(bad), Err(Foreign::Host), "{bad}");
        }
        assert_eq!(check_host(&Uri::from_static("/"), &HeaderMap::new(), ours), Err(Foreign::Host));
        let h2 = check_host(&Uri::from_static("https://localhost:8443/kill"), &HeaderMap::new(), ours);
        assert_eq!(h2, Ok(()));
    }

    #[test]
    fn atk_a13_next_is_a_path_of_this_site() {
        for bad in
            ["//evil", "/\\evil", "https://evil", "javascript:alert(1)", "", "evil", "/a\nb", "/a b", "/\t/evil", "/login?next=/x"]
        {
            assert_eq!(local_path(bad), "/", "{bad:?}");
        }
        assert_eq!(local_path("/activity?client=ci&status=refused"), "/activity?client=ci&status=refused");
    }
}
