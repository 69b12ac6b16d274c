//! Clients that listen: legacy sessions with an open GET stream each, which come back when it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use lifeboat_peers::tls::Dialer;

/// What became of the streams.
#[derive(Default)]
pub struct Seen {
    /// Streams that are open now.
    pub open: AtomicU64,
    /// Streams that ended in order, with the last chunk.
    pub ended: AtomicU64,
    /// Streams that broke off.
    pub broken: AtomicU64,
    /// Comments and events that came.
    pub pieces: AtomicU64,
}

/// A number of listeners, each on a connection of its own.
pub struct Listeners {
    pub seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listeners {
    /// Opens so many streams for the key and waits for nothing.
    pub fn start(dialer: Dialer, path: &str, key: &str, count: usize) -> Self {
        let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
        let (path, key) = (path.to_owned(), key.to_owned());
        let (told, asked) = (seen.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listening = (0..count).map(|_| {
                    let (dialer, path, key, seen) = (dialer.clone(), path.clone(), key.clone(), told.clone());
                    tokio::spawn(async move {
                        loop {
                            // A server that is not there yet is asked again, as clients do.
                            let _ = listen(&dialer, &path, &key, &seen).await;
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                    })
                });
                let listening: Vec<_> = listening.collect();
                while !asked.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                listening.iter().for_each(tokio::task::JoinHandle::abort);
            });
        });
        Self { seen, stop, thread: Some(thread) }
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One session and its stream, to the stream's end.
async fn listen(dialer: &Dialer, path: &str, key: &str, seen: &Seen) -> std::io::Result<()> {
    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"listener","version":"1"}}}"#;
    let begun = ask(dialer, post(dialer, path, key, hello)).await?;
    let session = begun.headers().get("mcp-session-id").cloned().ok_or_else(|| std::io::Error::other("no session"))?;
    drop(begun.into_body().collect().await);
    let request = Request::get(path)
        .header("host", dialer.authority())
        .header("authorization", format!("Bearer {key}"))
        .header("accept", "text/event-stream")
        .header("mcp-protocol-version", "2025-11-25")
        .header("mcp-session-id", session)
        .body(Full::default())
        .map_err(std::io::Error::other)?;
    let answer = ask(dialer, request).await?;
    if answer.status() != 200 {
        return Err(std::io::Error::other(answer.status().to_string()));
    }
    seen.open.fetch_add(1, Ordering::SeqCst);
    let mut body = answer.into_body();
    let ended = loop {
        match body.frame().await {
            Some(Ok(_)) => seen.pieces.fetch_add(1, Ordering::SeqCst),
            Some(Err(_)) => break &seen.broken,
            None => break &seen.ended,
        };
    };
    seen.open.fetch_sub(1, Ordering::SeqCst);
    ended.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

fn post(dialer: &Dialer, path: &str, key: &str, body: &str) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("host", dialer.authority())
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .body(Full::from(body.to_owned()))
        .unwrap()
}

async fn ask(dialer: &Dialer, request: Request<Full<Bytes>>) -> std::io::Result<Response<hyper::body::Incoming>> {
    let stream = dialer.dial().await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(std::io::Error::other)
}
