//! Looks at servers: one conversation each, in the server's own era, and back by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::{Method, StatusCode};
use serde_json::json;

use super::{House, until};
use crate::support::upstream::{Upstream, bytes_answer, json_answer, status};

const OFTEN: &str = "[upstream]\nhealth_seconds = 1\n";

#[tokio::test]
async fn pit_21_a_modern_server_is_asked_in_its_own_era_and_given_no_session() {
    let house = House::start(OFTEN).await;
    until("three looks", || async { house.app.upstream.looks("server/discover") >= 3 }).await;
    assert_eq!((house.app.upstream.looks("initialize"), house.app.upstream.looks("ping")), (0, 0));
    assert_eq!(house.show("up").await["state"], "up");
}

#[tokio::test]
async fn pit_21_a_legacy_server_is_pinged_within_one_session_for_ever() {
    let house = House::start(OFTEN).await;
    let server = Legacy::start().await;
    let (code, added) = house.add("old", &server.upstream.url(), json!({})).await;
    assert_eq!(code, 200, "{added}");
    let probed = server.sessions.load(Ordering::Relaxed);
    until("five pings", || async { server.upstream.looks("ping") >= 5 }).await;
    assert_eq!(server.sessions.load(Ordering::Relaxed) - probed, 1, "one session, however many looks");
    assert_eq!(house.show("old").await["state"], "up");

    // A server that was started anew has forgotten it: one more, and only one.
    server.forgets.store(true, Ordering::Relaxed);
    let pings = server.upstream.looks("ping");
    until("five more pings", || async { server.upstream.looks("ping") >= pings + 5 }).await;
    assert_eq!(server.sessions.load(Ordering::Relaxed) - probed, 2);
    assert_eq!((house.show("old").await["state"].clone(), house.health().await["status"].clone()), (json!("up"), json!("ok")));

    // Its session ends with it.
    house.app.api("POST", "/api/v1/servers/old/remove", json!({})).await;
    until("the session is given back", || async { server.upstream.hits().iter().any(|hit| hit.method == Method::DELETE) }).await;
}

#[tokio::test]
async fn a_server_that_answers_badly_is_down_with_the_reason_and_comes_back_by_itself() {
    let house = House::start(OFTEN).await;
    for (code, told) in [(500, "HTTP 500"), (401, "credential"), (302, "redirects")] {
        house.app.upstream.script(move |_| Some(status(StatusCode::from_u16(code).expect("a status"))));
        until("it is seen down", || async { house.servers_told().await.contains(told) }).await;
        assert_eq!(house.health().await["status"], "degraded");
    }
    house.app.upstream.script(|_| None);
    until("it is seen up", || async { house.health().await["status"] == "ok" }).await;
}

#[tokio::test]
async fn a_server_that_a_call_finds_down_is_looked_at_soon_whatever_the_interval() {
    let house = House::start("[upstream]\nhealth_seconds = 3600\nbreaker_failures = 3\nbreaker_rest_ms = 3600000\n").await;
    let authority = super::site::Authority::new();
    let identity = authority.issue("localhost");
    let site = super::site::Site::start(super::site::tls13(&identity)).await;
    assert_eq!(house.add("far", &site.url(), json!({"ca": authority.pem})).await.0, 200);
    assert_eq!(house.call("far", "echo").await.reason(), "");
    site.stop();
    for _ in 0..4 {
        assert_eq!(house.call("far", "write_note").await.reason(), "upstream.unavailable");
    }
    assert_eq!(house.show("far").await["breaker"], "open");
    site.restart(super::site::tls13(&identity));
    until("it is found back", || async { house.show("far").await["breaker"] == "closed" }).await;
    assert_eq!(house.call("far", "write_note").await.reason(), "");
}

/// A server of the era with sessions, which counts them.
struct Legacy {
    upstream: Upstream,
    sessions: Arc<AtomicUsize>,
    forgets: Arc<AtomicBool>,
}

impl Legacy {
    async fn start() -> Self {
        let legacy = Self { upstream: Upstream::start().await, sessions: Arc::default(), forgets: Arc::default() };
        let (sessions, forgets) = (legacy.sessions.clone(), legacy.forgets.clone());
        legacy.upstream.script(move |hit| {
            if hit.method == Method::DELETE {
                return Some(status(StatusCode::OK));
            }
            let id = hit.json()["id"].clone();
            match hit.rpc().as_str() {
                "server/discover" => {
                    let text = json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32000, "message": "Bad Request: No valid session ID provided"}});
                    let mut answer = bytes_answer("application/json", text.to_string().into_bytes());
                    *answer.status_mut() = StatusCode::BAD_REQUEST;
                    Some(answer)
                }
                "initialize" => {
                    let number = sessions.fetch_add(1, Ordering::Relaxed);
                    let result = json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "old", "version": "1"}});
                    let mut answer = json_answer(&json!({"jsonrpc": "2.0", "id": id, "result": result}));
                    answer.headers_mut().insert("mcp-session-id", format!("s-{number}").parse().expect("a value"));
                    Some(answer)
                }
                "ping" if forgets.swap(false, Ordering::Relaxed) => Some(status(StatusCode::NOT_FOUND)),
                _ if !hit.headers.contains_key("mcp-session-id") => Some(status(StatusCode::BAD_REQUEST)),
                _ => None,
            }
        });
        legacy
    }
}
