//! Calls at a fixed rate, each timed from the moment it was due: what a client waits when it does not slow down for the server. Keeps the
//! times in memory and prints one line of percentiles, so that measuring costs little.

use std::io::{Error, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, StatusCode};
use serde_json::json;
use tokio::sync::{Mutex, mpsc};

use super::Target;
use crate::flags::Flags;

type Queue = Arc<Mutex<mpsc::UnboundedReceiver<(u64, Instant)>>>;

/// What every worker needs.
struct Plan {
    target: Target,
    key: String,
    tool: String,
    /// The message before and after its id.
    message: (String, String),
    /// How many bytes an answer has at least.
    bytes: usize,
}

/// Runs the load and prints its summary.
pub(super) async fn run(flags: &Flags) -> Result<()> {
    let plan = Arc::new(plan(flags)?);
    let (queue, dues) = mpsc::unbounded_channel();
    let dues: Queue = Arc::new(Mutex::new(dues));
    let mut workers = Vec::new();
    for _ in 0..flags.number("connections", 16) {
        let link = plan.target.connect().await?;
        workers.push(tokio::spawn(work(Arc::clone(&plan), link, Arc::clone(&dues))));
    }
    let (rate, seconds) = (flags.number("rate", 1000).max(1), flags.number("seconds", 2));
    let start = tokio::time::Instant::now();
    for number in 0..rate * seconds {
        tokio::time::sleep_until(start + Duration::from_nanos(number * 1_000_000_000 / rate)).await;
        if queue.send((number, Instant::now())).is_err() {
            break;
        }
    }
    drop(queue);
    let mut times = Vec::new();
    for worker in workers {
        times.extend(worker.await??);
    }
    times.sort_unstable();
    let at = |share: f64| {
        let place = (times.len() as f64 * share) as usize;
        times.get(place.min(times.len().saturating_sub(1))).copied().unwrap_or(0)
    };
    println!(
        "{}",
        json!({"due": rate * seconds, "ok": times.len(), "p50_us": at(0.5), "p90_us": at(0.9), "p99_us": at(0.99), "max_us": at(1.0)})
    );
    Ok(())
}

fn plan(flags: &Flags) -> Result<Plan> {
    let tool = flags.get("tool").unwrap_or("echo").to_owned();
    let bytes = usize::try_from(flags.number("bytes", 150)).unwrap_or(150);
    let text: String = "the quick brown fox jumps over the lazy dog ".chars().cycle().take(bytes).collect();
    let meta = json!({"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},
        "io.modelcontextprotocol/clientInfo":{"name":"load","version":"1"}});
    let params = json!({"name": tool, "arguments": {"text": text}, "_meta": meta});
    Ok(Plan {
        target: Target::of(flags, &[])?,
        key: std::fs::read_to_string(flags.need("key-file"))?.trim().to_owned(),
        tool,
        message: ("{\"jsonrpc\":\"2.0\",\"id\":".to_owned(), format!(",\"method\":\"tools/call\",\"params\":{params}}}")),
        bytes,
    })
}

async fn work(plan: Arc<Plan>, mut link: SendRequest<Full<Bytes>>, dues: Queue) -> Result<Vec<u64>> {
    let mut times = Vec::new();
    loop {
        let Some((number, due)) = dues.lock().await.recv().await else { return Ok(times) };
        link.ready().await.map_err(Error::other)?;
        let answer = link.send_request(plan.request(number)?).await.map_err(Error::other)?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(Error::other)?.to_bytes();
        if status != StatusCode::OK || body.len() < plan.bytes || !body.windows(8).take(128).any(|part| part == b"\"result\"") {
            return Err(Error::other(format!(
                "HTTP {status}: {}",
                String::from_utf8_lossy(body.get(..200.min(body.len())).unwrap_or_default())
            )));
        }
        times.push(u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
}

impl Plan {
    fn request(&self, number: u64) -> Result<Request<Full<Bytes>>> {
        let (before, after) = &self.message;
        let body = format!("{before}{}{after}", number + 1);
        let builder = self.target.post(Some(&self.key));
        let builder =
            builder.header("mcp-protocol-version", "2026-07-28").header("mcp-method", "tools/call").header("mcp-name", &self.tool);
        builder.body(Full::from(body)).map_err(Error::other)
    }
}
