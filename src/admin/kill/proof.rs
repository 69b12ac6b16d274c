//! The proof of a kill: a single-use canary takes the way of a real client, over TLS and through all stages of every listener, and must
//! come back refused with the kill's own reason. It never executes a tool: the pipeline stops a canary before anything is sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use super::super::Admin;
use super::line::{self, Manner};
use super::model::{CANARY, ProofAt};
use crate::config::Class;
use crate::crypto::keys;
use crate::policy::feed::ProxyListener;
use crate::policy::principal::Canary;
use crate::policy::{KillEntry, Mode, Principal, Scope, Snapshot};

/// How long a kill may take to prove itself.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

const ATTEMPT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);
const VERSION: &str = "2026-07-28";
const KILL_CODE: i64 = -31001;

/// What the canary calls, and as whom.
struct Target {
    server: String,
    tool: String,
    principal: Principal,
    mode: Mode,
}

/// Proves an entry at every listener, side by side, within five seconds of `started`.
pub(super) async fn prove(admin: &Admin, entry: &KillEntry, started: Instant) -> Vec<ProofAt> {
    let target = target(&admin.feed.snapshot(), entry);
    let manner = line::manner(admin);
    let listeners = admin.feed.listeners();
    join_all(listeners.iter().map(|listener| prove_at(admin, listener, &manner, &target, started))).await
}

async fn prove_at(admin: &Admin, listener: &ProxyListener, manner: &Manner, target: &Target, started: Instant) -> ProofAt {
    let mut refused = false;
    while !refused {
        let left = LIMIT.saturating_sub(started.elapsed());
        if left.is_zero() {
            break;
        }
        match tokio::time::timeout(left.min(ATTEMPT), attempt(admin, listener, manner, target)).await {
            Ok(Ok(())) => refused = true,
            Ok(Err(why)) => {
                tracing::warn!(listener = listener.name, why, "a canary was not refused by the kill");
                tokio::time::sleep(PAUSE.min(left)).await;
            }
            Err(_) => tracing::warn!(listener = listener.name, "a canary got no answer"),
        }
    }
    ProofAt { listener: listener.name.clone(), refused, ms: ceil_ms(started.elapsed()) }
}

/// Whole milliseconds, never less than it took.
fn ceil_ms(time: Duration) -> u64 {
    u64::try_from(time.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}

/// Takes a canary away again when its attempt ends in any way, so that nobody can show its token later.
struct Admitted<'a> {
    admin: &'a Admin,
    token: &'a str,
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.admin.feed.take_canary(self.token);
    }
}

async fn attempt(admin: &Admin, listener: &ProxyListener, manner: &Manner, target: &Target) -> Result<(), String> {
    let token = format!("lbc_{}", keys::token(admin.entropy.as_ref()).reveal());
    admin.feed.admit_canary(token.clone(), target.principal.clone());
    let _admitted = Admitted { admin, token: &token };
    let (request, body) = request(target, &token);
    let (status, answer) = admin.kill.line.send(listener, (manner, admin.feed.guests()), request, body).await?;
    check(status, &answer, target.mode)
}

fn request(target: &Target, token: &str) -> (http::request::Builder, Bytes) {
    let body = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": target.tool, "arguments": {}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": VERSION,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": { "name": "lifeboat-canary", "version": env!("CARGO_PKG_VERSION") },
        } }
    });
    let request = Request::post(format!("/mcp/{}", target.server))
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream")
        .header("MCP-Protocol-Version", VERSION)
        .header("Mcp-Method", "tools/call")
        .header("Mcp-Name", header_name(&target.tool));
    (request, Bytes::from(body.to_string()))
}

/// A tool's name as the header `Mcp-Name` carries it: in base64 when it is not plain ASCII.
pub(in crate::admin) fn header_name(tool: &str) -> String {
    let plain = !tool.is_empty() && tool.bytes().all(|b| b.is_ascii_graphic()) && !tool.starts_with("=?");
    if plain { tool.to_owned() } else { format!("=?base64?{}?=", STANDARD.encode(tool)) }
}

#[derive(Deserialize)]
struct Answer {
    error: Refusal,
}

#[derive(Deserialize)]
struct Refusal {
    code: i64,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    reason: String,
}

/// A read-only stop may be proved by a wider full one; a full stop never by a read-only one.
fn check(status: StatusCode, body: &[u8], mode: Mode) -> Result<(), String> {
    if status != StatusCode::OK {
        return Err(format!("HTTP status {}", status.as_u16()));
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|_| "the answer is no refusal".to_owned())?;
    let reason = answer.error.data.reason.as_str();
    let proved = reason == "kill.engaged" || (mode == Mode::ReadOnly && reason == "kill.read_only");
    if proved && answer.error.code == KILL_CODE { Ok(()) } else { Err(format!("refused as {reason}")) }
}

/// Something inside the scope: its server, its tool, its client; where the scope leaves it open, any that is registered.
fn target(snapshot: &Snapshot, entry: &KillEntry) -> Target {
    let (server, tool) = match &entry.scope {
        Scope::Tool { server, tool } => (Some(server.clone()), Some(tool.clone())),
        Scope::Server { server } => (Some(server.clone()), None),
        Scope::Everything | Scope::Client { .. } => (None, None),
    };
    let client = match &entry.scope {
        Scope::Client { client } => client.as_str(),
        _ => CANARY,
    };
    let server = server.or_else(|| snapshot.servers.keys().next().cloned()).unwrap_or_else(|| CANARY.to_owned());
    let known = snapshot.servers.get(&server).and_then(|entry| entry.config.tools.keys().next().cloned());
    let tool = tool.or(known).unwrap_or_else(|| CANARY.to_owned());
    let class = if entry.mode == Mode::ReadOnly { Class::Write } else { Class::Read };
    let canary = Some(Canary { class, stands_for: None });
    let principal = Principal { client: Arc::from(client), kid: Arc::from(CANARY), token: None, canary };
    Target { server, tool, principal, mode: entry.mode }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kills_own_reason_proves_it() {
        let body = |code: i64, reason: &str| {
            json!({"jsonrpc":"2.0","id":1,"error":{"code":code,"message":"m","data":{"reason":reason}}}).to_string()
        };
        let proves = |status, text: String, mode| check(status, text.as_bytes(), mode).is_ok();
        assert!(proves(StatusCode::OK, body(-31001, "kill.engaged"), Mode::Full));
        assert!(proves(StatusCode::OK, body(-31001, "kill.read_only"), Mode::ReadOnly));
        assert!(proves(StatusCode::OK, body(-31001, "kill.engaged"), Mode::ReadOnly));
        assert!(!proves(StatusCode::OK, body(-31001, "kill.read_only"), Mode::Full));
        assert!(!proves(StatusCode::OK, body(-31002, "policy.no_grant"), Mode::Full));
        assert!(!proves(StatusCode::OK, body(-31002, "kill.engaged"), Mode::Full));
        assert!(!proves(StatusCode::UNAUTHORIZED, body(-31001, "kill.engaged"), Mode::Full));
        assert!(!proves(StatusCode::OK, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#.into(), Mode::Full));
    }

    #[test]
    fn a_name_that_is_not_plain_goes_in_base64() {
        assert_eq!(header_name("read_graph"), "read_graph");
        assert_eq!(header_name("é"), "=?base64?w6k=?=");
        assert_eq!(header_name("a b"), "=?base64?YSBi?=");
    }
}
