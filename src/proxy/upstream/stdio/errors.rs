//! What the child writes to standard error: into the log, line by line, bounded in length and rate, without its own secrets.

use std::time::{Duration, Instant};

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use super::{Shared, locked};
use crate::proxy::sandbox::Strength;

const LONGEST: usize = 500;
const PER_SECOND: u32 = 20;
// A shorter value would blacken half of every line.
const SHORTEST_SECRET: usize = 6;

/// The last line, for the reason why the child ended.
#[derive(Default)]
pub(super) struct LastWords(pub(super) std::sync::Mutex<String>);

/// Reads standard error for as long as somebody holds it open.
pub(super) async fn read(mut input: impl AsyncBufRead + Unpin, shared: &Shared, secrets: &[String], last: &LastWords) {
    let mut first = true;
    let mut rate = Rate::new();
    while let Some(line) = next_line(&mut input).await {
        // The last stage of the trampoline writes before the server can.
        if std::mem::take(&mut first)
            && let Some(strength) = Strength::from_report(&line)
        {
            *locked(&shared.sandbox) = strength.sentence();
            shared.tell_state();
            continue;
        }
        let line = clean(&line, secrets);
        if let Some(left_out) = rate.allows() {
            if left_out > 0 {
                tracing::warn!(server = %shared.name, left_out, "the server writes too much to standard error");
            }
            tracing::info!(target: "lifeboat::stdio", server = %shared.name, "{line}");
        }
        *locked(&last.0) = line;
    }
}

async fn next_line(input: &mut (impl AsyncBufRead + Unpin)) -> Option<String> {
    let mut line = Vec::new();
    loop {
        let chunk = input.fill_buf().await.ok().filter(|chunk| !chunk.is_empty());
        let Some(chunk) = chunk else {
            return (!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned());
        };
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(chunk.len());
        // The report of the trampoline may name several paths and be longer than what is logged.
        let room = (LONGEST * 8).saturating_sub(line.len());
        line.extend_from_slice(&chunk[..taken.min(room)]);
        input.consume(end.map_or(taken, |end| end + 1));
        if end.is_some() {
            return Some(String::from_utf8_lossy(&line).into_owned());
        }
    }
}

fn clean(line: &str, secrets: &[String]) -> String {
    let mut text = line.to_owned();
    for secret in secrets.iter().filter(|secret| secret.len() >= SHORTEST_SECRET) {
        text = text.replace(secret.as_str(), "•••");
    }
    text.chars().filter(|letter| !letter.is_control()).take(LONGEST).collect()
}

struct Rate {
    since: Instant,
    count: u32,
}

impl Rate {
    fn new() -> Self {
        Self { since: Instant::now(), count: 0 }
    }

    /// Whether one more line may be logged, with how many were left out before it.
    fn allows(&mut self) -> Option<u32> {
        let mut left_out = 0;
        if self.since.elapsed() >= Duration::from_secs(1) {
            left_out = self.count.saturating_sub(PER_SECOND);
            *self = Self::new();
        }
        self.count += 1;
        (self.count <= PER_SECOND).then_some(left_out)
    }
}
