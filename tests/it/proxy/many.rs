//! Many at once: clients that never read, the admin plane standing still. What one of them does costs the others nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{call, modern};
use crate::support::TestApp;
use crate::support::upstream::{Upstream, event, sse_answer};
use crate::support::wire;

fn head(app: &TestApp, key: &str, length: usize) -> String {
    let mut head = format!(
        "POST /mcp/up HTTP/1.1\r\nHost: localhost:{}\r\nAuthorization: Bearer {key}\r\nContent-Length: {length}\r\n",
        app.proxy.port()
    );
    for (name, value) in modern("tools/call", "echo") {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head + "\r\n"
}

#[tokio::test]
async fn atk_p25_streams_that_nobody_reads_hold_back_their_server() {
    const CLIENTS: usize = 10;
    let app = TestApp::start().await;
    let taken = Arc::new(AtomicUsize::new(0));
    let begun = Arc::new(AtomicUsize::new(0));
    let (counted, began) = (taken.clone(), begun.clone());
    let filler = "x".repeat(900_000);
    app.upstream.script(move |hit| {
        (hit.rpc() == "tools/call" && hit.json()["params"]["arguments"]["endless"] == json!(true)).then(|| {
            began.fetch_add(1, Ordering::Relaxed);
            let one =
                event(&json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": filler}}));
            let (parts, body) = sse_answer(vec![(0, one); 200], true).into_parts();
            let counted = counted.clone();
            let body = http_body_util::BodyExt::map_frame(body, move |frame| {
                counted.fetch_add(frame.data_ref().map_or(0, bytes::Bytes::len), Ordering::Relaxed);
                frame
            });
            http::Response::from_parts(parts, http_body_util::BodyExt::boxed(body))
        })
    });
    let body = call(1, "echo", json!({"endless": true})).to_string();
    let mut deaf = Vec::new();
    for _ in 0..CLIENTS {
        let mut stream = wire::connect(app.proxy, &app.ca).await;
        stream.write_all(format!("{}{body}", head(&app, &app.writer, body.len())).as_bytes()).await.expect("sent");
        deaf.push(stream);
    }
    let (mut first, mut second) = (0, 0);
    let patience = Instant::now();
    // Filling the buffers takes its time on a busy machine.
    while begun.load(Ordering::Relaxed) < CLIENTS || first == 0 || second - first >= CLIENTS * 2_000_000 {
        assert!(patience.elapsed() < Duration::from_secs(60), "still growing: {first} then {second}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        (first, second) = (second, taken.load(Ordering::Relaxed));
        // What may lie between: two pairs of socket buffers of the kernel (some 10 MiB each way at most), one event, 128 KiB of backlog.
        assert!(second < CLIENTS * 32 * 1024 * 1024, "{second} bytes were taken for {CLIENTS} clients that read nothing");
    }
    let started = Instant::now();
    let reply = app.post(&app.reader, &modern("tools/call", "echo"), call(2, "echo", json!({})).to_string().as_bytes()).await;
    assert_eq!((reply.status, reply.code()), (200, 0));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    // A kill ends them although they do not read.
    let engaged = app.engage(json!({"reason": "deaf clients"})).await;
    assert_eq!((&engaged["effective"], &engaged["cut_in_flight"]), (&json!(true), &json!(CLIENTS)), "{engaged}");
}

#[tokio::test]
async fn atk_p24_two_hundred_half_requests_slow_nobody_and_end() {
    let app = TestApp::start().await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = wire::connect(app.proxy, &app.ca).await;
        stream.write_all(b"P").await.expect("sent");
        slow.push(stream);
    }
    let body = call(1, "echo", json!({})).to_string();
    for _ in 0..20 {
        let started = Instant::now();
        let reply = app.post(&app.reader, &modern("tools/call", "echo"), body.as_bytes()).await;
        assert_eq!((reply.status, reply.code()), (200, 0));
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    }
    let all = futures_util::future::join_all(slow.iter_mut().map(|stream| async {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    }));
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("each half request ends with its 10 s");
}

#[tokio::test]
async fn flt_25_the_proxy_enforces_its_last_policy_while_the_admin_plane_stands_still() {
    let upstream = Upstream::start().await;
    let url = upstream.url();
    let (told, tell) = std::sync::mpsc::channel();
    let (done, wait) = std::sync::mpsc::channel::<()>();
    // The admin plane runs on the runtime of this thread, which nobody drives once the addresses are told.
    let plane = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let app = runtime.block_on(async {
            let app = TestApp::start().await;
            app.api("POST", "/api/v1/servers", json!({"name": "live", "url": url, "plain_loopback": true})).await;
            let role = "[[grant]]\ntools = [\"live/echo\"]\nclasses = [\"read\"]\n";
            app.api("POST", "/api/v1/roles/live", json!({"toml": role})).await;
            let key = app.add_client("live", "live", 0).await;
            told.send((app.proxy, app.app.admin_address(), app.ca.clone(), key)).expect("told");
            app
        });
        wait.recv().ok();
        runtime.block_on(app.app.stop());
    });
    let (proxy, admin, ca, key) = tokio::task::spawn_blocking(move || tell.recv()).await.expect("joined").expect("started");
    let dead = tokio::time::timeout(Duration::from_millis(500), wire::request(admin, &ca, "GET", "/health", &[], b"")).await;
    assert!(dead.is_err(), "the admin plane still answers");
    upstream.forget();
    let bearer = format!("Bearer {key}");
    for round in 0..20 {
        for (tool, reason, reached) in [("echo", "", 1), ("write_note", "policy.no_grant", 0)] {
            upstream.forget();
            let mut headers = modern("tools/call", tool);
            headers.push(("Authorization", &bearer));
            let reply =
                wire::request(proxy, &ca, "POST", "/mcp/live", &headers, call(round, tool, json!({})).to_string().as_bytes()).await;
            assert_eq!((reply.status, reply.reason().as_str(), upstream.hits().len()), (200, reason, reached), "{tool}");
        }
    }
    upstream.forget();
    let stranger = wire::request(proxy, &ca, "POST", "/mcp/live", &modern("tools/call", "echo"), b"{}").await;
    assert_eq!((stranger.status, upstream.hits().len()), (401, 0));
    done.send(()).expect("the thread waits");
    tokio::task::spawn_blocking(move || plane.join()).await.expect("joined").expect("it stops");
}
