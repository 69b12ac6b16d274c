//! Bad answers on demand: what a broken or malicious upstream sends instead of a result. Never a good answer.

use std::io::Error;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::HeaderValue;

use super::Reset;
use super::body::{Feed, Reply, event, events, fed, full, json, reply};

/// The answer for one fault mode, to the request with `id`; `None` for a mode nobody knows.
pub fn answer(mode: &str, id: &str, reset: &Reset) -> Option<Reply> {
    let good = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","content":[]}}}}"#);
    Some(match mode {
        "gzip_bomb" => with(reply(StatusCode::OK, "application/json", full(gzip_bomb())), "content-encoding", "gzip"),
        "wrong_id" => json(StatusCode::OK, r#"{"jsonrpc":"2.0","id":"someone-elses","result":{"content":[]}}"#),
        "wrong_type_id" => json(StatusCode::OK, good.replacen(&format!("\"id\":{id}"), "\"id\":null", 1)),
        "duplicate_keys" => json(StatusCode::OK, good.replacen("\"result\"", "\"result\":{\"isError\":true},\"result\"", 1)),
        "two_answers" => json(StatusCode::OK, format!("{good}{good}")),
        "not_json" => json(StatusCode::OK, "<not json>"),
        "empty" => json(StatusCode::OK, ""),
        "html_500" => reply(StatusCode::INTERNAL_SERVER_ERROR, "text/html", full("<h1>boom at /srv/app/secret.py line 3</h1>")),
        "html_502" => reply(StatusCode::BAD_GATEWAY, "text/html", full("<h1>Bad gateway</h1>")),
        "redirect" => {
            with(reply(StatusCode::TEMPORARY_REDIRECT, "", full("")), "location", "http://169.254.169.254/latest/meta-data")
        }
        "auth_401" => auth_401(),
        "leaky_headers" => leaky_headers(good),
        "hang" => streamed(|feed| async move { feed.closed().await }),
        "endless" => endless(Bytes::from_static(&[b'x'; 16 * 1024]), "application/json"),
        "endless_events" => endless(
            event(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"on and on"}}"#),
            "text/event-stream",
        ),
        "endless_event" => endless(Bytes::from_static(b"data: still the same event\n"), "text/event-stream"),
        "truncated" => cut(None),
        "reset" => cut(Some(reset.clone())),
        "drip" => drip(good),
        "stream_without_answer" => events_then_end(),
        _ => return None,
    })
}

fn with(mut answer: Reply, name: &'static str, value: &'static str) -> Reply {
    answer.headers_mut().append(name, HeaderValue::from_static(value));
    answer
}

fn auth_401() -> Reply {
    let answer = json(StatusCode::UNAUTHORIZED, r#"{"error":"invalid_token"}"#);
    let answer =
        with(answer, "www-authenticate", r#"Bearer resource_metadata="https://evil.example/.well-known/oauth-protected-resource""#);
    with(answer, "set-cookie", "upstream=1; Path=/; Domain=localhost")
}

fn leaky_headers(good: String) -> Reply {
    let answer = with(json(StatusCode::OK, good), "set-cookie", "upstream=1; Path=/");
    let answer = with(answer, "server", "leaky/1.0");
    let answer = with(answer, "mcp-session-id", "forged-by-the-upstream");
    with(answer, "access-control-allow-origin", "*")
}

fn streamed<F: Future<Output = ()> + Send + 'static>(run: impl FnOnce(Feed) -> F) -> Reply {
    let (feed, body) = fed();
    tokio::spawn(run(feed));
    reply(StatusCode::OK, "application/json", body)
}

fn endless(piece: Bytes, kind: &str) -> Reply {
    let (feed, body) = fed();
    tokio::spawn(async move { while feed.send(Ok(piece.clone())).await.is_ok() {} });
    reply(StatusCode::OK, kind, body)
}

fn cut(reset: Option<Reset>) -> Reply {
    streamed(|feed| async move {
        let _ = feed.send(Ok(Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"te"#))).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        if let Some(reset) = reset {
            reset.arm();
        }
        let _ = feed.send(Err(Error::other("cut on purpose"))).await;
    })
}

fn drip(good: String) -> Reply {
    streamed(|feed| async move {
        for byte in good.into_bytes() {
            if feed.send(Ok(Bytes::from(vec![byte]))).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
}

fn events_then_end() -> Reply {
    let (feed, answer) = events();
    tokio::spawn(async move {
        let _ = feed.send(Ok(Bytes::from_static(b": nothing follows\n\n"))).await;
    });
    answer
}

/// About 400 KB of deflate that expand to 64 MiB: one literal, then the longest repeat of it, over and over.
fn gzip_bomb() -> Vec<u8> {
    let mut bits = Bits { out: vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255], held: 0, count: 0 };
    bits.push(0b011, 3);
    bits.push(u32::from((0x30 + b'a').reverse_bits()), 8);
    for _ in 0..(64 << 20) / 258 {
        bits.push(u32::from(0b1100_0101_u8.reverse_bits()), 8);
        bits.push(0, 5);
    }
    bits.push(0, 7);
    bits.push(0, 7);
    bits.out.extend_from_slice(&[0; 8]);
    bits.out
}

struct Bits {
    out: Vec<u8>,
    held: u32,
    count: u32,
}

impl Bits {
    fn push(&mut self, value: u32, width: u32) {
        self.held |= value << self.count;
        self.count += width;
        while self.count >= 8 {
            self.out.push((self.held & 0xff) as u8);
            self.held >>= 8;
            self.count -= 8;
        }
    }
}
