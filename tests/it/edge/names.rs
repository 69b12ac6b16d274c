//! Public names, foreign names, and pages of other origins.

use serde_json::json;

use crate::proxy::{call, modern};
use crate::support::TestApp;
use crate::support::wire::{self, Reply};

const PUBLIC: &str = "public_url = \"https://mcp.example.com:8443\"\ndashboard_url = \"https://ops.example.com\"\n\
                      allowed_origins = [\"https://app.example.com\", \"http://localhost:6274\"]\n";

fn access_headers(reply: &Reply) -> Vec<&str> {
    reply.headers.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("access-control")).collect()
}

#[tokio::test]
async fn pit_13_discovery_names_the_public_url_byte_for_byte() {
    let app = TestApp::start_with(PUBLIC).await;
    for host in ["mcp.example.com:8443", "mcp.example.com", "localhost"] {
        let host = [("Host", host)];
        let stranger = app.bare("POST", "/mcp/up", &host, b"{}").await;
        assert_eq!(stranger.status, 401);
        let challenge = stranger.header("www-authenticate").expect("a challenge");
        let metadata = "https://mcp.example.com:8443/.well-known/oauth-protected-resource/mcp/up";
        assert!(challenge.contains(&format!("resource_metadata=\"{metadata}\"")), "{challenge}");
        let path = metadata.strip_prefix("https://mcp.example.com:8443").expect("a path");
        let document = app.bare("GET", path, &host, b"").await;
        assert_eq!((document.status, &document.json()["resource"]), (200, &json!("https://mcp.example.com:8443/mcp/up")));
    }
    assert_eq!(app.app.welcome().proxy, "https://mcp.example.com:8443");
    assert_eq!(app.app.welcome().dashboard, "https://ops.example.com");
}

#[tokio::test]
async fn atk_p30_only_our_names_and_pages_are_answered() {
    let app = TestApp::start_with(PUBLIC).await;
    app.upstream.forget();
    let body = call(1, "echo", json!({})).to_string();
    let own = format!("https://localhost:{}", app.proxy.port());
    let asked = async |host: &str, origin: Option<&str>| {
        let mut headers = modern("tools/call", "echo");
        headers.push(("Host", host));
        headers.extend(origin.map(|origin| ("Origin", origin)));
        app.post_to("/mcp/up", &app.writer, &headers, body.as_bytes()).await
    };
    let rebound = [
        ("evil.example", None),
        ("ops.example.com", None),
        ("app.example.com", None),
        ("mcp.example.com.evil.example", None),
        ("169.254.169.254", None),
        ("localhost", Some("null")),
        ("localhost", Some("https://evil.example")),
        ("mcp.example.com", Some("http://mcp.example.com")),
        ("mcp.example.com", Some("https://app.example.com.evil.example")),
        ("mcp.example.com", Some("https://app.example.com:444")),
        ("mcp.example.com", Some("http://localhost:6275")),
        ("mcp.example.com", Some("")),
    ];
    for (host, origin) in rebound {
        let reply = asked(host, origin).await;
        assert_eq!(reply.status, 403, "{host} {origin:?}");
        assert_eq!(access_headers(&reply), [""; 0], "{host} {origin:?}");
    }
    assert_eq!(app.upstream.hits().len(), 0, "nothing of it reached the server");
    for (host, origin) in [
        ("mcp.example.com:8443", None),
        ("mcp.example.com:8443", Some("https://mcp.example.com:8443")),
        ("localhost", Some(own.as_str())),
        ("mcp.example.com", Some("https://app.example.com")),
        ("mcp.example.com", Some("http://localhost:6274")),
    ] {
        assert_eq!(asked(host, origin).await.status, 200, "{host} {origin:?}");
    }
    let admin = app.app.admin_address();
    let dashboard = async |host: &str| wire::request(admin, &app.ca, "GET", "/login", &[("Host", host)], b"").await;
    for (host, status) in [("ops.example.com", 303), ("localhost", 303), ("mcp.example.com", 403), ("evil.example", 403)] {
        assert_eq!(dashboard(host).await.status, status, "{host}");
    }
    assert!(dashboard("ops.example.com").await.header("strict-transport-security").is_some());
    assert!(dashboard("localhost").await.header("strict-transport-security").is_none());
    assert!(dashboard("127.0.0.1").await.header("strict-transport-security").is_none());
}

#[tokio::test]
async fn pit_26_browsers_of_allowed_origins_are_let_in_and_no_others() {
    let app = TestApp::start_with(PUBLIC).await;
    app.upstream.forget();
    let preflight = async |origin: &str| {
        let headers = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "authorization,content-type,mcp-protocol-version,x-evil"),
        ];
        app.bare("OPTIONS", "/mcp/up", &headers, b"").await
    };
    let allowed = preflight("https://app.example.com").await;
    assert_eq!(allowed.status, 204);
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://app.example.com"));
    assert_eq!(allowed.header("access-control-allow-methods"), Some("GET, POST, DELETE"));
    assert_eq!(allowed.header("access-control-allow-headers"), Some("authorization, content-type, mcp-protocol-version"));
    assert_eq!(allowed.header("vary"), Some("Origin"));
    assert_eq!(allowed.header("access-control-allow-credentials"), None);
    for origin in ["https://evil.example", "null", "https://app.example.com.evil.example"] {
        let refused = preflight(origin).await;
        assert_eq!((refused.status, access_headers(&refused)), (403, vec![]), "{origin}");
    }
    let own = format!("https://localhost:{}", app.proxy.port());
    let reply = preflight(&own).await;
    assert_eq!((reply.status, access_headers(&reply)), (401, vec![]), "our own pages ask for nothing across origins");
    assert_eq!(app.upstream.hits().len(), 0);

    let page = ("Origin", "https://app.example.com");
    let stranger = app.bare("POST", "/mcp/up", &[page], b"{}").await;
    assert_eq!(stranger.status, 401);
    assert!(stranger.header("www-authenticate").is_some());
    let exposed = stranger.header("access-control-expose-headers").expect("the page may read what it needs");
    for name in ["Mcp-Session-Id", "Mcp-Protocol-Version", "WWW-Authenticate", "Lifeboat-Request-Id"] {
        assert!(exposed.split(", ").any(|shown| shown == name), "{name}: {exposed}");
    }
    let mut headers = modern("tools/call", "echo");
    headers.push(page);
    let called = app.post(&app.writer, &headers, call(1, "echo", json!({})).to_string().as_bytes()).await;
    assert_eq!((called.status, called.header("access-control-allow-origin")), (200, Some("https://app.example.com")));
    let metadata = app.bare("GET", "/.well-known/oauth-protected-resource/mcp/up", &[page], b"").await;
    assert_eq!((metadata.status, metadata.header("access-control-allow-origin")), (200, Some("https://app.example.com")));
}
