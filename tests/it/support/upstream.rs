//! A scripted MCP server over plain HTTP on loopback: it counts and keeps what reaches it, and answers what a test tells it to.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    pub method: Method,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Hit {
    /// The body as JSON; null when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The JSON-RPC method.
    pub(crate) fn rpc(&self) -> String {
        self.json()["method"].as_str().unwrap_or_default().to_owned()
    }
}

/// What a scripted server answers.
pub(crate) type Answer = Response<BoxBody<Bytes, Infallible>>;

type Script = dyn Fn(&Hit) -> Option<Answer> + Send + Sync;

/// The running server.
#[derive(Clone)]
pub(crate) struct Upstream {
    pub address: SocketAddr,
    hits: Arc<Mutex<Vec<Hit>>>,
    looks: Arc<Mutex<Vec<Hit>>>,
    script: Arc<Mutex<Arc<Script>>>,
}

impl Upstream {
    /// Starts on a free port.
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let nothing: Arc<Script> = Arc::new(|_: &Hit| None);
        let (hits, looks) = (Arc::default(), Arc::default());
        let upstream = Self { address: listener.local_addr().expect("bound"), hits, looks, script: Arc::new(Mutex::new(nothing)) };
        let served = upstream.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let served = served.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| served.clone().serve(request));
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        upstream
    }

    /// `http://127.0.0.1:PORT/mcp`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Answers by this script from now on; `None` from it means the usual answer.
    pub(crate) fn script(&self, script: impl Fn(&Hit) -> Option<Answer> + Send + Sync + 'static) {
        *self.script.lock().expect("not poisoned") = Arc::new(script);
    }

    /// Every request so far.
    pub(crate) fn hits(&self) -> Vec<Hit> {
        self.hits.lock().expect("not poisoned").clone()
    }

    /// How many requests of a JSON-RPC method came.
    pub(crate) fn count(&self, method: &str) -> usize {
        self.hits().iter().filter(|hit| hit.rpc() == method).count()
    }

    /// How many requests of a JSON-RPC method the proxy's own looks made.
    pub(crate) fn looks(&self, method: &str) -> usize {
        self.looks.lock().expect("not poisoned").iter().filter(|hit| hit.rpc() == method).count()
    }

    /// Forgets what came.
    pub(crate) fn forget(&self) {
        self.hits.lock().expect("not poisoned").clear();
    }

    pub(crate) async fn serve(self, request: http::Request<hyper::body::Incoming>) -> Result<Answer, Infallible> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(|all| all.to_bytes()).unwrap_or_default();
        let hit = Hit { method: parts.method, headers: parts.headers, body };
        // The proxy's own looks are no hits of a test's clients.
        let kept = if hit.json()["id"] == "lifeboat-health" { &self.looks } else { &self.hits };
        kept.lock().expect("not poisoned").push(hit.clone());
        let script = self.script.lock().expect("not poisoned").clone();
        Ok(script(&hit).unwrap_or_else(|| usual(&hit)))
    }
}

/// The tools of the scripted server.
pub(crate) fn tools() -> Value {
    json!([
        {"name": "echo", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": true}},
        {"name": "write_note", "inputSchema": {"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"}, "n": {"type": "number", "x-mcp-header": "N"}}}, "annotations": {"readOnlyHint": false, "destructiveHint": false}},
        {"name": "wipe", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": false, "destructiveHint": true}},
        {"name": "plain", "inputSchema": {"type": "object"}}
    ])
}

fn usual(hit: &Hit) -> Answer {
    if hit.method != Method::POST {
        return status(StatusCode::METHOD_NOT_ALLOWED);
    }
    if hit.rpc().starts_with("notifications/") {
        return status(StatusCode::ACCEPTED);
    }
    bytes_answer("application/json", usual_text(&hit.json()).into_bytes())
}

/// The usual answer to a request, as JSON.
pub(crate) fn usual_text(request: &Value) -> String {
    let result = match request["method"].as_str().unwrap_or_default() {
        "initialize" => json!({"protocolVersion": request["params"]["protocolVersion"], "capabilities": {"tools": {}},
            "serverInfo": {"name": "scripted", "version": "1"}}),
        "server/discover" => json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
            "serverInfo": {"name": "scripted", "version": "1"}, "resultType": "complete", "ttlMs": 1000, "cacheScope": "private"}),
        "tools/list" => json!({"tools": tools(), "resultType": "complete", "ttlMs": 60000, "cacheScope": "public"}),
        "ping" => json!({}),
        _ => json!({"content": [{"type": "text", "text": "done"}], "resultType": "complete"}),
    };
    json!({"jsonrpc": "2.0", "id": request["id"], "result": result}).to_string()
}

/// An answer without a body.
pub(crate) fn status(status: StatusCode) -> Answer {
    Response::builder().status(status).body(Full::default().boxed()).expect("an answer")
}

/// 200 with JSON.
pub(crate) fn json_answer(value: &Value) -> Answer {
    bytes_answer("application/json", value.to_string().into_bytes())
}

/// 200 with these bytes.
pub(crate) fn bytes_answer(content_type: &str, body: Vec<u8>) -> Answer {
    Response::builder().header("content-type", content_type).body(Full::new(Bytes::from(body)).boxed()).expect("an answer")
}

/// 200 with events that come one after the other, each after its pause in milliseconds; with `None` at the end the stream stays open.
pub(crate) fn sse_answer(events: Vec<(u64, String)>, stays_open: bool) -> Answer {
    let parts = stream::unfold((events.into_iter(), stays_open), |(mut events, stays_open)| async move {
        match events.next() {
            Some((pause, text)) => {
                tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
                Some((Ok(Frame::data(Bytes::from(text))), (events, stays_open)))
            }
            None if stays_open => std::future::pending().await,
            None => None,
        }
    });
    let body = BodyExt::boxed(StreamBody::new(SyncStream(Mutex::new(Box::pin(parts)))));
    Response::builder().header("content-type", "text/event-stream").body(body).expect("an answer")
}

/// One SSE event of a JSON value.
pub(crate) fn event(value: &Value) -> String {
    format!("event: message\ndata: {value}\n\n")
}

// BoxBody asks for Sync; a mutex that is never contended gives it.
struct SyncStream<T>(Mutex<std::pin::Pin<Box<T>>>);

impl<T: futures_util::Stream> futures_util::Stream for SyncStream<T> {
    type Item = T::Item;

    fn poll_next(self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<T::Item>> {
        self.0.lock().expect("not poisoned").as_mut().poll_next(cx)
    }
}
