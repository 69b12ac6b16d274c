//! Pages of other origins in a real browser: PIT-26. What the browser withholds, no script can read; only Lifeboat can say what it withholds.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::harness::Lifeboat;
use crate::ledger;

/// Begins a session with a key, calls a tool in it, and gives what the page could read of it all.
const TALK: &str = "
const [url, key, done] = arguments;
const post = (message, more) => fetch(url, {
  method: 'POST',
  headers: {'Content-Type': 'application/json', 'Accept': 'application/json, text/event-stream', 'Authorization': 'Bearer ' + key, ...more},
  body: JSON.stringify({jsonrpc: '2.0', ...message}),
});
const talk = async () => {
  const stranger = await fetch(url, {method: 'POST', body: '{}'});
  const params = {protocolVersion: '2025-11-25', capabilities: {}, clientInfo: {name: 'page', version: '1'}};
  const begun = await post({id: 1, method: 'initialize', params});
  await begun.text();
  const session = begun.headers.get('mcp-session-id');
  const within = {'Mcp-Session-Id': session, 'Mcp-Protocol-Version': '2025-11-25'};
  const called = await post({id: 2, method: 'tools/call', params: {name: 'read_graph', arguments: {}}}, within);
  const challenge = stranger.headers.get('www-authenticate');
  return {challenge, session, request: called.headers.get('lifeboat-request-id'), text: await called.text()};
};
talk().then(done, fault => done({blocked: String(fault)}));
";

/// An origin of its own on this host; it ends with the process.
fn page() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let page = "<!doctype html><title>page</title>";
            let length = page.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}"
            );
        }
    });
    origin
}

#[tokio::test(flavor = "multi_thread")]
async fn pit_26_a_page_talks_in_a_session_where_its_origin_is_allowed_and_nowhere_else() {
    let lifeboat = Lifeboat::start();
    let key = lifeboat.client_for("demo", "page");
    let (allowed, other) = (page(), page());
    let settings = std::fs::read_to_string(lifeboat.data().join("config/lifeboat.toml")).unwrap_or_default();
    lifeboat.configure("lifeboat.toml", &format!("allowed_origins = [\"{allowed}\"]\n{settings}"));
    let browser = Browser::open(&lifeboat.admin).await;
    let mut seen = Vec::new();
    for origin in [&allowed, &other] {
        browser.client.goto(origin).await.unwrap();
        seen.push(browser.client.execute_async(TALK, vec![json!(lifeboat.url("demo")), json!(key)]).await.unwrap());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    assert!(text(&seen[0]["challenge"]).contains("resource_metadata"), "{}", seen[0]);
    assert!(!text(&seen[0]["session"]).is_empty() && text(&seen[0]["request"]).starts_with("req_"), "{}", seen[0]);
    assert!(text(&seen[0]["text"]).contains("\"result\""), "{}", seen[0]);
    assert!(text(&seen[1]["blocked"]).contains("Failed to fetch"), "{}", seen[1]);
    let calls = ledger::query(&lifeboat, &["--client", "page", "--tool", "demo/read_graph"]);
    assert_eq!((calls.len(), &calls[0]["status"]), (1, &json!("ok")), "{calls:?}");
}
