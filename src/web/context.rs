//! What the kit knows of one request: its nonce, its id, where it came from, whether htmx asks. Made before anything else runs, and the
//! security headers are put on whatever comes back, errors included.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::base::clock::SharedClock;
use crate::base::ids::{self, SharedEntropy};
use crate::web::{headers, origin};

/// What every handler may know of its request.
#[derive(Clone, Debug)]
pub struct Context {
    /// `req_…`, for faults and the log.
    pub id: String,
    /// The nonce of this response's scripts and htmx elements.
    pub nonce: String,
    /// The host the browser named, with port; empty when it named none.
    pub host: String,
    /// Path and query as asked for.
    pub path: String,
    /// Where the page is that sent this request by htmx, or the path itself.
    pub page: String,
    /// Whether htmx sent it and wants a part.
    pub part: bool,
    /// Whether the method changes something.
    pub writes: bool,
    /// Address of the browser; `0.0.0.0` when the listener did not tell.
    pub remote: IpAddr,
    /// `User-Agent`, at most 200 characters.
    pub agent: String,
}

/// What the outermost layer needs.
#[derive(Clone)]
pub struct Dressing {
    /// For request ids.
    pub clock: SharedClock,
    /// For nonces.
    pub entropy: SharedEntropy,
}

impl Context {
    fn of(request: &Request, dressing: &Dressing) -> Self {
        let mut random = [0u8; 18];
        dressing.entropy.fill(&mut random);
        let headers = request.headers();
        let remote = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let path = request.uri().path_and_query().map_or("/", |p| p.as_str()).to_owned();
        let part = headers.contains_key("hx-request");
        let page = if part { current_page(headers).unwrap_or_else(|| path.clone()) } else { path.clone() };
        Self {
            id: ids::mint("req", dressing.clock.now(), dressing.entropy.as_ref()),
            nonce: STANDARD.encode(random),
            host: origin::host_of(request.uri(), headers).unwrap_or_default().to_owned(),
            path,
            page,
            part,
            writes: !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS),
            remote: remote.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |at| at.0.ip().to_canonical()),
            agent: text(headers, "user-agent").chars().take(200).collect(),
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

// htmx names the whole address of its page; only the path and query of it are used, and only as a place to come back to.
fn current_page(headers: &HeaderMap) -> Option<String> {
    let uri: axum::http::Uri = text(headers, "hx-current-url").parse().ok()?;
    uri.path_and_query().map(|p| p.as_str().to_owned())
}

/// The outermost layer: makes the `Context` and dresses the answer.
pub async fn dress(State(dressing): State<Arc<Dressing>>, mut request: Request, next: Next) -> Response {
    let context = Context::of(&request, &dressing);
    let (nonce, host) = (context.nonce.clone(), context.host.clone());
    request.extensions_mut().insert(context);
    let mut response = next.run(request).await;
    headers::put(response.headers_mut(), &nonce, &host);
    response
}

impl<S: Send + Sync> FromRequestParts<S> for Context {
    type Rejection = axum::http::StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        parts.extensions.get::<Self>().cloned().ok_or(axum::http::StatusCode::INTERNAL_SERVER_ERROR)
    }
}
