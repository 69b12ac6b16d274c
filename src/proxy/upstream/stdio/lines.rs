//! Newline-delimited messages from and to the child, with a cap on each line. Never keeps more than one line.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::{Outgoing, Shared};
use crate::mcp::message::{Incoming, Kind, parse_incoming};

/// The longest line: a list (docs/CONTRACT.md).
pub(super) const LONGEST: usize = 8 << 20;

/// Why a pipe is of no more use.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// The child closed it; how the child itself ended says more.
    Closed(String),
    /// The child broke a rule.
    Broken(String),
}

/// Reads lines until the child closes its output or breaks the cap.
pub(super) async fn read(mut output: impl AsyncBufRead + Unpin, shared: &Arc<Shared>) -> Over {
    let mut strange = 0u64;
    loop {
        let line = match next_line(&mut output).await {
            Ok(Some(line)) => line,
            Ok(None) => return Over::Closed("closed its output".to_owned()),
            Err(fault) => return Over::Broken(fault),
        };
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match parse_incoming(line) {
            Ok(message) => take(&message, shared),
            Err(fault) => {
                strange += 1;
                if strange.is_power_of_two() {
                    tracing::warn!(server = %shared.name, count = strange, "the server wrote a line that is no message: {fault}");
                }
            }
        }
    }
}

async fn next_line(output: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<Bytes>, String> {
    let mut line = BytesMut::new();
    loop {
        let chunk = output.fill_buf().await.map_err(|fault| format!("its output cannot be read: {fault}"))?;
        if chunk.is_empty() {
            return Ok(None);
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(chunk.len());
        if line.len() + taken > LONGEST {
            return Err(format!("wrote a line longer than {} MiB", LONGEST >> 20));
        }
        line.extend_from_slice(&chunk[..taken]);
        output.consume(end.map_or(taken, |end| end + 1));
        if end.is_some() {
            if line.last() == Some(&b'\r') {
                line.truncate(line.len() - 1);
            }
            return Ok(Some(line.freeze()));
        }
    }
}

fn take(message: &Incoming, shared: &Arc<Shared>) {
    match message.kind() {
        Kind::Response => shared.table().respond(message),
        Kind::Notification => match &shared.guest {
            Some(guest) if !shared.table().owns(message) => shared.tell_guest(guest, message.body().clone()),
            _ => shared.table().notify(message),
        },
        Kind::Request => match &shared.guest {
            Some(guest) if message.method() != Some("ping") => shared.tell_guest(guest, message.body().clone()),
            _ => answer(message, shared),
        },
    }
}

/// A shared child cannot ask one of many clients; only a ping is answered.
fn answer(message: &Incoming, shared: &Arc<Shared>) {
    let Some(id) = message.id_raw().and_then(|id| std::str::from_utf8(id).ok()) else { return };
    let line = if message.method() == Some("ping") {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)
    } else {
        let text = "this server is shared by several clients and cannot ask one of them";
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"{text}"}}}}"#)
    };
    shared.post(line.into());
}

/// Writes lines until the child closes its input. A call that was given up is not begun any more.
pub(super) async fn write(mut input: impl AsyncWrite + Unpin, mut outbox: mpsc::Receiver<Outgoing>, shared: &Arc<Shared>) -> Over {
    while let Some(outgoing) = outbox.recv().await {
        if outgoing.call.is_some_and(|id| !shared.table().begin_write(id)) {
            continue;
        }
        let mut text = BytesMut::with_capacity(outgoing.line.len() + 1);
        // A line break between two tokens of a client's JSON means nothing there and would end the message here.
        text.extend(outgoing.line.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
        text.extend_from_slice(b"\n");
        if let Err(fault) = input.write_all(&text).await {
            return Over::Closed(format!("does not read its input: {fault}"));
        }
    }
    Over::Closed("has no input".to_owned())
}
