//! A scripted MCP server over plain HTTP: both eras, tools of the three classes, bad answers on demand, and a receive log that is written before
//! anything else happens to a request. Never checks a credential: it stands behind the proxy and only reports what reached it.
//!
//! Flags: `--port N` (0: any), `--log FILE`, `--stateless` (no sessions, 405 on GET), `--legacy-only`, `--modern-only`, `--fault MODE` (for every
//! call), `--initialize-only-fast` (no log, no session table). Prints `listening 127.0.0.1:PORT`.
//! Side doors: `GET /__hits` counts what came, `POST /__fault` with a mode in the body sets the fault of every call, an empty body ends it.

mod answer;
pub mod body;
mod faults;
pub mod tools;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Result;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{SockRef, Socket};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};

use crate::flags::Flags;
use crate::lines::Lines;

/// Which eras the server knows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Eras {
    Both,
    Legacy,
    Modern,
}

/// Everything the connections share.
struct Upstream {
    log: Lines,
    eras: Eras,
    /// Mints and checks legacy sessions.
    sessions: bool,
    /// Neither logs nor remembers.
    fast: bool,
    fault: Mutex<String>,
    counter: AtomicU64,
    open: AtomicU64,
    hits: Mutex<BTreeMap<String, u64>>,
    known: Mutex<HashSet<String>>,
    /// Questions to a client, by the id we asked with.
    asked: Mutex<HashMap<String, oneshot::Sender<String>>>,
    /// Running calls, by session and id, for `notifications/cancelled`.
    running: Mutex<HashMap<String, Arc<Notify>>>,
}

/// Turns the end of one connection into a TCP reset.
#[derive(Clone)]
struct Reset(Arc<Mutex<Option<Socket>>>);

impl Reset {
    fn of(stream: &TcpStream) -> Self {
        Self(Arc::new(Mutex::new(SockRef::from(stream).try_clone().ok())))
    }

    /// From here on closing the connection sends RST.
    fn arm(&self) {
        if let Some(socket) = lock(&self.0).take() {
            let _ = socket.set_linger(Some(std::time::Duration::ZERO));
        }
    }
}

/// Serves until the process ends.
pub async fn run(flags: &Flags) -> Result<()> {
    let eras = match (flags.has("legacy-only"), flags.has("modern-only")) {
        (true, _) => Eras::Legacy,
        (_, true) => Eras::Modern,
        _ => Eras::Both,
    };
    let upstream = Arc::new(Upstream {
        log: Lines::open(flags.get("log").map(Path::new))?,
        eras,
        sessions: !flags.has("stateless"),
        fast: flags.has("initialize-only-fast"),
        fault: Mutex::new(flags.get("fault").unwrap_or_default().to_owned()),
        counter: AtomicU64::new(0),
        open: AtomicU64::new(0),
        hits: Mutex::default(),
        known: Mutex::default(),
        asked: Mutex::default(),
        running: Mutex::default(),
    });
    let port = u16::try_from(flags.number("port", 0)).unwrap_or(0);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("listening {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve(Arc::clone(&upstream), stream));
    }
}

async fn serve(upstream: Arc<Upstream>, stream: TcpStream) {
    let reset = Reset::of(&stream);
    let service = service_fn(|request| {
        let (upstream, reset) = (Arc::clone(&upstream), reset.clone());
        async move { answer::answer(&upstream, request, &reset).await }
    });
    // A peer that hangs up, or a fault that we play, ends the connection with an error: that is what this server is for.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl Upstream {
    fn mint(&self, word: &str) -> String {
        format!("{word}-{}-{}", std::process::id(), self.counter.fetch_add(1, Ordering::Relaxed))
    }

    fn count(&self, key: String) {
        *lock(&self.hits).entry(key).or_default() += 1;
    }
}

/// A lock that survives a panicked holder: a test server goes on.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
