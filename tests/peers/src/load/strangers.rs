//! Requests without a credential, at a fixed rate over kept-alive connections. Written as raw bytes, so that the sender is cheaper than the server.

use std::collections::BTreeMap;
use std::io::Result;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, MissedTickBehavior};

use super::Target;
use crate::flags::Flags;

/// What came of it.
#[derive(Default)]
struct Tally {
    sent: AtomicU64,
    connects: AtomicU64,
    refused: AtomicU64,
    answers: Mutex<BTreeMap<String, u64>>,
}

/// Runs for the asked seconds and prints the tally.
pub(super) async fn run(flags: &Flags) -> Result<()> {
    let target = Target::of(flags, &[])?;
    let connections = flags.number("connections", 64).max(1);
    let seconds = flags.number("seconds", 10);
    let period = Duration::from_nanos(connections * 1_000_000_000 / flags.number("rate", 10_000).max(1));
    let until = Instant::now() + Duration::from_secs(seconds);
    let tally = Arc::new(Tally::default());
    let senders: Vec<_> =
        (0..connections).map(|_| tokio::spawn(stranger(target.clone(), period, until, Arc::clone(&tally)))).collect();
    for sender in senders {
        sender.await?;
    }
    let answers = tally.answers.lock().map(|answers| answers.clone()).unwrap_or_default();
    let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
    println!(
        "{}",
        json!({"sent": load(&tally.sent), "answers": answers, "connects": load(&tally.connects), "connect_errors": load(&tally.refused), "seconds": seconds})
    );
    Ok(())
}

async fn stranger(target: Target, period: Duration, until: Instant, tally: Arc<Tally>) {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    let request = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/list\r\nContent-Length: {}\r\n\r\n{body}",
        target.path,
        target.dialer.authority(),
        body.len()
    );
    while Instant::now() < until {
        tally.connects.fetch_add(1, Ordering::Relaxed);
        let Ok(stream) = target.dialer.dial().await else {
            tally.refused.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (reader, writer) = tokio::io::split(stream);
        tokio::select! {
            () = read_answers(reader, &tally) => {}
            () = write_requests(writer, request.as_bytes(), period, until, &tally) => {}
        }
    }
}

async fn write_requests(mut writer: impl AsyncWrite + Unpin, request: &[u8], period: Duration, until: Instant, tally: &Tally) {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while Instant::now() < until {
        ticks.tick().await;
        if writer.write_all(request).await.is_err() || writer.flush().await.is_err() {
            return;
        }
        tally.sent.fetch_add(1, Ordering::Relaxed);
    }
    // The last answers are still on their way.
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// Counts status lines until the server hangs up. Bodies are skipped by looking for the next status line.
async fn read_answers(mut reader: impl AsyncRead + Unpin, tally: &Tally) {
    const MARK: &[u8] = b"HTTP/1.1 ";
    let mut held = Vec::new();
    let mut piece = vec![0; 16 * 1024];
    while let Ok(count) = reader.read(&mut piece).await {
        if count == 0 {
            return;
        }
        held.extend_from_slice(piece.get(..count).unwrap_or_default());
        let whole = MARK.len() + 3;
        let mut at = 0;
        while let Some(window) = held.get(at..at + whole) {
            if let Some(code) = window.strip_prefix(MARK) {
                let code = String::from_utf8_lossy(code).into_owned();
                if let Ok(mut answers) = tally.answers.lock() {
                    *answers.entry(code).or_default() += 1;
                }
                at += whole;
            } else {
                at += 1;
            }
        }
        held.drain(..at);
    }
}
