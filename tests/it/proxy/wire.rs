//! Below JSON: framing tricks, slow senders, compressed and broken HTTP, TLS versions.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{call, modern};
use crate::support::TestApp;
use crate::support::wire;

#[tokio::test]
async fn atk_p22_framing_that_two_parsers_read_differently() {
    let app = TestApp::start().await;
    app.upstream.forget();
    let body = call(1, "echo", json!({})).to_string();
    let start = format!(
        "POST /mcp/up HTTP/1.1\r\nHost: localhost:{}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: echo\r\n",
        app.proxy.port(),
        app.writer
    );
    let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let cases = [
        ("two lengths", format!("{start}Content-Length: {}\r\nContent-Length: 3\r\n\r\n{body}", body.len())),
        ("te xchunked", format!("{start}Transfer-Encoding: xchunked\r\n\r\n{chunk}")),
        ("te identity last", format!("{start}Transfer-Encoding: chunked, identity\r\n\r\n{chunk}")),
        ("obs-fold", format!("{start}X-A: b\r\n c\r\nContent-Length: {}\r\n\r\n{body}", body.len())),
        ("chunk size overflow", format!("{start}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{body}\r\n0\r\n\r\n")),
        ("space before colon", format!("{start}Content-Length : {}\r\n\r\n{body}", body.len())),
        (
            "huge chunk extension",
            format!("{start}Transfer-Encoding: chunked\r\n\r\n{:x};{}\r\n{body}\r\n0\r\n\r\n", body.len(), "x".repeat(65_536)),
        ),
    ];
    for (name, bytes) in cases {
        let mut stream = wire::connect(app.proxy, &app.ca).await;
        let reply = wire::exchange(&mut stream, bytes.as_bytes(), Duration::from_secs(15)).await;
        assert!(reply.as_ref().is_none_or(|reply| reply.status == 400 || reply.status == 431), "{name}: {reply:?}");
        assert_eq!(app.upstream.count("tools/call"), 0, "{name} reached the upstream");
    }
    // Both framings at once (RFC 9112 section 6.3): refused, or read by the chunks with the length dropped; never forwarded twice.
    let mut stream = wire::connect(app.proxy, &app.ca).await;
    let both = format!("{start}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}POST /mcp/up HTTP/1.1\r\n\r\n");
    let reply = wire::exchange(&mut stream, both.as_bytes(), Duration::from_secs(15)).await;
    assert!(reply.is_none_or(|reply| reply.status == 400 || reply.status == 200));
    assert!(app.upstream.count("tools/call") <= 1);
}

#[tokio::test]
async fn atk_p22_bare_line_feeds_never_become_two_requests() {
    let app = TestApp::start().await;
    app.upstream.forget();
    let body = call(1, "echo", json!({})).to_string();
    // The reader may take a single LF as a line end (RFC 9112 section 2.2); then the lines are written anew, and a second request that
    // hides behind one parser's reading of the first must not reach the upstream.
    let hidden = "POST /mcp HTTP/1.1\nHost: x\nContent-Length: 2\n\n{}";
    let head = format!(
        "POST /mcp/up HTTP/1.1\nHost: localhost:{}\nAuthorization: Bearer {}\nContent-Type: application/json\nAccept: application/json, text/event-stream\nMCP-Protocol-Version: 2026-07-28\nMcp-Method: tools/call\nMcp-Name: echo\nX-A: b\rContent-Length: 3\nContent-Length: {}\n\n",
        app.proxy.port(),
        app.writer,
        body.len()
    );
    for bytes in [head.replace("X-A: b\rContent-Length: 3\n", "") + &body + hidden, head.clone() + &body] {
        app.upstream.forget();
        let mut stream = wire::connect(app.proxy, &app.ca).await;
        let reply = wire::exchange(&mut stream, bytes.as_bytes(), Duration::from_secs(15)).await;
        assert!(reply.as_ref().is_none_or(|reply| matches!(reply.status, 200 | 400)), "{reply:?}");
        let hits = app.upstream.hits();
        assert!(hits.len() <= 1, "{} requests reached the upstream", hits.len());
        assert!(hits.iter().all(|hit| hit.body == body.as_bytes() && !hit.headers.contains_key("x-a")), "{hits:?}");
    }
}

#[tokio::test]
async fn atk_p24_slow_headers_and_slow_bodies_end() {
    let app = TestApp::start().await;
    let started = Instant::now();
    let mut header = wire::connect(app.proxy, &app.ca).await;
    header.write_all(b"POST /mcp/up HTT").await.expect("sent");
    let mut body = wire::connect(app.proxy, &app.ca).await;
    let head = format!(
        "POST /mcp/up HTTP/1.1\r\nHost: localhost:{}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nAccept: */*\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: echo\r\nContent-Length: 1000\r\n\r\n{{",
        app.proxy.port(),
        app.writer
    );
    body.write_all(head.as_bytes()).await.expect("sent");
    let end = |mut stream: tokio_rustls::client::TlsStream<tokio::net::TcpStream>| async move {
        let mut seen = Vec::new();
        let _ = stream.read_to_end(&mut seen).await;
        String::from_utf8_lossy(&seen).into_owned()
    };
    let both = tokio::time::timeout(Duration::from_secs(40), async { tokio::join!(end(header), end(body)) });
    let (_, answered) = both.await.expect("both connections end within 40 s");
    assert!(started.elapsed() >= Duration::from_secs(2), "a slow sender is given some time");
    assert!(answered.is_empty() || answered.starts_with("HTTP/1.1 408"), "{answered}");
    let reply = app.post(&app.reader, &modern("tools/call", "echo"), call(1, "echo", json!({})).to_string().as_bytes()).await;
    assert_eq!(reply.status, 200, "others are served");
}

#[tokio::test]
async fn plain_http_is_not_served() {
    let app = TestApp::start().await;
    let mut tcp = tokio::net::TcpStream::connect(app.proxy).await.expect("accepts");
    tcp.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    let mut seen = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(15), tcp.read_to_end(&mut seen)).await.expect("the connection ends");
    assert!(!String::from_utf8_lossy(&seen).contains("200 OK"));
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let app = TestApp::start().await;
    let output = tokio::process::Command::new("openssl")
        .args(["s_client", "-connect", &app.proxy.to_string(), "-tls1_2"])
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .expect("openssl runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("alert") || text.contains("handshake failure"), "{text}");
    assert!(!output.status.success());
}
