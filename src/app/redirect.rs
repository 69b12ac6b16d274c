//! Answers browsers that come in plain HTTP with 308 to the dashboard over https. Never redirects `/mcp` or whatever carries a credential:
//! a client that speaks plain HTTP must be told so by failing, not helped along. Never reads a body.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONNECTION, LOCATION};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::policy::feed::Feed;
use crate::web::origin;

const CONNECTIONS: usize = 64;
const WHOLE: Duration = Duration::from_secs(10);
const REST: Duration = Duration::from_millis(50);

/// Answers until `drain`.
pub(super) async fn serve(feed: Arc<Feed>, listener: Arc<TcpListener>, dashboard: SocketAddr, drain: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    while let Some(accepted) = drain.run_until_cancelled(listener.accept()).await {
        let Ok((tcp, _)) = accepted else {
            tokio::time::sleep(REST).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let feed = feed.clone();
        tokio::spawn(async move {
            drop(tokio::time::timeout(WHOLE, one(feed, tcp, dashboard)).await);
            drop(place);
        });
    }
}

async fn one(feed: Arc<Feed>, tcp: TcpStream, dashboard: SocketAddr) {
    tcp.set_nodelay(true).ok();
    let service = service_fn(move |request: Request<Incoming>| {
        let settings = &feed.snapshot().settings;
        let target = target(settings, dashboard.port(), request.method(), request.uri(), request.headers());
        std::future::ready(Ok::<_, Infallible>(answer(target.as_deref())))
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(WHOLE).max_headers(100).keep_alive(false);
    // A broken connection is the browser's affair.
    drop(http.serve_connection(TokioIo::new(tcp), service).await);
}

fn answer(target: Option<&str>) -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    match target.and_then(|target| HeaderValue::from_str(target).ok()) {
        Some(target) => {
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            response.headers_mut().insert(LOCATION, target);
        }
        None => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Where a browser is sent: its own path at the dashboard. `None` for everything that is no browser's first visit.
fn target(settings: &Settings, port: u16, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let visits = matches!(*method, Method::GET | Method::HEAD) && !headers.contains_key(AUTHORIZATION);
    if !visits || is_for_programs(uri.path()) {
        return None;
    }
    let name = origin::name_of(origin::host_of(uri, headers)?);
    if !settings.dashboard_answers_to(name) {
        return None;
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = if path.starts_with('/') { path } else { "/" };
    if let Some(url) = &settings.dashboard_url {
        return Some(format!("{}{path}", url.as_str()));
    }
    let name = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
    Some(format!("https://{name}:{port}{path}"))
}

/// Paths of MCP, of its authorisation and of the API, however they are written.
fn is_for_programs(path: &str) -> bool {
    if path.contains('%') {
        return true;
    }
    let path = path.trim_start_matches(['/', '.']).to_ascii_lowercase();
    ["mcp", "oauth", "well-known", "api"].iter().any(|word| path.starts_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(text: &str, method: &str, path: &str, headers: &[(&'static str, &'static str)]) -> Option<String> {
        let settings: Settings = toml::from_str(text).unwrap();
        let headers = headers.iter().map(|(k, v)| (http::HeaderName::from_static(k), HeaderValue::from_static(v))).collect();
        target(&settings, 8443, &method.parse().unwrap(), &path.parse().unwrap(), &headers)
    }

    #[test]
    fn browsers_are_sent_to_the_dashboard() {
        let host = ("host", "localhost");
        assert_eq!(sent("", "GET", "/kill?x=1", &[host]).as_deref(), Some("https://localhost:8443/kill?x=1"));
        assert_eq!(sent("", "HEAD", "/", &[("host", "[::1]:80")]).as_deref(), Some("https://[::1]:8443/"));
        let public = "dashboard_url = \"https://ops.example.com\"";
        assert_eq!(sent(public, "GET", "/", &[("host", "ops.example.com")]).as_deref(), Some("https://ops.example.com/"));
        assert_eq!(sent(public, "GET", "//evil.example/", &[host]).as_deref(), Some("https://ops.example.com//evil.example/"));
    }

    #[test]
    fn programs_are_told_nothing() {
        let host = ("host", "localhost");
        for path in [
            "/mcp",
            "/mcp/demo",
            "//mcp/demo",
            "/MCP/demo",
            "/%6dcp/demo",
            "/./mcp",
            "/oauth/token",
            "/.well-known/x",
            "/api/v1/status",
        ] {
            assert_eq!(sent("", "GET", path, &[host]), None, "{path}");
        }
        assert_eq!(sent("", "POST", "/", &[host]), None);
        assert_eq!(sent("", "GET", "/", &[host, ("authorization", "Bearer lbo_x")]), None);
        assert_eq!(sent("", "GET", "/", &[("host", "evil.example")]), None);
        assert_eq!(sent("", "GET", "/", &[]), None);
        assert_eq!(answer(None).status(), StatusCode::NOT_FOUND);
    }
}
