//! The breaker through the whole app: a failing server rests, others do not notice, and everybody who looks is told.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::site::{Act, Authority, Raw, Site, tls13};
use super::{House, executed, until};
use crate::support::alone;

const SHORT: &str =
    "[upstream]\nhealth_seconds = 0\nanswer_ms = 300\nbody_ms = 300\nbreaker_failures = 3\nbreaker_rest_ms = 60000\n";

#[tokio::test]
async fn flt_03_a_server_that_hangs_is_left_alone_and_everybody_is_told() {
    let (house, raw) = (House::start(SHORT).await, Raw::start().await);
    assert_eq!(house.add("raw", &raw.url(), json!({})).await.0, 200);
    raw.will(vec![Act::Hang; 3]);
    for _ in 0..3 {
        let began = Instant::now();
        let late = house.call("raw", "echo").await;
        assert_eq!((late.reason().as_str(), executed(&late).as_str()), ("upstream.timeout", "unknown"));
        assert!(began.elapsed() >= Duration::from_millis(300));
    }
    assert_eq!(house.show("raw").await["breaker"], "open");
    for tool in ["echo", "write_note"] {
        let refused = house.call("raw", tool).await;
        let data = refused.json()["error"]["data"].clone();
        assert_eq!((refused.status, refused.reason().as_str(), executed(&refused).as_str()), (200, "upstream.unavailable", "no"));
        assert_eq!(data["retry"], "after");
        assert!(data["retry_after_ms"].as_u64().is_some_and(|ms| (1..=60_000).contains(&ms)), "{data}");
    }
    assert_eq!(raw.calls().len(), 3, "nothing is sent to a server that rests");
    assert_eq!(house.call("up", "echo").await.reason(), "", "another server answers as ever");
    let health = house.health().await;
    assert!(health["status"] == "degraded" && house.servers_told().await.contains("raw"), "{health}");
    until("the ledger holds it", || async { house.actions("server.breaker_opened").await.len() == 1 }).await;
    let event = house.actions("server.breaker_opened").await.remove(0);
    assert_eq!((event["kind"].as_str(), event["object"].as_str()), (Some("system"), Some("raw")));
}

#[tokio::test]
async fn one_call_tries_a_server_that_has_rested_and_brings_it_back() {
    let settings = SHORT.replace("60000", "400");
    let (house, raw) = (House::start(&settings).await, Raw::start().await);
    assert_eq!(house.add("raw", &raw.url(), json!({})).await.0, 200);
    raw.will(vec![Act::Hang; 3]);
    for _ in 0..3 {
        house.call("raw", "echo").await;
    }
    assert_eq!(house.show("raw").await["breaker"], "open");
    until("it is tried again and answers", || async { house.call("raw", "write_note").await.reason().is_empty() }).await;
    assert_eq!(house.show("raw").await["breaker"], "closed");
    until("the ledger holds it", || async { house.actions("server.breaker_closed").await.len() == 1 }).await;
    assert_eq!(house.health().await["status"], "ok");
}

#[tokio::test]
async fn nothing_that_a_client_does_opens_it() {
    let house = House::start(SHORT).await;
    for round in 0..12 {
        house.app.upstream.script(move |hit| {
            (hit.rpc() == "tools/call").then(|| {
                let id = hit.json()["id"].clone();
                let (code, body) = match round % 6 {
                    0 => (400, json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32602, "message": "no"}})),
                    1 => (404, json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "no"}})),
                    2 => (
                        200,
                        json!({"jsonrpc": "2.0", "id": id, "result": {"content": [], "isError": true, "resultType": "complete"}}),
                    ),
                    3 => (200, json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32603, "message": "boom"}})),
                    4 => (401, json!({})),
                    _ => (429, json!({})),
                };
                let mut answer = crate::support::upstream::json_answer(&body);
                *answer.status_mut() = http::StatusCode::from_u16(code).expect("a status");
                answer
            })
        });
        house.call("up", "echo").await;
    }
    assert_eq!(house.show("up").await["breaker"], "closed");
    house.app.upstream.script(|_| None);
    assert_eq!(house.call("up", "echo").await.reason(), "");
    assert!(house.actions("server.breaker_opened").await.is_empty());
}

#[tokio::test]
async fn flt_06_with_every_server_down_the_proxy_lives_names_them_and_idles() {
    if !alone("trust::breaker::flt_06_with_every_server_down_the_proxy_lives_names_them_and_idles") {
        return;
    }
    let settings = "[upstream]\nhealth_seconds = 1\nbreaker_failures = 3\nbreaker_rest_ms = 1000\n";
    let (authority, house) = (Authority::new(), House::start(settings).await);
    let identity = authority.issue("localhost");
    let sites = [Site::start(tls13(&identity)).await, Site::start(tls13(&identity)).await];
    for (name, site) in ["one", "two"].iter().zip(&sites) {
        assert_eq!(house.add(name, &site.url(), json!({"ca": authority.pem})).await.0, 200);
    }
    house.app.api("POST", "/api/v1/servers/up/remove", json!({})).await;
    sites.iter().for_each(Site::stop);
    until("the looks find both down", || async {
        let told = house.servers_told().await;
        told.contains("one is down") && told.contains("two is down")
    })
    .await;
    assert_eq!(house.health().await["status"], "degraded");
    for name in ["one", "two"] {
        for _ in 0..4 {
            let refused = house.call(name, "write_note").await;
            assert_eq!(
                (refused.status, refused.reason().as_str(), executed(&refused).as_str()),
                (200, "upstream.unavailable", "no")
            );
        }
    }
    assert_eq!(house.app.bare("GET", "/ready", &[], b"").await.status, 200, "it serves, whatever stands behind it");
    let before = cpu_ms();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let used = cpu_ms() - before;
    assert!(used < 600, "{used} ms of CPU in 3 s with nothing to do");
    // Both come back by themselves, without a call.
    sites.iter().for_each(|site| site.restart(tls13(&identity)));
    until("both are up again", || async { house.health().await["status"] == "ok" }).await;
    for name in ["one", "two"] {
        let shown: Value = house.show(name).await;
        assert_eq!((shown["state"].as_str(), shown["breaker"].as_str()), (Some("up"), Some("closed")), "{shown}");
        assert_eq!(house.call(name, "echo").await.reason(), "");
    }
}

/// Time this process has spent on a processor.
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("procfs");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    // Fields 14 and 15 of proc(5), in ticks of 10 ms.
    fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number") * 10).sum()
}
