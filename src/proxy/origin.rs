//! Stage: is the request meant for us. Host must be one of ours, Origin absent or ours. Never looks at the body.

use std::sync::Arc;

use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, Method};

use super::refuse::Refusal;
use super::route::{Route, route};
use crate::config::Settings;

/// A request that names one of our hosts.
pub struct Admitted {
    /// As the client named it, with the port when it named one.
    pub host: String,
    /// HTTP method.
    pub method: Method,
    /// All headers.
    pub headers: HeaderMap,
    /// What is asked for.
    pub route: Route,
    /// The server in the path.
    pub server: Option<Arc<str>>,
    /// The query as it came.
    pub query: Option<String>,
}

/// Checks Host and Origin (DNS rebinding: a browser tells the truth about both).
///
/// # Errors
/// 403; 400 when Host and the authority of HTTP/2 disagree.
pub fn admit(settings: &Settings, port: u16, parts: Parts) -> Result<Admitted, Refusal> {
    let host = host_of(&parts).ok_or(Refusal::Foreign("origin.host"))?;
    let hosts = &settings.listen.hosts;
    let (name, host_port) = split(&host).ok_or(Refusal::Foreign("origin.host"))?;
    if !ours(hosts, name) {
        return Err(Refusal::Foreign("origin.host"));
    }
    let mut origins = parts.headers.get_all(ORIGIN).iter();
    if let Some(origin) = origins.next() {
        let origin = origin.to_str().ok().and_then(|origin| origin.strip_prefix("https://")).and_then(split);
        let (name, origin_port) = origin.ok_or(Refusal::Foreign("origin.foreign"))?;
        let origin_port = origin_port.unwrap_or(443);
        let port_fits = origin_port == port || origin_port == host_port.unwrap_or(443);
        if !ours(hosts, name) || !port_fits || origins.next().is_some() {
            return Err(Refusal::Foreign("origin.foreign"));
        }
    }
    let route = route(parts.uri.path());
    let server = route.server();
    let query = parts.uri.query().map(str::to_owned);
    Ok(Admitted { host, method: parts.method, headers: parts.headers, route, server, query })
}

/// The one host the request names; `None` when it names none, two, or two that disagree.
fn host_of(parts: &Parts) -> Option<String> {
    let mut values = parts.headers.get_all(HOST).iter();
    let header = values.next().map(|value| value.to_str().unwrap_or(""));
    if values.next().is_some() {
        return None;
    }
    match (parts.uri.authority(), header) {
        (Some(authority), None) => Some(authority.as_str().to_owned()),
        (Some(authority), Some(header)) if authority.as_str().eq_ignore_ascii_case(header) => Some(header.to_owned()),
        (None, Some(header)) => Some(header.to_owned()),
        _ => None,
    }
}

/// `name`, `name:port` or `[v6]:port`; the name comes without brackets.
fn split(host: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = host.strip_prefix('[') {
        let (name, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((name, Some(port.parse().ok()?))),
            None => rest.is_empty().then_some((name, None)),
        };
    }
    match host.split_once(':') {
        Some((name, port)) => Some((name, Some(port.parse().ok()?))),
        None => Some((host, None)),
    }
}

fn ours(hosts: &[String], name: &str) -> bool {
    !name.is_empty() && hosts.iter().any(|host| host.trim_matches(['[', ']']).eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn try_with(host: &str, origin: Option<&str>) -> bool {
        let mut request = Request::post("/mcp/demo").header(HOST, host);
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        let (parts, ()) = request.body(()).expect("request").into_parts();
        admit(&Settings::default(), 8444, parts).is_ok()
    }

    #[test]
    fn atk_p30_only_our_names_pass() {
        for host in ["localhost", "localhost:8444", "127.0.0.1:9", "[::1]:8444", "LOCALHOST:8444"] {
            assert!(try_with(host, None), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "localhost:", "localhost:x", "", "[::1", "localhost@evil"] {
            assert!(!try_with(host, None), "{host}");
        }
    }

    #[test]
    fn atk_p30_a_foreign_origin_is_refused() {
        assert!(try_with("localhost:8444", Some("https://localhost:8444")));
        for origin in ["null", "http://localhost:8444", "https://evil.example", "https://localhost:1", "https://localhost", ""] {
            assert!(!try_with("localhost:8444", Some(origin)), "{origin}");
        }
    }
}
