//! A proxy with one client, one scripted server and a ledger in memory.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use lifeboat::audit::strangers::Strangers;
use lifeboat::audit::{Event, LedgerUnavailable, Recorded, Recorder};
use lifeboat::base::clock::{SystemClock, Timestamp};
use lifeboat::config::Desired;
use lifeboat::crypto::random::SystemEntropy;
use lifeboat::policy::feed::Feed;
use lifeboat::policy::snapshot::{KeyEntry, Revision, ServerSecrets};
use lifeboat::policy::{KillEntry, KillOverlay, Mode, Scope, Snapshot};
use lifeboat::proxy::connection::{Door, Ends};
use lifeboat::proxy::{Health, Proxy, ProxyParts};
use rustls::RootCertStore;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::scripted::serve_script;
pub(super) use super::scripted::{Script, Seen, json_answer};

pub(super) const KEY: &str = "lbk_abcdefgh_secretsecretsecretsecretsecretsecretsecretsecret_check1";

pub(super) struct Rig {
    pub(super) address: SocketAddr,
    pub(super) feed: Arc<Feed>,
    pub(super) seen: Arc<Mutex<Vec<Seen>>>,
    pub(super) ledger: Arc<Mutex<Vec<Event>>>,
    pub(super) ledger_full: Arc<Mutex<bool>>,
    pub(super) strangers: Arc<Strangers>,
    pub(super) client: Client<hyper_rustls::HttpsConnector<HttpConnector>, Full<Bytes>>,
    pub(super) upstream: SocketAddr,
    plane: Proxy,
    stop: CancellationToken,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A read response.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub(super) fn reason(&self) -> Value {
        self.json()["error"]["data"]["reason"].clone()
    }
}

impl Rig {
    pub(super) async fn start(script: impl Fn(&Seen) -> Script + Send + Sync + 'static) -> Self {
        Self::with(script, "").await
    }

    /// `settings` is the text of `lifeboat.toml`.
    pub(super) async fn with(script: impl Fn(&Seen) -> Script + Send + Sync + 'static, settings: &str) -> Self {
        Self::before(script, settings, None).await
    }

    /// With a stdio server: `upstream` is its part of `servers/s.toml`.
    pub(super) async fn stdio(upstream: &str, data: &std::path::Path) -> Self {
        Self::before(|_| Script::Hang, "", Some((upstream, data))).await
    }

    async fn before(
        script: impl Fn(&Seen) -> Script + Send + Sync + 'static,
        settings: &str,
        stdio: Option<(&str, &std::path::Path)>,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let upstream = serve_script(Arc::new(script), seen.clone()).await;
        let http = format!("[upstream.http]\nurl = \"http://{upstream}/mcp\"\nplain_loopback = true\n");
        let server = stdio.map_or(http, |(server, _)| server.to_owned());
        let (feed, probes) = Feed::new(snapshot(&server, settings), KillOverlay::default());
        let strangers = Arc::new(Strangers::default());
        let (recorder, entries) = Recorder::new(strangers.clone(), tokio::sync::watch::channel(None).1);
        let (ledger, ledger_full) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(false)));
        tokio::spawn(keep(entries, ledger.clone(), ledger_full.clone()));
        let stop = CancellationToken::new();
        let parts = ProxyParts {
            feed: feed.clone(),
            recorder,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            data: stdio.map_or("/nonexistent".into(), |(_, data)| data.to_owned()),
            exe: stdio.map_or("/nonexistent", |_| env!("CARGO_BIN_EXE_lifeboat")).into(),
            health: Arc::new(|| Health::Ok),
            drain: stop.clone(),
            stop: stop.clone(),
        };
        let proxy = Proxy::new(parts, probes);
        let plane = proxy.clone();
        let (server, roots) = certificates();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        tokio::spawn(proxy.serve(Door::tls(listener, server), None, Ends { drain: stop.clone(), cut: stop.clone() }));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).build(https);
        Self { address, feed, seen, ledger, ledger_full, strangers, client, upstream, plane, stop }
    }

    /// Stops it and waits until nothing of it is left.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.plane.drained(Duration::from_secs(10)).await;
    }

    pub(super) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(method).uri(format!("https://localhost:{}{path}", self.address.port()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::new(body.into())).expect("request")
    }

    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let response = self.client.request(request).await.expect("response");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("body").to_bytes();
        assert!(parts.headers["lifeboat-request-id"].to_str().expect("id").starts_with("req_"));
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// A legacy POST with the client's key.
    pub(super) fn post(&self, message: &str, more: &[(&str, &str)]) -> Request<Full<Bytes>> {
        let bearer = format!("Bearer {KEY}");
        let mut headers = vec![
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        headers.extend_from_slice(more);
        self.request("POST", "/mcp/s", &headers, message.to_owned())
    }

    /// Posts as whoever has this key id.
    pub(super) fn post_as(&self, kid: &str, message: &Value) -> Request<Full<Bytes>> {
        let mut request = self.post(&message.to_string(), &[]);
        request.headers_mut().insert("authorization", bearer(kid).parse().expect("a header"));
        request
    }

    /// Posts in a session as whoever has this key id.
    pub(super) fn post_in(&self, session: &str, kid: &str, message: &Value) -> Request<Full<Bytes>> {
        let mut request = self.post(&message.to_string(), &[("mcp-session-id", session)]);
        request.headers_mut().insert("authorization", bearer(kid).parse().expect("a header"));
        request
    }

    /// Opens the server's own stream of a session; with an event, resumes from it.
    pub(super) async fn listen(&self, session: &str, kid: &str, event: Option<&str>) -> Response<Incoming> {
        let bearer = bearer(kid);
        let mut headers = vec![("authorization", bearer.as_str()), ("accept", "text/event-stream"), ("mcp-session-id", session)];
        headers.extend(event.map(|event| ("last-event-id", event)));
        self.client.request(self.request("GET", "/mcp/s", &headers, "")).await.expect("a head")
    }

    /// A modern request.
    pub(super) async fn modern(&self, kid: &str, method: &str, name: Option<&str>, params: Value) -> Response<Incoming> {
        let (body, headers) = modern(method, name, 7, params);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut request = self.post(&body, &headers);
        request.headers_mut().insert("authorization", bearer(kid).parse().expect("a header"));
        self.client.request(request).await.expect("a head")
    }

    /// Begins a legacy session as whoever has this key id.
    pub(super) async fn session(&self, kid: &str) -> String {
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let mut request = self.post(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string(), &[]);
        request.headers_mut().insert("authorization", bearer(kid).parse().expect("a header"));
        self.send(request).await.headers["mcp-session-id"].to_str().expect("an id").to_owned()
    }

    pub(super) async fn call(&self, message: Value) -> Answer {
        self.send(self.post(&message.to_string(), &[])).await
    }

    pub(super) async fn tool(&self, name: &str) -> Answer {
        self.call(tool(name)).await
    }

    /// The requests of a JSON-RPC method that reached the server.
    pub(super) fn seen_of(&self, method: &str) -> Vec<Value> {
        let seen = self.seen.lock().expect("lock");
        let all = seen.iter().filter_map(|seen| serde_json::from_slice::<Value>(&seen.body).ok());
        all.filter(|message| message["method"] == method).collect()
    }

    pub(super) fn hits(&self) -> usize {
        self.seen.lock().expect("lock").len()
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.ledger.lock().expect("lock").clone()
    }

    pub(super) fn engage(&self, mode: Mode) {
        self.engage_at(Scope::Everything, mode);
    }

    pub(super) fn engage_at(&self, scope: Scope, mode: Mode) {
        let entry =
            KillEntry { decision_id: "kd_1".into(), scope, mode, since: Timestamp(0), by: "ana".into(), reason: "test".into() };
        self.feed.set_kill(self.feed.kill().engage(entry));
    }
}

/// The headers of a client with this key id.
pub(super) fn bearer(kid: &str) -> String {
    format!("Bearer {}", KEY.replace("abcdefgh", kid))
}

/// A modern request as the client `ci`, with what its headers must repeat.
pub(super) fn modern(method: &str, name: Option<&str>, id: impl Into<Value>, mut params: Value) -> (String, Vec<(String, String)>) {
    params["_meta"] =
        json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let body = json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": params}).to_string();
    let mut headers = vec![("mcp-protocol-version".into(), "2026-07-28".into()), ("mcp-method".into(), method.to_owned())];
    headers.extend(name.map(|name| ("mcp-name".to_owned(), name.to_owned())));
    (body, headers)
}

/// The next piece of a stream, as text; empty at its end.
pub(super) async fn piece(body: &mut Incoming) -> String {
    let frame = tokio::time::timeout(Duration::from_secs(5), body.frame()).await.expect("a piece in time");
    frame
        .map_or_else(String::new, |frame| String::from_utf8_lossy(&frame.expect("a frame").into_data().expect("data")).into_owned())
}

pub(super) fn tool(name: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": name, "arguments": {"text": "hunter2"}}})
}

/// Waits until `condition` holds. The limit is for a machine that has much else to do.
pub(super) async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..3_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not happen");
}

fn snapshot(upstream: &str, settings: &str) -> Snapshot {
    let mut desired = Desired { settings: toml::from_str(settings).expect("settings"), ..Desired::default() };
    let server = format!(
        "{upstream}\n[tools.look]\nclass = \"read\"\n[tools.put]\nclass = \"write\"\n[tools.drop]\nclass = \"destructive\""
    );
    desired.servers.insert("s".into(), toml::from_str(&server).expect("server"));
    let role = "[[grant]]\ntools = [\"s/*\"]\nclasses = [\"read\", \"write\"]";
    desired.roles.insert("r".into(), toml::from_str(role).expect("role"));
    desired.clients.insert("ci".into(), toml::from_str("roles = [\"r\"]").expect("client"));
    desired.clients.insert("other".into(), toml::from_str("roles = [\"r\"]").expect("client"));
    desired.roles.insert("n".into(), toml::from_str("[[grant]]\ntools = [\"s/look\"]\nclasses = [\"read\"]").expect("role"));
    desired.clients.insert("narrow".into(), toml::from_str("roles = [\"n\"]").expect("client"));
    desired.roles.insert("e".into(), toml::from_str("[[grant]]\ntools = [\"else/*\"]\nclasses = [\"read\"]").expect("role"));
    desired.clients.insert("outsider".into(), toml::from_str("roles = [\"e\"]").expect("client"));
    let key = |kid: &str, client: &str| KeyEntry {
        kid: kid.into(),
        client: client.into(),
        hash: Sha256::digest(KEY.replace("abcdefgh", kid).as_bytes()).into(),
        expires_at: None,
    };
    let mut expired = key("expiredk", "ci");
    expired.expires_at = Some(Timestamp(1));
    let keys =
        vec![key("abcdefgh", "ci"), key("otherkey", "other"), key("narrowke", "narrow"), key("outsider", "outsider"), expired];
    let headers = vec![("authorization".to_owned(), lifeboat::base::secret::Secret::new("Bearer upstream".to_owned()))];
    let secrets = ServerSecrets { approved: true, headers, ..ServerSecrets::default() };
    Snapshot::build(Revision::default(), &desired, keys, HashMap::from([("s".to_owned(), secrets)])).expect("snapshot")
}

async fn keep(mut entries: lifeboat::audit::recorder::Queue, ledger: Arc<Mutex<Vec<Event>>>, full: Arc<Mutex<bool>>) {
    while let Some(entry) = entries.recv().await {
        let answer = if *full.lock().expect("lock") {
            Err(LedgerUnavailable { why: "disk full".into() })
        } else {
            let mut ledger = ledger.lock().expect("lock");
            ledger.push(*entry.event);
            Ok(Recorded { seq: ledger.len() as u64 })
        };
        entry.done.send(answer);
    }
}

fn certificates() -> (Arc<rustls::ServerConfig>, RootCertStore) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("certificate");
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut server = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("server");
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (Arc::new(server), roots)
}
