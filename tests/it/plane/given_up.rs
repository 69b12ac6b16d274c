//! Calls of the legacy era that their client gives up by `notifications/cancelled`: whatever the server makes of it, they end.

use http_body_util::BodyExt;
use hyper::body::Incoming;
use lifeboat::audit::Event;
use serde_json::{Value, json};

use super::questions::{Talking, event};
use super::rig::{Rig, Script, piece, tool, until};
use lifeboat::policy::Mode;

fn cancelled(id: Value) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id, "reason": "enough"}})
}

async fn called(rig: &Rig, session: &str, kid: &str) -> Incoming {
    rig.client.request(rig.post_in(session, kid, &tool("put"))).await.expect("a head").into_body()
}

async fn give_up(rig: &Rig, session: &str, kid: &str) {
    assert_eq!(rig.send(rig.post_in(session, kid, &cancelled(json!(7)))).await.status, 202);
}

async fn outcome(rig: &Rig) -> Event {
    let is_outcome = |event: &Event| event.kind == "call.outcome";
    until("the outcome is recorded", || rig.events().iter().any(is_outcome)).await;
    rig.events().into_iter().find(is_outcome).expect("recorded")
}

#[tokio::test]
async fn a_call_that_was_given_up_ends_although_its_server_says_nothing() {
    for begins in [true, false] {
        let (server, speak) = Talking::with(&["put"]);
        let is_call = |body: &[u8]| body.windows(10).any(|part| part == b"tools/call");
        let rig =
            Rig::start(move |request| if !begins && is_call(&request.body) { Script::Hang } else { server.answer(request) }).await;
        let session = rig.session("abcdefgh").await;
        let (client, request) = (rig.client.clone(), rig.post_in(&session, "abcdefgh", &tool("put")));
        let call = tokio::spawn(async move { client.request(request).await.expect("a head") });
        until("the call is in flight", || rig.seen_of("tools/call").len() == 1 && rig.feed.in_flight(None) == 1).await;
        give_up(&rig, &session, "abcdefgh").await;
        let response = call.await.expect("joined");
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"text/event-stream".parse().expect("a value"))
        );
        let body = response.into_body().collect().await.expect("it ends").to_bytes();
        assert!(body.is_empty(), "a call that was given up has no answer: {body:?}");
        let outcome = outcome(&rig).await;
        assert_eq!((outcome.status.as_deref(), outcome.executed.as_deref()), (Some("cancelled"), Some("unknown")));
        assert_eq!(outcome.decision.as_deref(), Some("permit"));
        assert_eq!(rig.feed.in_flight(None), 0, "its place is free");
        assert_eq!(rig.seen_of("notifications/cancelled").len(), 1, "the server heard what the client said, and no more");
        drop(speak);
    }
}

#[tokio::test]
async fn pit_16_only_the_call_that_is_named_in_its_own_session_is_given_up() {
    let (server, speak) = Talking::with(&["put"]);
    let rig = Rig::start(move |request| server.answer(request)).await;
    let (session, second, foreign) = (rig.session("abcdefgh").await, rig.session("abcdefgh").await, rig.session("otherkey").await);
    let mut body = called(&rig, &session, "abcdefgh").await;
    give_up(&rig, &second, "abcdefgh").await;
    give_up(&rig, &foreign, "otherkey").await;
    for id in [json!("7"), json!(8)] {
        assert_eq!(rig.send(rig.post_in(&session, "abcdefgh", &cancelled(id))).await.status, 202);
    }
    // Longer than a call that was given up may last.
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    let answer = event(&json!({"jsonrpc": "2.0", "id": 7, "result": {"content": []}}));
    speak["put"].send(answer.clone()).await.expect("sent");
    assert_eq!(piece(&mut body).await, String::from_utf8_lossy(&answer));
    assert_eq!(outcome(&rig).await.status.as_deref(), Some("ok"));
}

#[tokio::test]
async fn the_servers_last_word_on_a_call_that_was_given_up_still_counts() {
    let error = json!({"jsonrpc": "2.0", "id": 7, "error": {"code": 0, "message": "Request cancelled"}});
    let result = json!({"jsonrpc": "2.0", "id": 7, "result": {"content": []}});
    for (last, status, executed) in
        [(Some(error), "cancelled", "unknown"), (Some(result), "ok", "yes"), (None, "cancelled", "unknown")]
    {
        let (server, mut speak) = Talking::with(&["put"]);
        let rig = Rig::start(move |request| server.answer(request)).await;
        let session = rig.session("abcdefgh").await;
        let mut body = called(&rig, &session, "abcdefgh").await;
        give_up(&rig, &session, "abcdefgh").await;
        match &last {
            Some(message) => speak["put"].send(event(message)).await.expect("sent"),
            None => drop(speak.remove("put")),
        }
        let due = last.map_or_else(String::new, |message| String::from_utf8_lossy(&event(&message)).into_owned());
        assert_eq!(piece(&mut body).await, due);
        let outcome = outcome(&rig).await;
        assert_eq!((outcome.status.as_deref(), outcome.executed.as_deref()), (Some(status), Some(executed)));
    }
}

#[tokio::test]
async fn pit_17_a_client_that_gives_a_call_up_and_leaves_has_cancelled_it() {
    // Some close their stream first and say so afterwards.
    for leaves_first in [false, true] {
        let (server, _speak) = Talking::with(&["put"]);
        let rig = Rig::start(move |request| server.answer(request)).await;
        let session = rig.session("abcdefgh").await;
        let mut body = Some(called(&rig, &session, "abcdefgh").await);
        if leaves_first {
            drop(body.take());
            until("its leaving is noticed", || rig.feed.in_flight(None) == 0).await;
        }
        give_up(&rig, &session, "abcdefgh").await;
        drop(body);
        assert_eq!(outcome(&rig).await.status.as_deref(), Some("cancelled"), "leaves first: {leaves_first}");
    }
}

#[tokio::test]
async fn pit_27_a_stop_cuts_the_call_of_a_client_that_has_just_left() {
    let (server, _speak) = Talking::with(&["put"]);
    let rig = Rig::start(move |request| server.answer(request)).await;
    let session = rig.session("abcdefgh").await;
    drop(called(&rig, &session, "abcdefgh").await);
    until("its leaving is noticed", || rig.feed.in_flight(None) == 0).await;
    rig.engage(Mode::Full);
    assert_eq!(outcome(&rig).await.status.as_deref(), Some("cut"));
    until("the server is told", || rig.seen_of("notifications/cancelled").len() == 1).await;
}
