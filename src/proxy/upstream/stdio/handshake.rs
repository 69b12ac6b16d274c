//! The first words with a child: which eras it speaks. A child that hangs or dies on a question it does not know is asked the
//! older one only.

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

/// Whether the modern question is asked at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Discover {
    Ask,
    /// The child died of it before.
    Skip,
}

/// Learns what the child speaks, and opens its legacy session.
///
/// # Errors
/// A sentence.
pub(super) async fn greet(shared: &Arc<Shared>, discover: Discover) -> Result<Handshake, String> {
    let modern = discover == Discover::Ask && is_modern(shared).await;
    let client = json!({"name": "lifeboat", "version": env!("CARGO_PKG_VERSION")});
    let params = json!({"protocolVersion": LEGACY_VERSIONS[0], "capabilities": {}, "clientInfo": client});
    let answer = ask(shared, "initialize", params, INITIALIZE_WAIT).await;
    let legacy = answer.and_then(|answer| legacy_of(&answer));
    match legacy {
        Ok((result, version)) => {
            shared.post(Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#));
            Ok(Handshake { initialize_result: Some(result), legacy_version: Some(version), modern })
        }
        Err(_) if modern => Ok(Handshake { modern, ..Handshake::default() }),
        Err(why) => Err(why),
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
