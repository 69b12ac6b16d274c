//! Calls at a fixed rate: each has its due time, whether the answers come or not. One JSON line per call, whatever became of it.

use std::io::{Error, Read, Result};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};

use super::Target;
use crate::flags::Flags;
use crate::lines::{Lines, wall_ns};

/// One call that is due.
struct Due {
    number: u64,
    due_ns: u64,
}

type Queue = Arc<Mutex<mpsc::UnboundedReceiver<Due>>>;

/// What every worker needs.
struct Plan {
    target: Target,
    key: String,
    read_tool: String,
    write_tool: String,
    /// Of `mix.0 + mix.1` calls, `mix.1` write.
    mix: (u64, u64),
    arguments: Option<Value>,
    legacy: bool,
    h2: bool,
    /// A connection that is refused carried nothing: connect again until one is taken.
    retry_connect: bool,
    /// A new connection for each call.
    fresh: bool,
    tag: String,
    timeout: Duration,
    out: Lines,
    answered: AtomicU64,
    good: AtomicU64,
}

/// Runs the whole load and prints its summary.
pub(super) async fn run(flags: &Flags) -> Result<()> {
    let plan = Arc::new(plan(flags)?);
    let (queue, dues) = mpsc::unbounded_channel();
    let dues: Queue = Arc::new(Mutex::new(dues));
    let workers: Vec<_> =
        (0..flags.number("connections", 16)).map(|_| tokio::spawn(work(Arc::clone(&plan), Arc::clone(&dues)))).collect();
    let sent = pace(flags, &queue).await;
    drop(queue);
    for worker in workers {
        worker.await?;
    }
    let summary = json!({"due": sent, "answered": plan.answered.load(Ordering::Relaxed), "ok": plan.good.load(Ordering::Relaxed)});
    println!("{summary}");
    Ok(())
}

fn plan(flags: &Flags) -> Result<Plan> {
    let h2 = flags.has("h2");
    let mix = flags
        .get("tool-mix")
        .and_then(|mix| mix.split_once(':'))
        .map_or((1, 0), |(read, write)| (read.parse().unwrap_or(1), write.parse().unwrap_or(0)));
    Ok(Plan {
        target: Target::of(flags, if h2 { &["h2"] } else { &[] })?,
        key: std::fs::read_to_string(flags.need("key-file"))?.trim().to_owned(),
        read_tool: flags.get("tool").unwrap_or("echo").to_owned(),
        write_tool: flags.get("write-tool").unwrap_or("write_note").to_owned(),
        mix,
        arguments: flags.get("arguments").map(serde_json::from_str).transpose()?,
        legacy: flags.get("era") == Some("legacy"),
        h2,
        retry_connect: flags.has("retry-connect"),
        fresh: flags.has("fresh"),
        tag: flags.get("tag").map_or_else(|| format!("l{}", std::process::id()), str::to_owned),
        timeout: Duration::from_millis(flags.number("timeout-ms", 30_000)),
        out: Lines::open(Some(Path::new(flags.need("out"))))?,
        answered: AtomicU64::new(0),
        good: AtomicU64::new(0),
    })
}

/// Puts one call after another into the queue, each at its own time.
async fn pace(flags: &Flags, queue: &mpsc::UnboundedSender<Due>) -> u64 {
    let rate = flags.number("rate", 100).max(1);
    let total = rate * flags.number("seconds", 10);
    let ended = Arc::new(AtomicBool::new(false));
    if flags.has("stop-on-eof") {
        let ended = Arc::clone(&ended);
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            ended.store(true, Ordering::Relaxed);
        });
    }
    let start = tokio::time::Instant::now();
    for number in 0..total {
        if ended.load(Ordering::Relaxed) {
            return number;
        }
        tokio::time::sleep_until(start + Duration::from_nanos(number * 1_000_000_000 / rate)).await;
        if queue.send(Due { number, due_ns: wall_ns() }).is_err() {
            return number;
        }
    }
    total
}

/// A connection of either protocol.
enum Link {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

async fn work(plan: Arc<Plan>, dues: Queue) {
    let mut link: Option<(Link, Option<String>)> = None;
    loop {
        let Some(due) = dues.lock().await.recv().await else { return };
        if !ready(&mut link).await {
            match opened(&plan).await {
                Ok(opened) => link = Some(opened),
                Err(error) => {
                    plan.lost(&due, wall_ns(), &error.to_string());
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
            }
        }
        let Some((open_link, session)) = &mut link else { continue };
        let request = plan.request(&due, session.as_deref());
        let alive = match open_link {
            Link::One(sender) => {
                let answer = sender.send_request(request);
                plan.exchange(due, answer).await
            }
            Link::Two(sender) => {
                let answer = sender.clone().send_request(request);
                let (plan, closed) = (Arc::clone(&plan), sender.is_closed());
                tokio::spawn(async move { plan.exchange(due, answer).await });
                !closed
            }
        };
        if !alive || plan.fresh {
            link = None;
        }
    }
}

/// Whether the connection takes another request; one that went stale between two calls has sent nothing.
async fn ready(link: &mut Option<(Link, Option<String>)>) -> bool {
    match link {
        Some((Link::One(sender), _)) => sender.ready().await.is_ok(),
        Some((Link::Two(sender), _)) => sender.ready().await.is_ok(),
        None => false,
    }
}

/// A new connection; with `--retry-connect` as soon as one can be had, within a minute.
async fn opened(plan: &Plan) -> Result<(Link, Option<String>)> {
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        match open(plan).await {
            Err(_) if plan.retry_connect && tokio::time::Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(20)).await
            }
            opened => return opened,
        }
    }
}

/// A new connection and, in the legacy era, a session on it.
async fn open(plan: &Plan) -> Result<(Link, Option<String>)> {
    if plan.h2 {
        let stream = plan.target.dialer.dial().await?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(Error::other)?;
        tokio::spawn(connection);
        return Ok((Link::Two(sender), None));
    }
    let mut sender = plan.target.connect().await?;
    if !plan.legacy {
        return Ok((Link::One(sender), None));
    }
    let hello = json!({"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},
        "clientInfo":{"name":"load","version":"1"}}});
    let request = plan.target.post(Some(&plan.key)).body(Full::from(hello.to_string())).map_err(Error::other)?;
    let answer = sender.send_request(request).await.map_err(Error::other)?;
    let session = answer.headers().get("mcp-session-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    answer.into_body().collect().await.map_err(Error::other)?;
    sender.ready().await.map_err(Error::other)?;
    Ok((Link::One(sender), session))
}

impl Plan {
    fn tool(&self, number: u64) -> &str {
        let (read, write) = self.mix;
        if number % (read + write).max(1) < read { &self.read_tool } else { &self.write_tool }
    }

    fn request(&self, due: &Due, session: Option<&str>) -> Request<Full<Bytes>> {
        let tool = self.tool(due.number);
        let mut arguments = self.arguments.clone().unwrap_or_else(|| json!({}));
        if self.arguments.is_none() {
            arguments["text"] = Value::from(format!("{}-{}", self.tag, due.number));
        }
        let mut params = json!({"name": tool, "arguments": arguments});
        let mut builder = self.target.post(Some(&self.key));
        if self.legacy {
            builder = builder.header("mcp-protocol-version", "2025-11-25");
            if let Some(session) = session {
                builder = builder.header("mcp-session-id", session);
            }
        } else {
            params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},
                "io.modelcontextprotocol/clientInfo":{"name":"load","version":"1"}});
            builder =
                builder.header("mcp-protocol-version", "2026-07-28").header("mcp-method", "tools/call").header("mcp-name", tool);
        }
        let body = json!({"jsonrpc":"2.0","id":due.number + 1,"method":"tools/call","params":params}).to_string();
        builder.body(Full::from(body)).unwrap_or_default()
    }

    /// Sends, waits, writes the line. False when the connection is of no more use.
    async fn exchange(&self, due: Due, answer: impl Future<Output = hyper::Result<Response<Incoming>>>) -> bool {
        let sent_ns = wall_ns();
        let head = match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(head)) => head,
            Ok(Err(error)) => return self.lost(&due, sent_ns, &error.to_string()),
            Err(_) => return self.lost(&due, sent_ns, "timeout"),
        };
        let request_id = head.headers().get("lifeboat-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        let http = head.status().as_u16();
        let body = tokio::time::timeout(self.timeout, head.into_body().collect()).await;
        let (status, detail, alive) = match body {
            Ok(Ok(body)) => {
                let (status, detail) = read(http, &body.to_bytes());
                (status, detail, http != 404)
            }
            _ => ("cut", json!({}), false),
        };
        if self.answered.fetch_add(1, Ordering::Relaxed) == 0 {
            println!("started");
        }
        if status == "ok" {
            self.good.fetch_add(1, Ordering::Relaxed);
        }
        self.line(&due, sent_ns, json!({"request_id": request_id, "status": status, "http": http, "code": detail["code"], "reason": detail["data"]["reason"]}));
        alive
    }

    fn lost(&self, due: &Due, sent_ns: u64, why: &str) -> bool {
        self.line(due, sent_ns, json!({"status": "transport", "detail": why}));
        false
    }

    fn line(&self, due: &Due, sent_ns: u64, mut line: Value) {
        line["n"] = due.number.into();
        line["tool"] = self.tool(due.number).into();
        line["due_ns"] = due.due_ns.into();
        line["sent_ns"] = sent_ns.into();
        line["done_ns"] = wall_ns().into();
        self.out.write(&line);
    }
}

/// What an answer says: a status word, and the error object if there is one.
fn read(http: u16, body: &[u8]) -> (&'static str, Value) {
    let text = String::from_utf8_lossy(body);
    let message = serde_json::from_str::<Value>(&text).ok().or_else(|| {
        let mut events =
            text.lines().filter_map(|line| line.strip_prefix("data:")).filter_map(|data| serde_json::from_str::<Value>(data).ok());
        events.rfind(|event| event.get("result").is_some() || event.get("error").is_some())
    });
    let message = message.unwrap_or_default();
    if message["error"].is_object() {
        return ("error", message["error"].clone());
    }
    let status = match (http, &message["result"]) {
        (200, result) if result["isError"] == true => "tool_error",
        (200, result) if result.is_object() => "ok",
        _ => "http",
    };
    (status, Value::Null)
}
