//! The same requests to a server directly and through the proxy: where policy permits, nobody can tell the two answers apart.

use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::json;

use crate::proxy::modern;
use crate::support::TestApp;
use crate::support::upstream::{Hit, bytes_answer};

/// Answers that a proxy which reads and writes JSON would change; `ID` stands for the request's id as it was written.
const RESULTS: [(&str, &str); 12] = [
    ("application/json", r#"{"jsonrpc":"2.0","id":ID,"result":{"content":[],"resultType":"complete"}}"#),
    (
        "application/json",
        "{ \"result\" : {\"content\":[{\"type\":\"text\",\"text\":\"caf\\u00e9 \\/ \u{1f6a3}\"}]},\r\n\t\"id\":ID , \"jsonrpc\":\"2.0\" }\n",
    ),
    (
        "application/json",
        r#"{"jsonrpc":"2.0","id":ID,"result":{"structuredContent":{"big":123456789012345678901234567890,"e":1.0E+2,"z":-0.0,"d":0.50}}}"#,
    ),
    (
        "application/json",
        r#"{"jsonrpc":"2.0","id":ID,"result":{"z":1,"a":{"__proto__":null,"":[]},"future":[{"b":1,"a":2}],"_meta":{"x/y":{"k":9007199254740993}}}}"#,
    ),
    ("application/json", r#"{"jsonrpc":"2.0","id":ID,"result":{"isError":true,"content":[{"type":"text","text":"no"}]}}"#),
    ("application/json", r#"{"jsonrpc":"2.0","id":ID,"error":{"code":-32602,"message":"bad","data":{"at":"/a","n":1.10}}}"#),
    (
        "application/json",
        r#"{"id":ID,"jsonrpc":"2.0","result":{"content":[{"type":"resource_link","uri":"file:///%2e%2e/x","name":"n"}]}}"#,
    ),
    ("application/json; charset=utf-8", r#"{"jsonrpc":"2.0","id":ID,"result":{"tail":"\u0000\u001f\u007f\u2028"}}"#),
    ("text/event-stream", "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":{\"content\":[]}}\n\n"),
    (
        "text/event-stream",
        ": hello\n\nid: 1\nevent: message\nretry: 20\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":1.50}}\n\nid: 2\ndata: {\"jsonrpc\":\"2.0\",\ndata: \"id\":ID,\"result\":{}}\n\n",
    ),
    ("text/event-stream", "data: {\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":{\"z\":1,\"a\":2}}\r\n\r\n"),
    ("text/event-stream", "id:\ndata:\n\ndata:{\"jsonrpc\":\"2.0\",\"id\":ID,\"error\":{\"code\":1,\"message\":\"m\"}}\n\n"),
];

/// Requests of both eras, as clients write them.
fn requests() -> Vec<(Vec<(&'static str, &'static str)>, String)> {
    let meta =
        r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
    let legacy = vec![
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
        ("MCP-Protocol-Version", "2025-11-25"),
    ];
    let mut all = Vec::new();
    for id in ["1", "\"a\"", "-7", "9007199254740993", "\"caf\\u00e9\""] {
        let call = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{{"n":1.10,"big":12345678901234567890}},{meta}}}}}"#
        );
        all.push((modern("tools/call", "echo"), call));
        let write = format!(
            "{{\"params\" : {{{meta}, \"arguments\":{{}}, \"name\":\"write_note\"}},\n \"method\":\"tools/call\", \"id\":{id}, \"jsonrpc\":\"2.0\"}}"
        );
        all.push((modern("tools/call", "write_note"), write));
        let read = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"resources/read","params":{{"uri":"note://1",{meta}}}}}"#);
        all.push((modern("resources/read", "note://1"), read));
        all.push((
            legacy.clone(),
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{{"x":-0.0}}}}}}"#),
        ));
        all.push((legacy.clone(), format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#)));
        all.push((legacy.clone(), format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"prompts/get","params":{{"name":"p"}}}}"#)));
    }
    all
}

/// The id of a request as it is written.
fn id_of(body: &str) -> &str {
    let (_, rest) = body.split_once("\"id\":").expect("an id");
    rest.split([',', '}']).next().expect("it ends").trim()
}

async fn direct(app: &TestApp, headers: &[(&str, &str)], body: &str) -> (u16, String, Vec<u8>) {
    let tcp = tokio::net::TcpStream::connect(app.upstream.address).await.expect("the server accepts");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await.expect("a handshake");
    tokio::spawn(connection);
    let mut request = http::Request::post("/mcp").header("host", app.upstream.address.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(bytes::Bytes::from(body.to_owned()))).expect("a request");
    let (head, body) = sender.send_request(request).await.expect("an answer").into_parts();
    let media = head.headers["content-type"].to_str().expect("text").to_owned();
    (head.status.as_u16(), media, body.collect().await.expect("a body").to_bytes().to_vec())
}

#[tokio::test]
async fn flt_32_where_policy_permits_an_answer_is_the_same_to_the_byte() {
    let app = TestApp::start().await;
    let mut compared = 0;
    for (media, text) in RESULTS {
        app.upstream.script(move |hit: &Hit| {
            let body = String::from_utf8_lossy(&hit.body).into_owned();
            Some(bytes_answer(media, text.replace("ID", id_of(&body)).into_bytes()))
        });
        for (headers, body) in requests() {
            app.upstream.forget();
            let (status, content_type, due) = direct(&app, &headers, &body).await;
            let got = app.post(&app.writer, &headers, body.as_bytes()).await;
            let what =
                || format!("{body}\ndirect: {}\nproxy:  {}", String::from_utf8_lossy(&due), String::from_utf8_lossy(&got.body));
            assert_eq!(got.status, status, "{}", what());
            assert_eq!(String::from_utf8_lossy(&got.body), String::from_utf8_lossy(&due), "{body}");
            let essence = |media: &str| media.split(';').next().unwrap_or_default().to_owned();
            assert_eq!(got.header("content-type").map(essence), Some(essence(&content_type)), "{}", what());
            let hits = app.upstream.hits();
            assert_eq!(hits.len(), 2);
            assert_eq!(hits[0].body, hits[1].body, "the server sees the same bytes");
            for name in ["mcp-protocol-version", "mcp-method", "mcp-name", "content-type"] {
                assert_eq!(hits[1].headers.get(name), hits[0].headers.get(name), "{name}: {body}");
            }
            compared += 1;
        }
    }
    assert_eq!(compared, RESULTS.len() * 30);
}

#[tokio::test]
async fn flt_32_an_error_status_with_its_json_is_the_same_too() {
    let app = TestApp::start().await;
    for status in [400, 404, 405, 410, 422] {
        let body = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32020, "message": "as the server says"}}).to_string();
        let said = body.clone();
        app.upstream.script(move |_: &Hit| {
            let mut answer = bytes_answer("application/json", said.clone().into_bytes());
            *answer.status_mut() = http::StatusCode::from_u16(status).expect("a status");
            Some(answer)
        });
        let (headers, request) = requests().remove(0);
        let (due, _, text) = direct(&app, &headers, &request).await;
        let got = app.post(&app.writer, &headers, request.as_bytes()).await;
        assert_eq!((got.status, got.body), (due, text));
    }
}
