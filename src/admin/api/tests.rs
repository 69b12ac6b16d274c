//! Cases of the API over the control socket: token, account, documents, streams.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::{router, socket};
use crate::admin::tests_house::{House, root};
use crate::admin::vaults;
use crate::audit::Event;
use crate::crypto::archive::Ephemeral;

async fn serve(house: &House) -> String {
    let open = socket::open(&house.admin).unwrap();
    tokio::spawn(socket::serve(open, router().with_state(house.admin.clone()), house.stop.clone()));
    std::fs::read_to_string(house.admin.data.socket_token()).unwrap()
}

/// Asks for an archive, and goes away once it is being made, before the answer.
async fn ask_and_go(house: &House, token: &str, path: &str, body: &'static str) {
    let stream = UnixStream::connect(house.admin.data.socket()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::post(path).header("host", "x").header(socket::TOKEN_HEADER, token);
    let asked = sender.send_request(request.body(Full::new(bytes::Bytes::from(body))).unwrap());
    let mut asked = std::pin::pin!(asked);
    let (archives, until) = (house.admin.data.root().join("archives"), Instant::now() + Duration::from_secs(60));
    let begun = || std::fs::read_dir(&archives).is_ok_and(|mut entries| entries.next().is_some());
    while !begun() {
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut asked).await.is_err(), "it was answered at once");
        assert!(Instant::now() < until, "it was never begun");
    }
    connection.abort();
}

async fn ask(house: &House, token: &str, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
    let stream = UnixStream::connect(house.admin.data.socket()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", "x").header(socket::TOKEN_HEADER, token);
    let answer = sender.send_request(request.body(Full::new(bytes::Bytes::from(body.to_owned()))).unwrap()).await.unwrap();
    let status = answer.status();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    // A stream of JSON lines is looked at by its first one; a document is one line.
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    (status, serde_json::from_slice(first).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_wants_its_token_and_names_the_account() {
    let house = House::open().await;
    house.listen("proxy").await;
    let token = serve(&house).await;
    for path in [house.admin.data.socket(), house.admin.data.socket_token()] {
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    for wrong in ["", "x", &token[1..]] {
        let (status, body) = ask(&house, wrong, "GET", "/api/v1/status", "").await;
        assert_eq!((status, body["error"]["kind"].as_str()), (StatusCode::UNAUTHORIZED, Some("denied")));
    }
    let (status, body) = ask(&house, &token, "GET", "/api/v1/status", "").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((body["kill"]["engaged"].as_bool(), body["servers"][0]["name"].as_str()), (Some(false), Some("demo")));
    let (_, engaged) = ask(&house, &token, "POST", "/api/v1/kill/engage", r#"{"reason":"test"}"#).await;
    assert_eq!(engaged["effective"], Value::Bool(true), "{engaged}");
    assert!(engaged["by"].as_str().unwrap().starts_with("local:"));
    let (_, kill) = ask(&house, &token, "GET", "/api/v1/kill", "").await;
    assert_eq!((kill["engaged"].as_bool(), kill["states"][0]["scope"].as_str()), (Some(true), Some("everything")));
    let (status, body) = ask(&house, &token, "POST", "/api/v1/kill/release", "{}").await;
    assert_eq!((status, body["error"]["where"].as_str()), (StatusCode::BAD_REQUEST, Some("reason")));
    let (status, _) = ask(&house, &token, "POST", "/api/v1/kill/release", r#"{"reason":"over"}"#).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_the_same_document() {
    let house = House::open().await;
    let token = serve(&house).await;
    let kind = async |method: &str, path: &str, body: &str| {
        let (status, answer) = ask(&house, &token, method, path, body).await;
        (status.as_u16(), answer["error"]["kind"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(kind("GET", "/api/v1/nothing", "").await, (404, "not_found".into()));
    assert_eq!(kind("GET", "/api/v1/clients/ghost", "").await, (404, "not_found".into()));
    assert_eq!(kind("POST", "/api/v1/clients", "{not json").await, (400, "invalid".into()));
    assert_eq!(kind("POST", "/api/v1/clients", r#"{"name":"a","roles":["demo"],"extra":1}"#).await, (400, "invalid".into()));
    assert_eq!(kind("GET", "/api/v1/audit?limit=x", "").await, (400, "invalid".into()));
    assert_eq!(kind("POST", "/api/v1/kill/engage", r#"{"server":"a","client":"b"}"#).await, (400, "invalid".into()));
    assert_eq!(kind("POST", "/api/v1/kill/engage", r#"{"server":"ghost"}"#).await, (404, "not_found".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_is_read_through_the_api() {
    let house = House::open().await;
    let token = serve(&house).await;
    let (status, made) = ask(&house, &token, "POST", "/api/v1/clients", r#"{"name":"ci","roles":["demo"]}"#).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    assert!(made["key"].as_str().unwrap().starts_with("lbk_") && made["expires_at"].is_null());
    let (_, page) = ask(&house, &token, "GET", "/api/v1/audit?kind=operator.action&limit=5", "").await;
    let newest: Event = serde_json::from_value(page["events"][0].clone()).unwrap();
    assert_eq!((newest.action.as_deref(), newest.object.as_deref()), (Some("client.add"), Some("ci")));
    assert!(!page.to_string().contains(made["key"].as_str().unwrap()));
    let (_, report) = ask(&house, &token, "GET", "/api/v1/audit/verify", "").await;
    assert_eq!(report["ok"], Value::Bool(true), "{report}");
    let (_, explained) = ask(&house, &token, "GET", "/api/v1/policy/explain?client=ci&tool=demo/add", "").await;
    assert_eq!(explained["decision"], "permit");
    let (_, first) = ask(&house, &token, "GET", "/api/v1/audit/export?kind=operator.action&limit=1", "").await;
    assert_eq!(first["kind"], "operator.action");
    let (_, overview) = ask(&house, &token, "GET", "/api/v1/overview", "").await;
    assert!(overview["needs"].as_array().unwrap().iter().any(|need| need["id"] == "kill.never_proved"), "{overview}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_whose_caller_went_away_is_done_to_its_end_and_one_that_vanished_is_told() {
    let house = House::open().await;
    let token = serve(&house).await;
    let first = Ephemeral::generate();
    let added = vaults::AddRecipient { name: "first".into(), recipient: first.recipient() };
    vaults::add_recipient(&house.admin, &root(), added).await.unwrap();
    ask_and_go(&house, &token, "/api/v1/backup", r#"{"vault":"lifeboat"}"#).await;
    let until = Instant::now() + Duration::from_secs(60);
    // The identity that opens it is kept after everything else.
    while vaults::rolling(&house.admin).await.unwrap().is_empty() {
        assert!(Instant::now() < until, "nothing was kept of it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (_, listed) = ask(&house, &token, "GET", "/api/v1/archives", "").await;
    assert_eq!(listed["archives"].as_array().map(Vec::len), Some(1), "{listed}");
    let (_, checked) = ask(&house, &token, "POST", "/api/v1/archives/verify", "").await;
    assert_eq!((&checked["ok"], &checked["opened"]), (&Value::Bool(true), &Value::from(1)), "{checked}");
    std::fs::remove_dir_all(house.admin.data.root().join("archives/lifeboat")).unwrap();
    let (_, checked) = ask(&house, &token, "POST", "/api/v1/archives/verify", "").await;
    assert_eq!(checked["ok"], Value::Bool(false), "{checked}");
    assert!(checked["faults"].to_string().contains("is gone, and nobody signed that"), "{checked}");
}
