//! Streams: what must come at once, what may be idle, what must be bounded, what must be cut.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{call, modern};
use crate::support::TestApp;
use crate::support::upstream::{bytes_answer, event, json_answer, sse_answer, status};
use crate::support::wire;

fn progress(n: u64) -> String {
    event(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "t", "progress": n}}))
}

pub(crate) async fn open(app: &TestApp, key: &str, body: &str) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    let mut stream = wire::connect(app.proxy, &app.ca).await;
    let mut head = format!(
        "POST /mcp/up HTTP/1.1\r\nHost: localhost:{}\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n",
        app.proxy.port(),
        body.len()
    );
    for (name, value) in modern("tools/call", "echo") {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.expect("sent");
    stream
}

async fn read_until(
    stream: &mut tokio_rustls::client::TlsStream<tokio::net::TcpStream>,
    word: &str,
    patience: Duration,
) -> Option<(String, Duration)> {
    let started = Instant::now();
    let mut seen = Vec::new();
    let mut buffer = [0u8; 8192];
    let read = async {
        while !String::from_utf8_lossy(&seen).contains(word) {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(n) => seen.extend_from_slice(&buffer[..n]),
            }
        }
        Some(())
    };
    let found = tokio::time::timeout(patience, read).await.ok().flatten();
    found.map(|()| (String::from_utf8_lossy(&seen).into_owned(), started.elapsed()))
}

#[tokio::test]
async fn pit_1_progress_comes_spaced_not_at_once() {
    let app = TestApp::start().await;
    app.upstream.script(|hit| {
        (hit.rpc() == "tools/call").then(|| {
            let last =
                event(&json!({"jsonrpc": "2.0", "id": hit.json()["id"], "result": {"content": [], "resultType": "complete"}}));
            sse_answer(vec![(0, progress(1)), (1_500, progress(2)), (1_500, last)], false)
        })
    });
    let mut stream = open(&app, &app.reader, &call(7, "echo", json!({})).to_string()).await;
    let (_, first) = read_until(&mut stream, "\"progress\":1", Duration::from_secs(5)).await.expect("the first event");
    let (_, second) = read_until(&mut stream, "\"progress\":2", Duration::from_secs(5)).await.expect("the second event");
    let (_, third) = read_until(&mut stream, "\"result\"", Duration::from_secs(5)).await.expect("the answer");
    assert!(first < Duration::from_millis(1_400), "{first:?}");
    assert!(second > Duration::from_millis(300) && third > Duration::from_millis(300), "{second:?} {third:?}");
}

#[tokio::test]
async fn pit_2_pit_3_headers_come_at_once_and_an_idle_stream_stays() {
    let app = TestApp::start().await;
    app.upstream.script(|hit| (hit.rpc() == "tools/call").then(|| sse_answer(Vec::new(), true)));
    let mut stream = open(&app, &app.reader, &call(7, "echo", json!({})).to_string()).await;
    let (head, after) = read_until(&mut stream, "\r\n\r\n", Duration::from_secs(3)).await.expect("the headers");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(after < Duration::from_millis(1000), "{after:?}");
    let ended = tokio::time::timeout(Duration::from_secs(4), async {
        let mut buffer = [0u8; 1024];
        loop {
            if stream.read(&mut buffer).await.map_or(true, |n| n == 0) {
                return;
            }
        }
    });
    assert!(ended.await.is_err(), "the idle stream ended");
}

#[tokio::test]
async fn pit_17_a_modern_disconnect_cancels_upstream() {
    let app = TestApp::start().await;
    let (gone, seen) = std::sync::mpsc::channel::<()>();
    struct Tell(std::sync::mpsc::Sender<()>);
    impl Drop for Tell {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let gone = std::sync::Mutex::new(gone);
    app.upstream.script(move |hit| {
        (hit.rpc() == "tools/call").then(|| {
            let tell = Tell(gone.lock().expect("not poisoned").clone());
            let mut answer = sse_answer(vec![(0, progress(1))], true);
            answer.extensions_mut().clear();
            let (parts, body) = answer.into_parts();
            let body = http_body_util::BodyExt::map_frame(body, move |frame| {
                let _held = &tell;
                frame
            });
            http::Response::from_parts(parts, http_body_util::BodyExt::boxed(body))
        })
    });
    let mut stream = open(&app, &app.reader, &call(7, "echo", json!({})).to_string()).await;
    read_until(&mut stream, "\"progress\":1", Duration::from_secs(5)).await.expect("the stream began");
    drop(stream);
    let told = tokio::task::spawn_blocking(move || seen.recv_timeout(Duration::from_secs(3)));
    assert!(told.await.expect("joined").is_ok(), "the upstream request outlived the client by 3 s");
    app.settle().await;
    assert_eq!(app.last_call().await["status"], "cancelled");
}

#[tokio::test]
async fn pit_27_flt_20_a_kill_cuts_the_calls_in_flight() {
    let app = TestApp::start().await;
    app.upstream.script(|hit| (hit.rpc() == "tools/call").then(|| sse_answer(vec![(0, progress(1))], true)));
    let mut streams = Vec::new();
    for id in 0..5 {
        let mut stream = open(&app, &app.writer, &call(id, "echo", json!({})).to_string()).await;
        read_until(&mut stream, "\"progress\":1", Duration::from_secs(5)).await.expect("the stream began");
        streams.push(stream);
    }
    let engaged = app.engage(json!({"reason": "test"})).await;
    assert_eq!((&engaged["effective"], &engaged["cut_in_flight"]), (&json!(true), &json!(5)), "{engaged}");
    assert!(engaged["effective_ms"].as_f64().is_some_and(|ms| ms < 1000.0), "{engaged}");
    for stream in &mut streams {
        let (text, _) = read_until(stream, "kill.engaged", Duration::from_secs(2)).await.expect("the refusal ends the stream");
        assert!(text.contains("-31001"), "{text}");
    }
    let reply = app.post(&app.reader, &modern("tools/call", "echo"), call(9, "echo", json!({})).to_string().as_bytes()).await;
    assert_eq!((reply.code(), reply.reason().as_str()), (-31001, "kill.engaged"));
    app.settle().await;
    let cut = app.events("status=cut").await;
    assert_eq!(cut.len(), 5);
}

#[tokio::test]
async fn atk_p21_pit_19_responses_over_the_cap_end_in_band() {
    let app = TestApp::start().await;
    let over = "x".repeat((1 << 20) + 1);
    let body = call(1, "echo", json!({})).to_string();
    let big = over.clone();
    app.upstream.script(move |hit| {
        (hit.rpc() == "tools/call").then(|| {
            json_answer(&json!({"jsonrpc": "2.0", "id": hit.json()["id"], "result": {"content": [{"type": "text", "text": big}]}}))
        })
    });
    let reply = app.post(&app.reader, &modern("tools/call", "echo"), body.as_bytes()).await;
    assert_eq!((reply.status, reply.code(), reply.reason().as_str()), (200, -31006, "size.response"));
    let big = over.clone();
    app.upstream.script(move |hit| {
        (hit.rpc() == "tools/call").then(|| {
            sse_answer(vec![(0, event(&json!({"jsonrpc": "2.0", "id": hit.json()["id"], "result": {"text": big}})))], false)
        })
    });
    let reply = app.post(&app.reader, &modern("tools/call", "echo"), body.as_bytes()).await;
    assert_eq!((reply.status, reply.code()), (200, -31006));
    app.upstream.script(|hit| {
        (hit.rpc() == "tools/call").then(|| {
            let mut answer = bytes_answer("application/json", vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
            answer.headers_mut().insert("content-encoding", "gzip".parse().expect("a value"));
            answer
        })
    });
    let reply = app.post(&app.reader, &modern("tools/call", "echo"), body.as_bytes()).await;
    assert_eq!((reply.status, reply.code()), (200, -31007));
}

#[tokio::test]
async fn pit_11_a_notification_is_answered_202_and_nothing_else() {
    let app = TestApp::start().await;
    app.upstream.script(|hit| hit.rpc().starts_with("notifications/").then(|| status(http::StatusCode::OK)));
    let headers = [
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
        ("MCP-Protocol-Version", "2025-11-25"),
    ];
    let reply = app.post(&app.reader, &headers, br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    assert_eq!((reply.status, reply.body.len()), (202, 0));
    assert_eq!(reply.header("content-type"), None);
}

#[tokio::test]
async fn pit_10_a_kitchen_sink_passes_byte_for_byte() {
    let app = TestApp::start().await;
    let digits = "123456789012345678901234567890123456789012345678901234567890";
    let result = format!(
        r#"{{"content":[{{"type":"text","text":"\u00e9","annotations":{{"z":1,"a":2}}}}],"structuredContent":{{"n":{digits},"d":1.10}},"resultType":"complete","_meta":{{"b":1,"a":[ 1 , 2 ]}},"x-unknown":null}}"#
    );
    let sent = result.clone();
    app.upstream.script(move |hit| {
        (hit.rpc() == "tools/call").then(|| {
            let id = hit.json()["id"].clone();
            bytes_answer("application/json", format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{sent}}}"#).into_bytes())
        })
    });
    let body = format!(
        r#"{{"jsonrpc":"2.0", "id":3,"method":"tools/call","params":{{"x":{digits},"name":"echo","arguments":{{"big":{digits},"b":1,"a":[1.0,1e1]}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
    );
    app.upstream.forget();
    let reply = app.post(&app.reader, &modern("tools/call", "echo"), body.as_bytes()).await;
    assert_eq!(String::from_utf8_lossy(&reply.body), format!(r#"{{"jsonrpc":"2.0","id":3,"result":{result}}}"#));
    assert_eq!(String::from_utf8_lossy(&app.upstream.hits()[0].body), body);
}
