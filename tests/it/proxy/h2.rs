//! HTTP/2 as an attacker writes it: raw frames that ask for memory and work. Each costs the sender its connection, and nobody else notices.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{call, modern};
use crate::support::TestApp;
use crate::support::wire;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

type Stream = TlsStream<TcpStream>;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A literal field without indexing (RFC 7541 section 6.2.2), nothing compressed.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        let mut rest = text.len();
        if rest < 127 {
            out.push(u8::try_from(rest).expect("short"));
        } else {
            out.push(127);
            rest -= 127;
            while rest >= 128 {
                out.push(u8::try_from(rest % 128).expect("seven bits") | 128);
                rest /= 128;
            }
            out.push(u8::try_from(rest).expect("seven bits"));
        }
        out.extend_from_slice(text.as_bytes());
    }
    out
}

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// A whole call of `echo`, as field names go in HTTP/2.
fn request<'a>(authority: &'a str, bearer: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", authority),
        (":path", "/mcp/up"),
        ("authorization", bearer),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "echo"),
    ]
}

async fn open(app: &TestApp) -> Stream {
    let mut stream = wire::connect_with(app.proxy, &app.ca, b"h2").await;
    let hello = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat();
    stream.write_all(&hello).await.expect("sent");
    stream
}

/// Writes until the peer has had enough; true when everything went out.
async fn write(stream: &mut Stream, bytes: &[u8]) -> bool {
    let sending = async { stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok() };
    tokio::time::timeout(Duration::from_secs(10), sending).await.unwrap_or(false)
}

/// Frames by kind and payload, until one tells the end of the matter, the peer closes or is silent for two seconds; and whether it closed.
async fn frames(stream: &mut Stream) -> (Vec<(u8, Vec<u8>)>, bool) {
    let (mut seen, mut buffer) = (Vec::new(), vec![0u8; 64 * 1024]);
    let mut closed = false;
    let tells = |(kind, _): &(u8, Vec<u8>)| matches!(*kind, HEADERS | RESET | GOAWAY);
    while let Ok(read) = tokio::time::timeout(Duration::from_secs(2), stream.read(&mut buffer)).await {
        match read {
            Ok(n) if n > 0 => seen.extend_from_slice(&buffer[..n]),
            _ => {
                closed = true;
                break;
            }
        }
        if taken_apart(&seen).iter().any(tells) {
            break;
        }
    }
    (taken_apart(&seen), closed)
}

fn taken_apart(seen: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let (mut found, mut rest) = (Vec::new(), seen);
    while rest.len() >= 9 {
        let length = usize::from(rest[0]) << 16 | usize::from(rest[1]) << 8 | usize::from(rest[2]);
        let Some(payload) = rest.get(9..9 + length) else { break };
        found.push((rest[3], payload.to_vec()));
        rest = &rest[9 + length..];
    }
    found
}

fn refused(found: &[(u8, Vec<u8>)], closed: bool) -> bool {
    // 0x8c is `:status 400` of the static table; 431 comes as a literal that begins with the index of `:status`.
    closed
        || found
            .iter()
            .any(|(kind, payload)| matches!(*kind, RESET | GOAWAY) || (*kind == HEADERS && payload.first() != Some(&0x88)))
}

async fn others_are_served(app: &TestApp, what: &str) {
    let started = Instant::now();
    let reply = app.post(&app.reader, &modern("tools/call", "echo"), call(1, "echo", json!({})).to_string().as_bytes()).await;
    assert_eq!((reply.status, reply.code()), (200, 0), "{what}");
    assert!(started.elapsed() < Duration::from_secs(2), "{what}: {:?}", started.elapsed());
}

#[tokio::test]
async fn atk_p23_the_frames_of_this_test_are_a_call_when_nothing_is_wrong() {
    let app = TestApp::start().await;
    let (authority, bearer) = (format!("localhost:{}", app.proxy.port()), format!("Bearer {}", app.writer));
    let mut stream = open(&app).await;
    let body = call(1, "echo", json!({})).to_string();
    let head = frame(HEADERS, END_HEADERS, 1, &block(&request(&authority, &bearer)));
    assert!(write(&mut stream, &[head, frame(DATA, END_STREAM, 1, body.as_bytes())].concat()).await);
    let (found, _) = frames(&mut stream).await;
    assert!(found.iter().any(|(kind, payload)| *kind == HEADERS && payload.first() == Some(&0x88)), "{found:?}");
    assert_eq!(app.upstream.count("tools/call"), 1);
}

#[tokio::test]
async fn atk_p23_a_flood_of_continuations_ends_the_connection() {
    let app = TestApp::start().await;
    let mut stream = open(&app).await;
    let started = Instant::now();
    let mut flood = frame(HEADERS, 0, 1, &field(":method", "POST"));
    for n in 0..2_000 {
        flood.extend(frame(CONTINUATION, 0, 1, &field(&format!("x-{n}"), &"a".repeat(1_000))));
    }
    let all_taken = write(&mut stream, &flood).await;
    let (found, closed) = frames(&mut stream).await;
    assert!(!all_taken || refused(&found, closed), "{found:?}");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    others_are_served(&app, "after the flood").await;
    assert_eq!(app.upstream.count("tools/call"), 1, "only the other client's call");
}

#[tokio::test]
async fn atk_p23_ten_thousand_rapid_resets_end_the_connection() {
    let app = TestApp::start().await;
    let (authority, bearer) = (format!("localhost:{}", app.proxy.port()), format!("Bearer {}", app.writer));
    let mut stream = open(&app).await;
    let head = block(&request(&authority, &bearer));
    let mut flood = Vec::new();
    for n in 0..10_000u32 {
        flood.extend(frame(HEADERS, END_HEADERS, 2 * n + 1, &head));
        flood.extend(frame(RESET, 0, 2 * n + 1, &8u32.to_be_bytes()));
    }
    let all_taken = write(&mut stream, &flood).await;
    let (found, closed) = frames(&mut stream).await;
    let went_away = found.iter().any(|(kind, _)| *kind == GOAWAY);
    assert!(!all_taken || went_away || closed, "ten thousand resets were taken: {}", found.len());
    assert_eq!(app.upstream.count("tools/call"), 0);
    others_are_served(&app, "after the resets").await;
}

#[tokio::test]
async fn atk_p23_a_megabyte_of_headers_is_refused() {
    let app = TestApp::start().await;
    let (authority, bearer) = (format!("localhost:{}", app.proxy.port()), format!("Bearer {}", app.writer));
    let mut stream = open(&app).await;
    let mut fields = block(&request(&authority, &bearer));
    for n in 0..64 {
        fields.extend(field(&format!("x-{n}"), &"b".repeat(16_000)));
    }
    let mut parts = fields.chunks(16_000);
    let mut bytes = frame(HEADERS, END_STREAM, 1, parts.next().expect("a first part"));
    let rest: Vec<&[u8]> = parts.collect();
    for (n, part) in rest.iter().enumerate() {
        bytes.extend(frame(CONTINUATION, if n + 1 == rest.len() { END_HEADERS } else { 0 }, 1, part));
    }
    let all_taken = write(&mut stream, &bytes).await;
    let (found, closed) = frames(&mut stream).await;
    assert!(!all_taken || refused(&found, closed), "{found:?}");
    assert_eq!(app.upstream.count("tools/call"), 0);
    others_are_served(&app, "after the headers").await;
}

#[tokio::test]
async fn atk_p23_pseudo_headers_that_are_none() {
    let app = TestApp::start().await;
    let (authority, bearer) = (format!("localhost:{}", app.proxy.port()), format!("Bearer {}", app.writer));
    let good = request(&authority, &bearer);
    let with = |name: &'static str, value: &'static str| {
        let mut fields = good.clone();
        fields.push((name, value));
        fields
    };
    let instead = |name: &'static str, value: &'static str| {
        good.iter().map(|field| if field.0 == name { (name, value) } else { *field }).collect::<Vec<_>>()
    };
    let twice = |name: &'static str, value: &'static str| {
        let mut fields = good.clone();
        fields.insert(0, (name, value));
        fields
    };
    let without = |name: &str| good.iter().filter(|field| field.0 != name).copied().collect::<Vec<_>>();
    let cases = [
        ("path with a space", instead(":path", "/mcp/up x")),
        ("path with a line end", instead(":path", "/mcp/up\r\nx: y")),
        ("two paths", twice(":path", "/mcp/other")),
        ("two methods", twice(":method", "GET")),
        ("two authorities", twice(":authority", "evil.example")),
        ("no path", without(":path")),
        ("no method", without(":method")),
        ("a pseudo header after the others", with(":path", "/mcp/other")),
        ("an unknown pseudo header", twice(":protocol-x", "y")),
        ("connection", with("connection", "close")),
        ("transfer-encoding", with("transfer-encoding", "chunked")),
        ("upper case", with("X-Upper", "y")),
        ("a line end in a value", with("x-line", "a\r\nb: c")),
        ("another host", with("host", "evil.example")),
    ];
    for (name, fields) in cases {
        app.upstream.forget();
        let mut stream = open(&app).await;
        let body = call(1, "echo", json!({})).to_string();
        let head = frame(HEADERS, END_HEADERS, 1, &block(&fields));
        write(&mut stream, &[head, frame(DATA, END_STREAM, 1, body.as_bytes())].concat()).await;
        let (found, closed) = frames(&mut stream).await;
        assert!(refused(&found, closed), "{name}: {found:?}");
        assert_eq!(app.upstream.count("tools/call"), 0, "{name} reached the upstream");
    }
    others_are_served(&app, "after them all").await;
}
