//! Which path means what, matched byte for byte: no decoding, no folding of case, no repair. Also the signs of life.

use std::sync::Arc;

use bytes::Bytes;

use super::Health;
use super::body::Body;
use crate::base::ids::check_name;

/// What a path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/mcp/NAME`.
    Mcp(Arc<str>),
    /// `/.well-known/oauth-protected-resource[/mcp/NAME]`.
    ProtectedResource(Option<Arc<str>>),
    /// `/health`.
    Health,
    /// `/ready`.
    Ready,
    /// `/.well-known/oauth-authorization-server`.
    AuthorizationServer,
    /// `/oauth/jwks`.
    Jwks,
    /// `/oauth/token`.
    Token,
    /// `/oauth/revoke`.
    Revoke,
    /// `/credential/rotate`.
    Rotate,
    /// Anything else.
    Unknown,
}

const RESOURCE: &str = "/.well-known/oauth-protected-resource";

impl Route {
    /// The server that the path names.
    pub fn server(&self) -> Option<Arc<str>> {
        match self {
            Self::Mcp(name) => Some(name.clone()),
            _ => None,
        }
    }
}

/// Matches a path.
pub fn route(path: &str) -> Route {
    let named = |prefix: &str| path.strip_prefix(prefix).filter(|name| check_name(name).is_ok()).map(Arc::from);
    match path {
        "/health" => Route::Health,
        "/ready" => Route::Ready,
        "/.well-known/oauth-authorization-server" => Route::AuthorizationServer,
        "/oauth/jwks" => Route::Jwks,
        "/oauth/token" => Route::Token,
        "/oauth/revoke" => Route::Revoke,
        "/credential/rotate" => Route::Rotate,
        RESOURCE => Route::ProtectedResource(None),
        _ => match (named("/mcp/"), named("/.well-known/oauth-protected-resource/mcp/")) {
            (Some(name), _) => Route::Mcp(name),
            (None, Some(name)) => Route::ProtectedResource(Some(name)),
            (None, None) => Route::Unknown,
        },
    }
}

/// `/health`: a bare word.
pub fn health(health: Health) -> (http::StatusCode, Bytes) {
    match health {
        Health::Ok => (http::StatusCode::OK, Bytes::from_static(b"{\"status\":\"ok\"}")),
        Health::Degraded => (http::StatusCode::OK, Bytes::from_static(b"{\"status\":\"degraded\"}")),
        Health::Unusable => (http::StatusCode::SERVICE_UNAVAILABLE, Bytes::from_static(b"{\"status\":\"degraded\"}")),
    }
}

/// `/ready`: a bare status.
pub fn ready(health: Health) -> http::StatusCode {
    match health {
        Health::Ok | Health::Degraded => http::StatusCode::OK,
        Health::Unusable => http::StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// A JSON document.
pub fn document(status: http::StatusCode, body: Bytes) -> http::Response<Body> {
    let mut response = http::Response::new(Body::whole(body));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atk_p01_paths_match_byte_for_byte() {
        assert_eq!(route("/mcp/demo"), Route::Mcp("demo".into()));
        for path in [
            "/",
            "/mcp",
            "/mcp/",
            "//mcp/demo",
            "/MCP/demo",
            "/mcp%2fdemo",
            "/mcp/demo/",
            "/mcp;x",
            "/mcp/demo;x",
            "/./mcp/demo",
            "/mcp/../mcp/demo",
            "/mcp/Demo",
            "/mcp/%64emo",
            "/health/",
            "/READY",
            "/oauth/token/",
            "/oauth//token",
            "/OAUTH/token",
            "/oauth/authorize",
            "/credential/rotate/",
            "/credential",
        ] {
            assert_eq!(route(path), Route::Unknown, "{path}");
        }
    }
}
