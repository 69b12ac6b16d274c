//! Peers that hold on to what they were given: connections, places, memory, descriptors. Each gives it back in the end.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use lifeboat::proxy::connection::{Busy, Ends, Held, drive};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::sized;
use crate::proxy::{call, modern};
use crate::support::upstream::{Hit, Upstream, json_answer, sse_answer};
use crate::support::wire;
use crate::support::{TestApp, alone};

const IDLE: Duration = Duration::from_millis(400);

/// A connection served for at most `IDLE` of doing nothing; a body of a megabyte, or one that trickles for three times as long.
async fn served(trickles: bool, window: u32) -> (http2::SendRequest<Full<Bytes>>, tokio::task::JoinHandle<()>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let busy = Busy::default();
    let held = busy.clone();
    let service = service_fn(move |_: Request<hyper::body::Incoming>| {
        let held = held.clone();
        async move {
            let body = match trickles {
                true => {
                    let drops = futures_util::stream::unfold(12, |left: u32| async move {
                        tokio::time::sleep(IDLE / 4).await;
                        left.checked_sub(1).map(|left| (Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"drop"))), left))
                    });
                    BodyExt::boxed_unsync(StreamBody::new(drops))
                }
                false => BodyExt::boxed_unsync(Full::new(Bytes::from(vec![b'x'; 1 << 20]))),
            };
            Ok::<_, Infallible>(Response::new(Held::new(body, held)))
        }
    });
    let connection = tokio::spawn(async move {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http2();
        let builder = builder.http2_only();
        drive(&builder, TokioIo::new(near), service, (busy, IDLE, true), &Ends::default()).await;
    });
    let mut client = http2::Builder::new(TokioExecutor::new());
    client.initial_stream_window_size(window).initial_connection_window_size(1 << 20);
    let (sender, driver) = client.handshake(TokioIo::new(far)).await.expect("a handshake");
    tokio::spawn(driver);
    (sender, connection)
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(format!("https://localhost{path}")).body(Full::default()).expect("a request")
}

#[tokio::test]
async fn atk_p25_a_body_that_http2_opens_no_window_for_ends_its_connection() {
    let (mut sender, connection) = served(false, 1_024).await;
    let unread = sender.send_request(get("/")).await.expect("the head comes");
    tokio::time::timeout(IDLE * 10, connection).await.expect("the connection ends, and its place is free").expect("no panic");
    drop(unread);
}

#[tokio::test]
async fn a_body_that_is_read_lasts_however_slowly_it_comes() {
    let (mut sender, connection) = served(true, 1_024).await;
    let answer = sender.send_request(get("/")).await.expect("the head comes");
    let all = answer.into_body().collect().await.expect("to its end").to_bytes();
    assert_eq!(all.len(), 12 * 4);
    connection.abort();
}

/// HTTP/2 to the proxy, with so large a window for each answer.
async fn h2(app: &TestApp, window: u32) -> http2::SendRequest<Full<Bytes>> {
    let stream = wire::connect_with(app.proxy, &app.ca, b"h2").await;
    let mut client = http2::Builder::new(TokioExecutor::new());
    client.initial_stream_window_size(window);
    let (sender, driver) = client.handshake(TokioIo::new(stream)).await.expect("a handshake");
    tokio::spawn(driver);
    sender
}

fn echo(app: &TestApp, key: &str) -> Request<Full<Bytes>> {
    let mut request =
        Request::post(format!("https://localhost:{}/mcp/up", app.proxy.port())).header("authorization", format!("Bearer {key}"));
    for (name, value) in modern("tools/call", "echo") {
        request = request.header(name, value);
    }
    request.body(Full::new(call(1, "echo", json!({})).to_string().into())).expect("a request")
}

#[tokio::test]
async fn atk_p25_an_answer_that_its_client_does_not_take_counts_as_its_call_in_flight() {
    let app = TestApp::start_with("[limits]\nconcurrency = 2\n").await;
    app.upstream.script(|hit: &Hit| {
        let text = "x".repeat(200_000);
        let result = json!({"content": [{"type": "text", "text": text}]});
        (hit.rpc() == "tools/call").then(|| json_answer(&json!({"jsonrpc": "2.0", "id": hit.json()["id"], "result": result})))
    });
    let mut sender = h2(&app, 16).await;
    let first = sender.send_request(echo(&app, &app.writer)).await.expect("the head comes");
    let second = sender.send_request(echo(&app, &app.writer)).await.expect("the head comes");
    let body = call(2, "echo", json!({})).to_string();
    let third = app.post(&app.writer, &modern("tools/call", "echo"), body.as_bytes()).await;
    assert_eq!(third.reason(), "rate.concurrency", "two answers wait for this client already");
    let other = app.post(&app.reader, &modern("tools/call", "echo"), body.as_bytes()).await;
    assert_eq!(other.code(), 0, "another client has its own");
    drop((first, second, sender));
    for _ in 0..200 {
        let again = app.post(&app.writer, &modern("tools/call", "echo"), body.as_bytes()).await;
        if again.code() == 0 {
            return;
        }
        assert_eq!(again.reason(), "rate.concurrency");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the places were not given back when the client left");
}

#[tokio::test]
async fn a_probe_of_a_server_that_shows_tools_without_end_ends() {
    let app = TestApp::start().await;
    let evil = Upstream::start().await;
    let text = "x".repeat(900_000);
    evil.script(move |hit: &Hit| {
        (hit.rpc() == "tools/list").then(|| {
            let page = hit.json()["params"]["cursor"].as_str().unwrap_or("0").parse::<u64>().unwrap_or(0);
            let tools = json!([{"name": format!("t{page}"), "description": text, "inputSchema": {"type": "object"}}]);
            let result = json!({"tools": tools, "nextCursor": (page + 1).to_string(), "resultType": "complete"});
            json_answer(&json!({"jsonrpc": "2.0", "id": hit.json()["id"], "result": result}))
        })
    });
    let order = json!({"name": "evil", "url": evil.url(), "plain_loopback": true});
    let (status, told) = app.api_status("POST", "/api/v1/servers", order).await;
    assert_eq!(status, 503, "{told}");
    assert!(told["error"]["message"].as_str().is_some_and(|text| text.contains("more than")), "{told}");
    assert!(evil.count("tools/list") <= 11, "{} pages were kept in memory", evil.count("tools/list"));
}

#[tokio::test]
async fn events_of_two_bytes_pass_one_by_one_and_the_answer_comes_after_them() {
    let app = TestApp::start().await;
    app.upstream.script(|hit: &Hit| {
        (hit.rpc() == "tools/call").then(|| {
            let answer = json!({"jsonrpc": "2.0", "id": hit.json()["id"], "result": {"content": []}});
            sse_answer(vec![(0, ":\n".repeat(200_000)), (0, format!("data: {answer}\n\n"))], false)
        })
    });
    let reply = app.post(&app.writer, &modern("tools/call", "echo"), call(1, "echo", json!({})).to_string().as_bytes()).await;
    assert_eq!(reply.json()["result"]["content"], json!([]));
    assert_eq!(reply.body.iter().filter(|byte| **byte == b':').count() - 5, 200_000, "every comment came through");
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or(0)
}

/// One peer that leaves in the middle of something.
async fn leave(app: &TestApp, how: u64) {
    match how % 6 {
        0 => drop(TcpStream::connect(app.proxy).await),
        1 => {
            let mut tcp = TcpStream::connect(app.proxy).await.expect("accepted");
            let _ = tcp.write_all(b"\x16\x03\x01\x02\x00\x01\x00").await;
        }
        2 => drop(wire::connect(app.proxy, &app.ca).await),
        3 => {
            let mut stream = wire::connect(app.proxy, &app.ca).await;
            let _ = stream.write_all(b"POST /mcp/up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{").await;
        }
        4 => {
            let mut sender = h2(app, 16).await;
            drop(sender.send_request(echo(app, &app.writer)).await);
        }
        _ => {
            // The server streams without end; the client leaves after the head.
            let mut sender = h2(app, 1 << 20).await;
            let mut request = echo(app, &app.writer);
            *request.body_mut() = Full::new(call(1, "echo", json!({"stream": true})).to_string().into());
            drop(sender.send_request(request).await);
        }
    }
}

#[tokio::test]
async fn peers_that_leave_in_the_middle_leave_no_descriptor_and_no_call_behind() {
    if !alone("faults::hostile::peers_that_leave_in_the_middle_leave_no_descriptor_and_no_call_behind") {
        return;
    }
    let app = TestApp::start().await;
    app.upstream.script(|hit: &Hit| {
        let streams = hit.json()["params"]["arguments"]["stream"] == json!(true);
        streams.then(|| sse_answer(vec![(0, ": hello\n\n".to_owned())], true))
    });
    for how in 0..6 {
        leave(&app, how).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = descriptors();
    for round in 0..sized(120, 3_000) {
        leave(&app, round).await;
    }
    let settled = || descriptors() <= before + 12 && app.app.admin().feed.in_flight(None) == 0;
    // Idle connections to the server are kept for 20 s.
    for _ in 0..300 {
        if settled() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (after, flying) = (descriptors(), app.app.admin().feed.in_flight(None));
    assert!(settled(), "{before} descriptors before, {after} after; {flying} calls still in flight");
    let body = call(2, "echo", json!({})).to_string();
    assert_eq!(app.post(&app.writer, &modern("tools/call", "echo"), body.as_bytes()).await.code(), 0);
    let events = app.events("limit=500&client=writer").await;
    let calls: Vec<&Value> = events.iter().filter(|event| event["tool"] == "echo").collect();
    assert!(calls.len() as u64 >= sized(120, 500) / 3, "each of them stands in the ledger: {}", calls.len());
}
