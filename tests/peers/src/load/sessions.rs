//! `initialize` over and over, each session abandoned at once. Counts what the proxy answered; keeps nothing.

use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::Target;
use crate::flags::{Flags, fail};

/// What the workers share.
struct Work {
    target: Target,
    keys: Vec<String>,
    total: u64,
    next: AtomicU64,
    answers: Mutex<BTreeMap<String, u64>>,
}

/// Sends them all as fast as the connections go, and prints the tally.
pub(super) async fn run(flags: &Flags) -> Result<()> {
    let keys: Vec<String> = std::fs::read_to_string(flags.need("clients"))?.split_whitespace().map(str::to_owned).collect();
    if keys.is_empty() {
        fail("--clients names a file without keys");
    }
    let work = Arc::new(Work {
        target: Target::of(flags, &[])?,
        keys,
        total: flags.number("initialize", 1),
        next: AtomicU64::new(0),
        answers: Mutex::default(),
    });
    let workers: Vec<_> = (0..flags.number("connections", 16)).map(|_| tokio::spawn(one(Arc::clone(&work)))).collect();
    for worker in workers {
        worker.await??;
    }
    let answers = work.answers.lock().map(|answers| answers.clone()).unwrap_or_default();
    println!("{}", json!({"sent": work.total, "answers": answers}));
    Ok(())
}

async fn one(work: Arc<Work>) -> Result<()> {
    let body = json!({"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},
        "clientInfo":{"name":"load","version":"1"}}})
    .to_string();
    let mut sender = work.target.connect().await?;
    loop {
        let number = work.next.fetch_add(1, Ordering::Relaxed);
        if number >= work.total {
            return Ok(());
        }
        if sender.ready().await.is_err() {
            sender = work.target.connect().await?;
        }
        let key = usize::try_from(number).ok().and_then(|number| work.keys.get(number % work.keys.len()));
        let request = work.target.post(key.map(String::as_str)).body(Full::from(body.clone())).map_err(Error::other)?;
        let answer = sender.send_request(request).await.map_err(Error::other)?;
        let (http, session) = (answer.status().as_u16(), answer.headers().contains_key("mcp-session-id"));
        let body = answer.into_body().collect().await.map_err(Error::other)?.to_bytes();
        let message: Value = serde_json::from_slice(&body).unwrap_or_default();
        let outcome = match &message["error"]["code"] {
            Value::Null if session => format!("{http} session"),
            Value::Null => format!("{http}"),
            code => format!("{http} error {code}"),
        };
        if let Ok(mut answers) = work.answers.lock() {
            *answers.entry(outcome).or_default() += 1;
        }
    }
}
