//! A server behind the rig that answers as a script says, and remembers what it saw.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use lifeboat::proxy::body::Body;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What the scripted server received.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// How the scripted server answers.
pub(super) enum Script {
    Json(u16, Vec<(&'static str, String)>, String),
    Stream(mpsc::Receiver<Bytes>),
    Hang,
}

pub(super) fn json_answer(result: Value, request: &Seen) -> Script {
    let id = serde_json::from_slice::<Value>(&request.body).expect("JSON")["id"].clone();
    Script::Json(200, Vec::new(), json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string())
}

pub(super) type Answering = Arc<dyn Fn(&Seen) -> Script + Send + Sync>;

pub(super) async fn serve_script(script: Answering, seen: Arc<Mutex<Vec<Seen>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (script, seen) = (script.clone(), seen.clone());
            let service = service_fn(move |request| scripted(request, script.clone(), seen.clone()));
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tcp), service));
        }
    });
    address
}

async fn scripted(
    request: Request<Incoming>,
    script: Answering,
    seen: Arc<Mutex<Vec<Seen>>>,
) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let request = Seen { method: parts.method.to_string(), headers: parts.headers, body };
    // The proxy's own looks are nothing that a client asked for.
    if !request.body.windows(17).any(|part| part == b"\"lifeboat-health\"") {
        seen.lock().expect("lock").push(request.clone());
    }
    let mut response = Response::builder();
    Ok(match script(&request) {
        Script::Json(status, headers, body) => {
            response = response.status(status).header("content-type", "application/json");
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(Body::whole(body.into())).expect("response")
        }
        Script::Stream(events) => {
            response.header("content-type", "text/event-stream").body(Body::stream(weighed(events))).expect("response")
        }
        Script::Hang => std::future::pending().await,
    })
}

// The body asks for a share of its room with each piece; the scripted server has room for all.
fn weighed(mut events: mpsc::Receiver<Bytes>) -> mpsc::Receiver<lifeboat::proxy::body::Piece> {
    let (sender, pieces) = mpsc::channel(8);
    tokio::spawn(async move {
        let room = Arc::new(tokio::sync::Semaphore::new(1_000));
        loop {
            let event = tokio::select! {
                () = sender.closed() => return,
                event = events.recv() => event,
            };
            let (Some(event), Ok(share)) = (event, room.clone().acquire_owned().await) else { return };
            if sender.send((event, share)).await.is_err() {
                return;
            }
        }
    });
    pieces
}
