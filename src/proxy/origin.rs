//! Stage: is the request meant for us. Host must be one of ours, Origin absent, ours or one that the settings allow. Never looks at the body.

use std::sync::Arc;

use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};

use super::refuse::Refusal;
use super::route::{Route, route};
use crate::config::Settings;

/// A request that names one of our hosts.
pub struct Admitted {
    /// Where the client reaches us: the public URL, or `https://`, the name that the client used and our own port. Documents and challenges begin with it.
    pub base: String,
    /// The page of another origin that asks, when it is one that may.
    pub page: Option<HeaderValue>,
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

/// Checks Host and Origin (DNS rebinding: a browser tells the truth about both). `is_fronted` says that a balancer of ours passed the request on, whose
/// port is not ours: then Host tells it. Nobody else is believed about it.
///
/// # Errors
/// 403; 400 when Host and the authority of HTTP/2 disagree.
pub fn admit(settings: &Settings, (port, is_fronted): (u16, bool), parts: Parts) -> Result<Admitted, Refusal> {
    let host = host_of(&parts).ok_or(Refusal::Foreign("origin.host"))?;
    let (name, host_port) = split(&host).ok_or(Refusal::Foreign("origin.host"))?;
    if !settings.proxy_answers_to(name) {
        return Err(Refusal::Foreign("origin.host"));
    }
    let page = page_of(settings, &parts.headers, (port, host_port.unwrap_or(443)))?;
    let base = match &settings.public_url {
        Some(url) => url.as_str().to_owned(),
        None if is_fronted || host_port.unwrap_or(443) == port => format!("https://{host}"),
        None => own(name, port),
    };
    let route = route(parts.uri.path());
    let server = route.server();
    let query = parts.uri.query().map(str::to_owned);
    Ok(Admitted { base, page, method: parts.method, headers: parts.headers, route, server, query })
}

/// Where a listener of this port is reached by a name.
fn own(name: &str, port: u16) -> String {
    let name = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
    if port == 443 { format!("https://{name}") } else { format!("https://{name}:{port}") }
}

/// The page of another origin that may ask; none when nobody's page or our own asks.
fn page_of(settings: &Settings, headers: &HeaderMap, ports: (u16, u16)) -> Result<Option<HeaderValue>, Refusal> {
    let foreign = || Refusal::Foreign("origin.foreign");
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(value) = origins.next() else { return Ok(None) };
    let origin = value.to_str().map_err(|_| foreign())?;
    if origins.next().is_some() {
        return Err(foreign());
    }
    if settings.allows_origin(origin) {
        return Ok(Some(value.clone()));
    }
    let (name, port) = origin.strip_prefix("https://").and_then(split).ok_or_else(foreign)?;
    let port = port.unwrap_or(443);
    let is_ours = settings.proxy_answers_to(name) && (port == ports.0 || port == ports.1);
    if is_ours { Ok(None) } else { Err(foreign()) }
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
        admit(&Settings::default(), (8444, false), parts).is_ok()
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
    fn atk_p30_the_port_is_the_listeners_own_whatever_host_says() {
        let base = |host: &str, way: (u16, bool)| {
            let (parts, ()) = Request::post("/mcp/demo").header(HOST, host).body(()).expect("request").into_parts();
            admit(&Settings::default(), way, parts).map(|admitted| admitted.base).ok()
        };
        for (host, way, due) in [
            ("localhost:8444", (8444, false), "https://localhost:8444"),
            ("localhost:9", (8444, false), "https://localhost:8444"),
            ("localhost", (8444, false), "https://localhost:8444"),
            ("[::1]:9", (8444, false), "https://[::1]:8444"),
            ("localhost:443", (443, false), "https://localhost:443"),
            ("localhost:9", (443, false), "https://localhost"),
            ("localhost", (443, false), "https://localhost"),
            ("localhost:9443", (8444, true), "https://localhost:9443"),
            ("localhost", (8444, true), "https://localhost"),
        ] {
            assert_eq!(base(host, way).as_deref(), Some(due), "{host} {way:?}");
        }
    }

    #[test]
    fn atk_p30_a_foreign_origin_is_refused() {
        assert!(try_with("localhost:8444", Some("https://localhost:8444")));
        for origin in ["null", "http://localhost:8444", "https://evil.example", "https://localhost:1", "https://localhost", ""] {
            assert!(!try_with("localhost:8444", Some(origin)), "{origin}");
        }
    }

    #[test]
    fn atk_p30_public_names_and_allowed_pages_pass_and_nothing_near_them() {
        let text =
            "public_url = \"https://mcp.example.com\"\nallowed_origins = [\"https://app.example.com\", \"http://localhost:6274\"]";
        let settings: Settings = toml::from_str(text).expect("settings");
        let admitted = |host: &str, origin: Option<&str>| {
            let mut request = Request::post("/mcp/demo").header(HOST, host);
            if let Some(origin) = origin {
                request = request.header(ORIGIN, origin);
            }
            let (parts, ()) = request.body(()).expect("request").into_parts();
            admit(&settings, (8444, false), parts).map(|admitted| (admitted.base, admitted.page.is_some())).ok()
        };
        let base = || "https://mcp.example.com".to_owned();
        assert_eq!(admitted("mcp.example.com", None), Some((base(), false)));
        assert_eq!(admitted("localhost:8444", None), Some((base(), false)), "the public URL, whatever the client typed");
        assert_eq!(admitted("mcp.example.com", Some("https://mcp.example.com")), Some((base(), false)));
        assert_eq!(admitted("mcp.example.com", Some("https://app.example.com")), Some((base(), true)));
        assert_eq!(admitted("mcp.example.com", Some("http://localhost:6274")), Some((base(), true)));
        for origin in [
            "https://app.example.com:8443",
            "http://app.example.com",
            "https://evil.app.example.com",
            "https://APP.example.com",
            "null",
        ] {
            assert_eq!(admitted("mcp.example.com", Some(origin)), None, "{origin}");
        }
        for host in ["example.com", "app.example.com", "evil.mcp.example.com", "mcp.example.com.evil", "10.0.0.1"] {
            assert_eq!(admitted(host, None), None, "{host}");
        }
    }
}
