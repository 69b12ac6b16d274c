//! An MCP client of the drill: over TLS 1.3 to the rebuilt proxy, as any client comes, with the rebuilt CA as its only root. Never reuses a
//! connection, and never calls another host.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;
use crate::crypto::tls::{Roots, client_config};

const PATIENCE: Duration = Duration::from_secs(30);
const ANSWER_CAP: usize = 16 * 1024 * 1024;
const LEGACY: &str = "2025-11-25";
const MODERN: &str = "2026-07-28";

/// Where the rebuilt proxy is, and how to know it.
#[derive(Clone)]
pub(super) struct Target {
    address: SocketAddr,
    host: String,
    tls: Arc<ClientConfig>,
}

/// One client and its server.
pub(super) struct Client {
    target: Target,
    server: String,
    key: Option<Secret<String>>,
    session: Option<String>,
    era: &'static str,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// The JSON-RPC message; null when there is none.
    pub body: Value,
    headers: HeaderMap,
}

impl Answer {
    /// `data.reason` of a refusal.
    pub(super) fn reason(&self) -> &str {
        self.body["error"]["data"]["reason"].as_str().unwrap_or_default()
    }

    /// In one line.
    pub(super) fn brief(&self) -> String {
        let error = &self.body["error"]["message"];
        if error.is_null() { self.status.to_string() } else { format!("{}: {}", self.status, error.as_str().unwrap_or_default()) }
    }
}

impl Target {
    /// Reaches the proxy at `address`, whose certificate is for `host` and signed by `ca`.
    ///
    /// # Errors
    /// When the CA is no certificate.
    pub(super) fn new(address: SocketAddr, host: &str, ca: Vec<u8>) -> Verb<Self> {
        Ok(Self { address, host: host.to_owned(), tls: client_config(&Roots::Pem(ca), &[], &["http/1.1"])? })
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Verb<Answer> {
        let failed = |why: String| Fault::unavailable(format!("the rebuilt proxy does not answer: {why}"));
        let sent = async {
            let tcp = TcpStream::connect(self.address).await.map_err(|e| failed(e.to_string()))?;
            let name = ServerName::try_from(self.host.clone()).map_err(|e| failed(e.to_string()))?;
            let stream = TlsConnector::from(self.tls.clone()).connect(name, tcp).await.map_err(|e| failed(e.to_string()))?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(e.to_string()))?;
            let driving = tokio::spawn(connection);
            let response = sender.send_request(request).await.map_err(|e| failed(e.to_string()))?;
            let (parts, body) = response.into_parts();
            let bytes = Limited::new(body, ANSWER_CAP).collect().await.map_err(|e| failed(e.to_string()))?.to_bytes();
            driving.abort();
            Ok(Answer { status: parts.status, body: message(&bytes), headers: parts.headers })
        };
        tokio::time::timeout(PATIENCE, sent).await.map_err(|_| failed("no answer in 30 s".to_owned()))?
    }
}

/// The last message of an event stream, or the one of a plain body.
fn message(bytes: &[u8]) -> Value {
    if let Ok(value) = serde_json::from_slice(bytes) {
        return value;
    }
    let text = String::from_utf8_lossy(bytes);
    let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
    data.filter_map(|line| serde_json::from_str::<Value>(line.trim()).ok())
        .rfind(|value| value.get("result").is_some() || value.get("error").is_some())
        .unwrap_or(Value::Null)
}

impl Client {
    /// A client of one server; without a key a stranger.
    pub(super) fn new(target: &Target, server: &str, key: Option<Secret<String>>) -> Self {
        Self { target: target.clone(), server: server.to_owned(), key, session: None, era: LEGACY }
    }

    /// A client that needs no beginning: what is refused before it reaches the server is refused whatever the server is.
    pub(super) fn plain(target: &Target, server: &str, key: Option<Secret<String>>) -> Self {
        Self { era: MODERN, ..Self::new(target, server, key) }
    }

    /// Begins: a session where the server keeps one, else the modern era.
    ///
    /// # Errors
    /// When neither is answered.
    pub(super) async fn initialize(&mut self) -> Verb<String> {
        let hello =
            json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "lifeboat-drill", "version": "1"}});
        let answer = self.ask("initialize", hello).await?;
        if let Some(version) = answer.body["result"]["protocolVersion"].as_str() {
            let session = answer.headers.get("mcp-session-id").and_then(|value| value.to_str().ok());
            self.session = session.map(str::to_owned);
            let version = version.to_owned();
            self.post(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}), None).await?;
            return Ok(version);
        }
        self.era = MODERN;
        let answer = self.ask("server/discover", json!({})).await?;
        if answer.body["result"].is_object() {
            return Ok(MODERN.to_owned());
        }
        Err(Fault::unavailable(format!("{} does not begin: {}", self.server, answer.brief())))
    }

    /// Names of its tools.
    ///
    /// # Errors
    /// When it does not list them.
    pub(super) async fn tools(&self) -> Verb<Vec<Value>> {
        let answer = self.ask("tools/list", json!({})).await?;
        let tools = answer.body["result"]["tools"].as_array().cloned();
        tools.ok_or_else(|| Fault::unavailable(format!("{} lists no tools: {}", self.server, answer.brief())))
    }

    /// Calls a tool without arguments.
    ///
    /// # Errors
    /// When the proxy does not answer at all.
    pub(super) async fn call(&self, tool: &str) -> Verb<Answer> {
        self.call_with(tool, json!({})).await
    }

    /// Calls a tool.
    ///
    /// # Errors
    /// When the proxy does not answer at all.
    pub(super) async fn call_with(&self, tool: &str, arguments: Value) -> Verb<Answer> {
        self.ask("tools/call", json!({"name": tool, "arguments": arguments})).await
    }

    async fn ask(&self, method: &str, mut params: Value) -> Verb<Answer> {
        if self.era == MODERN {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientInfo": {"name": "lifeboat-drill", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            });
        }
        let name = params["name"].as_str().map(str::to_owned);
        self.post(json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}), name.as_deref()).await
    }

    async fn post(&self, body: Value, name: Option<&str>) -> Verb<Answer> {
        let host = if self.target.host.contains(':') { format!("[{}]", self.target.host) } else { self.target.host.clone() };
        let mut request = Request::post(format!("/mcp/{}", self.server))
            .header("host", format!("{host}:{}", self.target.address.port()))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", self.era);
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {}", key.reveal()));
        }
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
        }
        if self.era == MODERN {
            request = request.header("mcp-method", body["method"].as_str().unwrap_or_default());
            if let Some(name) = name {
                request = request.header("mcp-name", name);
            }
        }
        let request = request.body(Full::new(Bytes::from(body.to_string())));
        self.target.send(request.map_err(|e| Fault::bug("a request that cannot be built").because(e))?).await
    }
}
