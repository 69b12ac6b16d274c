//! Listeners without TLS: for a balancer on this host, and the one that sends browsers to the dashboard.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use lifeboat::policy::feed::Way;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::proxy::{call, modern};
use crate::support::TestApp;
use crate::support::wire::{self, Reply};

const PATIENCE: Duration = Duration::from_secs(10);

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    format!("{head}\r\n{body}").into_bytes()
}

fn echo(app: &TestApp) -> Vec<u8> {
    let bearer = format!("Bearer {}", app.reader);
    let more = [("Host", "mcp.example.com"), ("Authorization", bearer.as_str()), ("X-Forwarded-For", "203.0.113.9")];
    request("POST", "/mcp/up", &[&modern("tools/call", "echo")[..], &more].concat(), &call(1, "echo", json!({})).to_string())
}

async fn over_tcp(address: SocketAddr, bytes: &[u8]) -> Option<Reply> {
    wire::exchange(&mut TcpStream::connect(address).await.expect("it listens"), bytes, PATIENCE).await
}

#[tokio::test]
async fn a_balancer_on_this_host_may_end_tls() {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("proxy.sock");
    let settings = format!(
        "public_url = \"https://mcp.example.com\"\ntrusted_proxies = [\"unix:\"]\n[listen.plain]\nadmin = \"127.0.0.1:0\"\nproxy = \"unix:{}\"\n",
        socket.display()
    );
    let app = TestApp::start_with(&settings).await;
    assert_eq!(std::fs::metadata(&socket).expect("the socket").permissions().mode() & 0o777, 0o660);
    let mut stream = UnixStream::connect(&socket).await.expect("it listens");
    let reply = wire::exchange(&mut stream, &echo(&app), PATIENCE).await.expect("an answer");
    assert_eq!((reply.status, reply.code()), (200, 0));
    assert_eq!(app.last_call().await["remote"], "203.0.113.9");
    let engaged = app.engage(json!({"reason": "test"})).await;
    let proved: Vec<_> = engaged["proofs"].as_array().expect("proofs").iter().map(|proof| proof["listener"].clone()).collect();
    assert_eq!((engaged["effective"].clone(), proved), (json!(true), vec![json!("proxy"), json!("plain proxy")]), "{engaged}");
}

#[tokio::test]
async fn plain_http_is_answered_only_where_the_settings_say_so() {
    let app = TestApp::start_with("public_url = \"https://mcp.example.com\"\n[listen.plain]\nproxy = \"127.0.0.1:0\"\n").await;
    let listeners = app.app.admin().feed.listeners();
    let plain = listeners.iter().find_map(|listener| match listener.way {
        Way::Plain(address) => Some(address),
        _ => None,
    });
    let reply = over_tcp(plain.expect("a plain listener"), &echo(&app)).await.expect("an answer");
    assert_eq!((reply.status, reply.code()), (200, 0));
    assert_eq!(app.last_call().await["remote"], "127.0.0.1", "nobody is trusted to name a client");
    for address in [app.proxy, app.app.admin_address()] {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(&echo(&app)).await.expect("written");
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("closed").ok();
        assert!(!answer.starts_with(b"HTTP"), "{:?}", String::from_utf8_lossy(&answer));
    }
}

/// Whether the other side has not closed a connection.
async fn is_open(stream: &mut (impl AsyncReadExt + Unpin)) -> bool {
    tokio::time::timeout(Duration::from_millis(20), stream.read(&mut [0; 1])).await.is_err()
}

#[tokio::test]
async fn flt_12_a_second_listener_brings_no_more_places() {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("proxy.sock");
    let app = TestApp::start_with(&format!("[listen.plain]\nproxy = \"unix:{}\"\n", socket.display())).await;
    app.app.stop().await;
    let addresses = app.data.path().join("run/addresses.json");
    std::fs::remove_file(&addresses).ok();
    let line = "ulimit -n 256; exec \"$0\" --data \"$1\" up --admin 127.0.0.1:0 --proxy 127.0.0.1:0";
    let mut serving = tokio::process::Command::new("sh");
    serving.args(["-c", line, env!("CARGO_BIN_EXE_lifeboat")]).arg(app.data.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let _serving = serving.kill_on_drop(true).spawn().expect("it starts");
    let began = tokio::time::Instant::now();
    let proxy = loop {
        let told = std::fs::read(&addresses).ok().and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
        match told {
            Some(told) => break told["proxy"].as_str().expect("an address").to_owned(),
            None => assert!(began.elapsed() < Duration::from_secs(90), "it does not listen"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let (mut by_tcp, mut by_socket) = (Vec::new(), Vec::new());
    for _ in 0..64 {
        by_tcp.push(TcpStream::connect(&proxy).await.expect("it listens"));
        by_socket.push(UnixStream::connect(&socket).await.expect("it listens"));
    }
    let mut open = 0;
    for stream in &mut by_tcp {
        open += usize::from(is_open(stream).await);
    }
    for stream in &mut by_socket {
        open += usize::from(is_open(stream).await);
    }
    // Of 256 descriptors a quarter is for clients.
    assert!((1..=64).contains(&open), "{open}");
}

#[tokio::test]
async fn plain_http_beyond_this_host_is_refused_by_file_line_and_field() {
    let app = TestApp::start().await;
    let config = app.data.path().join("config/lifeboat.toml");
    let before = std::fs::read_to_string(&config).expect("settings");
    let lines = before.lines().count();
    for bad in ["0.0.0.0:8080", "10.0.0.1:8080", "[::]:8080", "unix:relative"] {
        std::fs::write(&config, format!("{before}\n[listen.plain]\nproxy = \"{bad}\"\n")).expect("written");
        let (status, checked) = app.api_status("POST", "/api/v1/config/check", serde_json::Value::Null).await;
        let fault = &checked["faults"][0];
        assert!(status == 200 && checked["ok"] == false, "{checked}");
        assert_eq!((&fault["file"], &fault["line"]), (&json!("lifeboat.toml"), &json!(lines + 3)), "{checked}");
        assert!(fault["message"].as_str().is_some_and(|said| said.contains(bad)), "{checked}");
    }
}

#[tokio::test]
async fn browsers_are_sent_to_https_and_programs_are_not() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let app = TestApp::start_with(&format!("[listen]\nredirect = \"{port}\"\n")).await;
    let host = ("Host", "localhost");
    let reply = over_tcp(port, &request("GET", "/kill?x=1", &[host], "")).await.expect("an answer");
    let dashboard = format!("https://localhost:{}/kill?x=1", app.app.admin_address().port());
    assert_eq!((reply.status, reply.header("location")), (308, Some(dashboard.as_str())));
    assert!(reply.header("strict-transport-security").is_none());
    for (method, path, headers) in [
        ("GET", "/mcp/up", vec![host]),
        ("POST", "/mcp/up", vec![host]),
        ("POST", "/", vec![host]),
        ("GET", "/.well-known/oauth-protected-resource", vec![host]),
        ("GET", "/api/v1/status", vec![host]),
        ("GET", "/", vec![host, ("Authorization", "Bearer lbk_x")]),
        ("GET", "/", vec![("Host", "evil.example")]),
    ] {
        let reply = over_tcp(port, &request(method, path, &headers, "")).await.expect("an answer");
        assert_eq!((reply.status, reply.header("location")), (404, None), "{method} {path}");
    }
}
