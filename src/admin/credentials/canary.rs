//! Seeing a key at work: real requests through every listener of our own proxy, over TLS and through all stages. A new key does what its client would
//! do, a list and one call that reads; an old one is stood for by kid alone, and never reaches a server. Never shows a key to anybody else.

use bytes::Bytes;
use http::{Request, StatusCode, header};
use serde_json::{Value, json};

use super::drivers::Trouble;
use super::grants;
use crate::admin::clients::single::Form;
use crate::admin::{Admin, kill, tree};
use crate::base::secret::Secret;
use crate::config::Class;
use crate::crypto::{jwt, keys};
use crate::policy::feed::ProxyListener;
use crate::policy::principal::Canary;
use crate::policy::snapshot::{ClientEntry, ServerEntry, Snapshot};
use crate::policy::{Asked, Decision, Principal, decide};

const VERSION: &str = "2026-07-28";
/// Lists are larger than refusals.
pub(super) const LARGEST: usize = 8 * 1024 * 1024;
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);

/// How one listener answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// Its name.
    pub listener: String,
    /// Whether the key was let in.
    pub accepted: bool,
    /// Its HTTP status.
    pub status: u16,
    /// Why it was not, in a sentence.
    pub said: String,
}

/// What a key is tried with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The server.
    pub server: String,
    /// A tool that reads and asks for no argument.
    pub tool: Option<String>,
}

/// A request as a client of the modern era makes it.
pub(super) fn request(server: &str, tool: Option<&str>, token: &str) -> (http::request::Builder, Bytes) {
    let method = if tool.is_some() { "tools/call" } else { "tools/list" };
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "lifeboat-canary", "version": env!("CARGO_PKG_VERSION") },
    });
    let params = match tool {
        Some(tool) => json!({ "name": tool, "arguments": {}, "_meta": meta }),
        None => json!({ "_meta": meta }),
    };
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let mut request = Request::post(format!("/mcp/{server}"))
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream")
        .header("MCP-Protocol-Version", VERSION)
        .header("Mcp-Method", method);
    if let Some(tool) = tool {
        request = request.header("Mcp-Name", kill::header_name(tool));
    }
    (request, Bytes::from(body.to_string()))
}

/// Shows a kid at every listener as a canary that stands for it: whether the key or secret would be let in there now.
///
/// # Errors
/// When there is no listener, or one does not answer.
pub(super) async fn stand_for(admin: &Admin, form: Form, kid: &str, client: &str) -> Result<Vec<Answer>, Trouble> {
    let mut answers = Vec::new();
    for listener in listeners(admin)? {
        let token = format!("lbc_{}", keys::token(admin.entropy.as_ref()).reveal());
        let shown = match form {
            Form::Key => request(&any_server(admin), None, &token),
            Form::Secret => grants::bare(client, &token),
        };
        answers.push(as_canary(admin, &listener, (kid, client), (&token, shown)).await?);
    }
    Ok(answers)
}

/// Shows a token at every listener that a token-signing key has signed: whether tokens of that key are accepted there now. It calls for nobody.
///
/// # Errors
/// When there is no listener, or one does not answer.
pub(super) async fn bear_witness(admin: &Admin, kid: &str, token: &Secret<String>) -> Result<Vec<Answer>, Trouble> {
    let credential = jwt::peek(token.reveal(), "credential").ok_or_else(|| Trouble::permanent("the token of a proof is none"))?;
    let mut answers = Vec::new();
    for listener in listeners(admin)? {
        let shown = request(&any_server(admin), None, token.reveal());
        answers.push(as_canary(admin, &listener, (kid, kill::CANARY), (&credential, shown)).await?);
    }
    Ok(answers)
}

fn any_server(admin: &Admin) -> String {
    admin.feed.snapshot().servers.keys().next().cloned().unwrap_or_else(|| kill::CANARY.to_owned())
}

/// Sends a request that shows a canary which stands for a kid, once.
async fn as_canary(
    admin: &Admin,
    listener: &ProxyListener,
    (kid, client): (&str, &str),
    (canary, shown): (&str, (http::request::Builder, Bytes)),
) -> Result<Answer, Trouble> {
    let stands = Some(Canary { class: Class::Read, stands_for: Some(kid.into()) });
    let principal = Principal { client: client.into(), kid: kid.into(), token: None, canary: stands };
    admin.feed.admit_canary(canary.to_owned(), principal);
    let sent = send(admin, listener, shown).await;
    // Whatever came of it, nobody shows this canary later.
    admin.feed.take_canary(canary);
    let (status, body) = sent?;
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        return Err(Trouble::transient(format!("listener {} answers {} to a proof", listener.name, status.as_u16())));
    }
    let accepted = status != StatusCode::UNAUTHORIZED;
    Ok(Answer { listener: listener.name.clone(), accepted, status: status.as_u16(), said: reason(&body) })
}

/// Shows a key to every listener as its client does: the HTTP status of each, 0 without an answer.
pub(super) async fn shown(admin: &Admin, key: &Secret<String>, target: &Target) -> Vec<(String, u16)> {
    let mut all = Vec::new();
    for listener in admin.feed.listeners() {
        let sent = send(admin, &listener, request(&target.server, target.tool.as_deref(), key.reveal())).await;
        all.push((listener.name, sent.map_or(0, |(status, _)| status.as_u16())));
    }
    all
}

/// Does with a key or secret what its client would do, at every listener: a list, and one call that reads when there is one to make; with a secret a token
/// is asked for first.
///
/// # Errors
/// When there is no listener; when a listener refuses the key; when no server that the client reaches answers.
pub(super) async fn call(
    admin: &Admin,
    (form, shown): (Form, &Secret<String>),
    client: &str,
    credential: &str,
) -> Result<Value, Trouble> {
    let snapshot = admin.feed.snapshot();
    let entry = snapshot.clients.get(client).ok_or_else(|| Trouble::permanent(format!("there is no client {client}")))?;
    let said = tree::standing(admin).await.unwrap_or_default().credentials.of(credential).and_then(|entry| entry.canary.clone());
    let targets = targets(&snapshot, entry, said.as_deref());
    let mut seen = Vec::new();
    for listener in listeners(admin)? {
        let mut last = format!("{client} reaches no server, so its {} cannot be seen at work", form.word());
        let mut worked = None;
        for target in &targets {
            match work(admin, &listener, target, (form, client, shown)).await {
                Ok(evidence) => {
                    worked = Some(evidence);
                    break;
                }
                Err(trouble) => last = trouble.said,
            }
        }
        seen.push(worked.ok_or_else(|| Trouble::transient(last))?);
    }
    Ok(json!({ "listeners": seen }))
}

async fn work(
    admin: &Admin,
    listener: &ProxyListener,
    target: &Target,
    (form, client, shown): (Form, &str, &Secret<String>),
) -> Result<Value, Trouble> {
    let token = match form {
        Form::Key => None,
        Form::Secret => Some(grants::ask(admin, listener, target, (client, shown)).await?),
    };
    let key = token.as_ref().map_or(shown, |given| &given.text);
    let (status, body) = send(admin, listener, request(&target.server, None, key.reveal())).await?;
    let list = judged(status, &body).map_err(|why| Trouble::transient(format!("tools/list of {}: {why}", target.server)))?;
    let tools = list["tools"].as_array().map_or(0, Vec::len);
    let mut evidence = json!({ "listener": listener.name, "server": target.server, "tools": tools });
    if let Some(given) = &token {
        evidence["token"] = json!({ "scope": given.scope, "expires_in": given.expires_in });
    }
    let Some(tool) = &target.tool else { return Ok(evidence) };
    let (status, body) = send(admin, listener, request(&target.server, Some(tool), key.reveal())).await?;
    match judged(status, &body) {
        Ok(_) => evidence["called"] = json!(format!("{}/{tool}", target.server)),
        // Whoever stopped it stopped it for everybody: the key itself was let in.
        Err(why) if why.starts_with("kill.") || why.starts_with("rate.") => evidence["not_called"] = json!(why),
        Err(why) => return Err(Trouble::transient(format!("{}/{tool}: {why}", target.server))),
    }
    Ok(evidence)
}

/// The result of an answer, or why it is none.
pub(super) fn judged(status: StatusCode, body: &[u8]) -> Result<Value, String> {
    if status == StatusCode::UNAUTHORIZED {
        return Err("it is refused with 401".to_owned());
    }
    let mut answer = message(body);
    if status == StatusCode::OK && answer["result"].is_object() {
        return Ok(answer["result"].take());
    }
    let reason = answer["error"]["data"]["reason"].as_str().map(str::to_owned);
    Err(reason.unwrap_or_else(|| format!("HTTP status {}", status.as_u16())))
}

/// The JSON of a body, or of the last event of a stream.
pub(super) fn message(body: &[u8]) -> Value {
    let text = String::from_utf8_lossy(body);
    serde_json::from_str(&text).unwrap_or_else(|_| {
        let last = text.lines().filter_map(|line| line.strip_prefix("data:")).next_back().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_default()
    })
}

fn reason(body: &[u8]) -> String {
    let answer = message(body);
    answer["error"]["data"]["reason"].as_str().unwrap_or_default().to_owned()
}

fn listeners(admin: &Admin) -> Result<Vec<ProxyListener>, Trouble> {
    let all = admin.feed.listeners();
    if all.is_empty() {
        return Err(Trouble::transient("no listener of the proxy is open, so no key can be seen at work: start Lifeboat first"));
    }
    Ok(all)
}

pub(super) async fn send(
    admin: &Admin,
    listener: &ProxyListener,
    (request, body): (http::request::Builder, Bytes),
) -> Result<(StatusCode, Bytes), Trouble> {
    let manner = kill::manner(admin);
    let sent = admin.credentials.line.send(listener, (&manner, admin.feed.guests()), request, body);
    match tokio::time::timeout(PATIENCE, sent).await {
        Ok(answer) => answer.map_err(|why| Trouble::transient(format!("listener {} does not answer: {why}", listener.name))),
        Err(_) => Err(Trouble::transient(format!("listener {} did not answer in {} s", listener.name, PATIENCE.as_secs()))),
    }
}

/// What a client's key can be tried with: the tool that was named for it, or else every server that it reaches.
pub(super) fn targets(snapshot: &Snapshot, client: &ClientEntry, named: Option<&str>) -> Vec<Target> {
    // Whoever names one means it: nothing else shows that the key does its work.
    if let Some((server, tool)) = named.and_then(|named| named.split_once('/')) {
        return vec![Target { server: server.to_owned(), tool: Some(tool.to_owned()) }];
    }
    let mut all = Vec::new();
    for (name, server) in &snapshot.servers {
        let reads = reading(snapshot, client, (name.as_str(), server.as_ref()));
        let reaches = server.config.tools.keys().any(|tool| permits(snapshot, client, name, tool).is_some());
        if reaches {
            all.push(Target { server: name.clone(), tool: reads });
        }
    }
    all
}

pub(super) fn permits(snapshot: &Snapshot, client: &ClientEntry, server: &str, tool: &str) -> Option<Class> {
    match decide(snapshot, client, server, Asked::Tool(tool)) {
        Decision::Permit { class, .. } => Some(class),
        Decision::Refuse { .. } => None,
    }
}

/// A tool of class read that the client may call and that asks for no argument.
fn reading(snapshot: &Snapshot, client: &ClientEntry, (name, server): (&str, &ServerEntry)) -> Option<String> {
    let bare = |tool: &str| {
        let input = snapshot.definition(name, tool).and_then(|definition| definition.input.clone());
        input.is_none_or(|input| input["required"].as_array().is_none_or(Vec::is_empty))
    };
    let mut tools = server.config.tools.keys();
    tools.find(|tool| permits(snapshot, client, name, tool) == Some(Class::Read) && bare(tool)).cloned()
}
