//! Balancers that name their clients, and strangers that pretend to be one.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::proxy::{call, modern};
use crate::support::TestApp;
use crate::support::wire::{self, Reply};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A PROXY header of version 2: 203.0.113.7 port 4660 speaks to 10.0.0.1 port 443.
fn named() -> Vec<u8> {
    [SIGNATURE, &[0x21, 0x11, 0, 12, 203, 0, 113, 7, 10, 0, 0, 1, 0x12, 0x34, 1, 0xbb]].concat()
}

fn local() -> Vec<u8> {
    [SIGNATURE, &[0x20, 0, 0, 0]].concat()
}

/// A connection that comes from an address of loopback of one's own choice.
async fn from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(source.parse().expect("an address"), 0)).expect("an address of loopback");
    socket.connect(to).await.expect("the listener accepts")
}

/// One read over a connection that began with `header`; `None` when it was closed without a word.
async fn read_over(app: &TestApp, mut tcp: TcpStream, header: &[u8]) -> Option<Reply> {
    tcp.write_all(header).await.expect("written");
    let mut stream = wire::shake(tcp, &app.ca, b"http/1.1").await.ok()?;
    let body = call(1, "echo", json!({})).to_string();
    Some(app.on(&mut stream, &app.reader, &modern("tools/call", "echo"), body.as_bytes()).await)
}

async fn remote_of_last_call(app: &TestApp) -> Value {
    app.last_call().await["remote"].clone()
}

async fn echo(app: &TestApp, more: &[(&str, &str)]) {
    let headers = [&modern("tools/call", "echo")[..], more].concat();
    let reply = app.post(&app.reader, &headers, call(1, "echo", json!({})).to_string().as_bytes()).await;
    assert_eq!((reply.status, reply.code()), (200, 0));
}

const CLAIMS: [(&str, &str); 6] = [
    ("X-Forwarded-For", "203.0.113.9"),
    ("Forwarded", "for=203.0.113.9"),
    ("X-Real-IP", "203.0.113.9"),
    ("X-Client-IP", "203.0.113.9"),
    ("True-Client-IP", "203.0.113.9"),
    ("X-Forwarded-User", "admin"),
];

#[tokio::test]
async fn atk_p12_what_a_stranger_claims_has_no_effect() {
    for settings in ["", "trusted_proxies = [\"10.0.0.0/8\", \"127.0.0.9\"]"] {
        let app = TestApp::start_with(settings).await;
        app.upstream.forget();
        echo(&app, &CLAIMS).await;
        assert_eq!(remote_of_last_call(&app).await, "127.0.0.1", "{settings}");
        let hit = app.upstream.hits().first().cloned().expect("it reached the server");
        let sent = format!("{hit:?}").to_lowercase();
        assert!(!sent.contains("203.0.113.9"), "none of it is passed on: {sent}");
        // The same claims on a connection from the trusted address count, where there is one.
        let mut stream = wire::shake(from("127.0.0.9", app.proxy).await, &app.ca, b"http/1.1").await.expect("a handshake");
        let headers = [&modern("tools/call", "echo")[..], &CLAIMS].concat();
        app.on(&mut stream, &app.reader, &headers, call(2, "echo", json!({})).to_string().as_bytes()).await;
        let expected = if settings.is_empty() { "127.0.0.9" } else { "203.0.113.9" };
        assert_eq!(remote_of_last_call(&app).await, expected, "{settings}");
    }
}

#[tokio::test]
async fn a_trusted_balancer_names_the_client_everywhere() {
    let app = TestApp::start_with("trusted_proxies = [\"127.0.0.0/8\"]").await;
    let by = |client: &'static str| ("X-Forwarded-For", client);
    echo(&app, &[by("198.51.100.9, 203.0.113.9")]).await;
    assert_eq!(remote_of_last_call(&app).await, "203.0.113.9");
    echo(&app, &[by("203.0.113.9, 127.0.0.8")]).await;
    assert_eq!(remote_of_last_call(&app).await, "203.0.113.9", "the balancer behind the balancer is skipped");
    echo(&app, &[by("203.0.113.9, nonsense")]).await;
    assert_eq!(remote_of_last_call(&app).await, "127.0.0.1");

    // Strangers are counted by the client's own address.
    assert_eq!(app.bare("POST", "/mcp/up", &[by("203.0.113.77")], b"{}").await.status, 401);
    app.settle().await;
    let refused = app.events("limit=50").await;
    assert!(refused.iter().any(|event| event["kind"] == "auth.refused" && event["remote"] == "203.0.113.77"), "{refused:?}");

    // So are failed sign-ins; one address does not slow another one down.
    let admin = app.app.admin_address();
    let sign_in = async |client: &'static str, body: &[u8]| {
        let form = "application/x-www-form-urlencoded";
        let headers = [("Content-Type", form), ("Sec-Fetch-Site", "same-origin"), by(client)];
        wire::request(admin, &app.ca, "POST", "/login", &headers, body).await
    };
    for _ in 0..7 {
        sign_in("203.0.113.50", b"operator=ana&password=wrong").await;
    }
    sign_in("203.0.113.51", b"operator=bo&password=wrong").await;
    app.settle().await;
    let events = app.events("limit=200").await;
    let counted = |remote: &str, reason: &str| events.iter().any(|event| event["remote"] == remote && event["reason"] == reason);
    assert!(counted("203.0.113.50", "login.throttled"), "an address that fails again and again is slowed down: {events:?}");
    assert!(!counted("203.0.113.51", "login.throttled") && !counted("127.0.0.1", "login.throttled"), "{events:?}");
}

#[tokio::test]
async fn atk_p12_the_proxy_protocol_counts_only_from_trusted_peers() {
    let settings = "trusted_proxies = [\"127.0.0.9\"]\n[listen.proxy_protocol]\nproxy = \"required\"\nadmin = \"required\"\n";
    let app = TestApp::start_with(settings).await;
    assert!(read_over(&app, from("127.0.0.9", app.proxy).await, &named()).await.is_some_and(|reply| reply.status == 200));
    assert_eq!(remote_of_last_call(&app).await, "203.0.113.7");
    assert!(read_over(&app, from("127.0.0.9", app.proxy).await, &local()).await.is_some_and(|reply| reply.status == 200));
    assert_eq!(remote_of_last_call(&app).await, "127.0.0.9", "a balancer's own health check");
    let before = app.events("limit=200").await.len();
    for (source, header) in [
        ("127.0.0.8", named()),
        ("127.0.0.1", named()),
        ("127.0.0.9", Vec::new()),
        ("127.0.0.1", Vec::new()),
        ("127.0.0.9", [&named()[..14], &[0xff, 0xff]].concat()),
        ("127.0.0.9", [SIGNATURE, &[0x21, 0x12, 0, 12], &[0; 12]].concat()),
    ] {
        assert!(read_over(&app, from(source, app.proxy).await, &header).await.is_none(), "{source} {header:?}");
        let mut admin = from(source, app.app.admin_address()).await;
        admin.write_all(&header).await.expect("written");
        assert!(wire::shake(admin, &app.ca, b"http/1.1").await.is_err(), "{source} {header:?}");
    }
    assert_eq!(app.events("limit=200").await.len(), before, "nobody was let in");
    let engaged = app.engage(json!({"reason": "test"})).await;
    assert_eq!(engaged["effective"], true, "a kill still proves itself: {engaged}");
}

#[tokio::test]
async fn atk_p24_a_proxy_header_that_never_ends_is_cut_off() {
    let settings = "trusted_proxies = [\"127.0.0.0/8\"]\n[listen.proxy_protocol]\nproxy = \"optional-from-trusted\"\n";
    let app = TestApp::start_with(settings).await;
    assert!(read_over(&app, from("127.0.0.9", app.proxy).await, b"").await.is_some(), "none is needed");
    assert!(read_over(&app, from("127.0.0.9", app.proxy).await, &named()).await.is_some());
    assert_eq!(remote_of_last_call(&app).await, "203.0.113.7");
    let mut slow = from("127.0.0.9", app.proxy).await;
    slow.write_all(&named()[..20]).await.expect("written");
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), slow.read_to_end(&mut rest)).await;
    assert!(ended.is_ok() && rest.is_empty(), "closed within seconds, without a word");
}
