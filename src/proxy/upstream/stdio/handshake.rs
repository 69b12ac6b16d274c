//! The first words with a child: which eras it speaks. A child that hangs or dies on a question it does not know is asked the
//! older one only, and so is one that keeps the era of its first message. Never starts a child.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::table::Flight;
use super::{Handshake, Shared, StdioEvent};
use crate::mcp::era::{LEGACY_VERSIONS, META_VERSION, MODERN_VERSION};
use crate::mcp::message::{Incoming, parse_incoming};

const DISCOVER_WAIT: Duration = Duration::from_secs(5);
// A package runner may have to fetch the server first.
const INITIALIZE_WAIT: Duration = Duration::from_secs(60);

/// What a life of a child begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Words {
    /// The modern question, then the handshake.
    Both,
    /// The handshake alone: the life before ended early, perhaps of the question.
    HandshakeOnce,
    /// The handshake alone: once asked the question, a process of this server takes no handshake any more.
    Handshake,
    /// The question alone: this server takes no handshake at all.
    Question,
}

/// Why there was no greeting.
#[derive(Debug)]
pub(super) enum Unmet {
    /// The child answered, but other words may suit it better.
    OtherWords,
    /// A sentence.
    Failed(String),
}

impl Words {
    /// What the next life begins with, when this one was as well as it could be but for its words: first the handshake, because
    /// clients of both eras can work with a server that took it.
    pub(super) fn others(self) -> Self {
        match self {
            Self::Both | Self::HandshakeOnce => Self::Handshake,
            Self::Handshake | Self::Question => Self::Question,
        }
    }

    /// What the next life begins with, when this one failed. What is known to work is kept; where nothing is, a question that the child
    /// does not know may have killed it, or something else did: the next life tries the other way.
    pub(super) fn after_failure(self, greeted: bool) -> Self {
        match self {
            Self::Handshake | Self::Question if greeted => self,
            Self::Both if !greeted => Self::HandshakeOnce,
            _ => Self::Both,
        }
    }
}

/// Learns what the child speaks, and opens its legacy session.
///
/// # Errors
/// What to do about it.
pub(super) async fn greet(shared: &Arc<Shared>, words: Words) -> Result<Handshake, Unmet> {
    let modern = matches!(words, Words::Both | Words::Question) && is_modern(shared).await;
    if words == Words::Question {
        let none = || Unmet::Failed("it no longer answers server/discover, and took no handshake before".to_owned());
        return modern.then(|| Handshake { modern, ..Handshake::default() }).ok_or_else(none);
    }
    let client = json!({"name": "lifeboat", "version": env!("CARGO_PKG_VERSION")});
    let params = json!({"protocolVersion": LEGACY_VERSIONS[0], "capabilities": {}, "clientInfo": client});
    let answer = ask(shared, "initialize", params, INITIALIZE_WAIT).await;
    if answer.as_ref().is_ok_and(Incoming::is_error) && (modern || words == Words::Handshake) {
        return Err(Unmet::OtherWords);
    }
    match answer.and_then(|answer| legacy_of(&answer)) {
        Ok((result, version)) => {
            shared.post(Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#));
            Ok(Handshake { initialize_result: Some(result), legacy_version: Some(version), modern })
        }
        Err(_) if modern => Ok(Handshake { modern, ..Handshake::default() }),
        Err(why) => Err(Unmet::Failed(why)),
    }
}

async fn is_modern(shared: &Arc<Shared>) -> bool {
    let Ok(answer) = ask(shared, "server/discover", with_meta(json!({}), true), DISCOVER_WAIT).await else { return false };
    let versions = answer.result_member_raw("supportedVersions").and_then(|raw| serde_json::from_slice::<Vec<String>>(raw).ok());
    versions.is_some_and(|versions| versions.iter().any(|version| version == MODERN_VERSION))
}

fn legacy_of(answer: &Incoming) -> Result<(Bytes, String), String> {
    let result = answer.result_raw().ok_or("it refused the handshake")?;
    let version = answer.result_text("protocolVersion").ok_or("its handshake names no protocol version")?;
    if !LEGACY_VERSIONS.contains(&version.as_str()) {
        return Err("it speaks a protocol version that Lifeboat does not know".to_owned());
    }
    Ok((answer.body().slice_ref(result), version))
}

/// The parameters with what each modern request carries.
pub(super) fn with_meta(mut params: Value, modern: bool) -> Value {
    if modern && let Value::Object(members) = &mut params {
        let client = json!({"name": "lifeboat", "version": env!("CARGO_PKG_VERSION")});
        let meta = json!({
            META_VERSION: MODERN_VERSION,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": client,
        });
        members.insert("_meta".to_owned(), meta);
    }
    params
}

/// Asks one question of Lifeboat's own and waits for the answer, error or not.
///
/// # Errors
/// A sentence, when there was none.
pub(super) async fn ask(shared: &Arc<Shared>, method: &str, params: Value, wait: Duration) -> Result<Incoming, String> {
    let (call, id) = shared.open(|events| Flight::new(None, Box::from(&b"0"[..]), None, events))?;
    let line = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
    let mut call = shared.send(call, line.into()).await?;
    let answer = async {
        loop {
            match call.events.recv().await {
                Some(StdioEvent::Response(text)) => return parse_incoming(text).map_err(|fault| fault.to_string()),
                Some(StdioEvent::Notification(_)) => {}
                Some(StdioEvent::Gone) | None => return Err("it ended before it answered".to_owned()),
            }
        }
    };
    let late = |_| format!("it did not answer {method} within {} s", wait.as_secs());
    tokio::time::timeout(wait, answer).await.map_err(late)?
}
