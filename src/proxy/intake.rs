//! Stage: size, media type, strict parse, era, session. What passes here means one thing only. Never changes a byte.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout_at};

use super::Shared;
use super::exchange::{Exchange, Sort};
use super::origin::Admitted;
use super::rate::Metered;
use super::refuse::Refusal;
use super::room::{self, Room};
use super::sessions::{SessionView, digest};
use super::shape;
use super::task_table::{Owner, TaskKey};
use crate::mcp::era::{Era, era_of};
use crate::mcp::fault::WireFault;
use crate::mcp::headers::{check_accept, check_content_encoding, check_content_type, check_mirror, check_params, single};
use crate::mcp::message::{Message, parse};
use crate::mcp::method::{MethodKind, served};
use crate::policy::Asked;
use crate::policy::feed::FlyingCall;

/// A whole body must be here after this time, and something of it each `BODY_GAP`.
const BODY_WHOLE: Duration = Duration::from_secs(30);
const BODY_GAP: Duration = Duration::from_secs(10);
/// What is refused is waited for no longer.
const DISCARD: Duration = Duration::from_secs(1);
/// A body up to here needs no room of its own.
const SMALL: usize = 64 * 1024;

/// A message that was read.
pub struct Received {
    /// Who sent it.
    pub metered: Metered,
    /// The server in the path.
    pub server: Arc<str>,
    /// Where the client reaches us.
    pub base: String,
    /// The message.
    pub message: Arc<Message>,
    /// What its method is for; `None` for a response.
    pub kind: Option<MethodKind>,
    /// The era it speaks.
    pub era: Era,
    /// The legacy session it belongs to.
    pub session: Option<SessionView>,
    /// The call that began the task it asks about, when that was a call of this client and session.
    pub task: Option<FlyingCall>,
    /// The client's headers, of which few are passed on.
    pub headers: HeaderMap,
}

impl Received {
    /// What policy is asked about; `None` for what needs no grant.
    pub fn asked(&self) -> Option<Asked<'_>> {
        match self.kind? {
            MethodKind::ToolCall => Some(Asked::Tool(self.message.name().unwrap_or_default())),
            MethodKind::ResourceRead | MethodKind::Subscribe | MethodKind::Unsubscribe => Some(Asked::Facet("resources")),
            MethodKind::PromptGet => Some(Asked::Facet("prompts")),
            MethodKind::Complete => Some(Asked::Facet("completion")),
            // Ending what one has begun needs no grant, only to have begun it.
            MethodKind::TaskCancel => None,
            kind if kind.is_task() => Some(Asked::Facet("tasks")),
            MethodKind::Listen if self.listens_to_resources() => Some(Asked::Facet("resources")),
            _ => None,
        }
    }

    /// What names a task of its sender.
    pub fn task_key(&self, id: &str) -> TaskKey {
        let owner = Owner::of(self.session.as_ref(), &self.metered.caller.principal.client);
        TaskKey { server: self.server.clone(), owner, id: id.into() }
    }

    /// subscriptions/listen names single resources, which is what resources/subscribe was.
    fn listens_to_resources(&self) -> bool {
        let wanted = self.message.param_raw("notifications").and_then(|raw| serde_json::from_slice::<Value>(raw).ok());
        let names_some = |named: &Value| !named.is_null() && named.as_array().is_none_or(|named| !named.is_empty());
        wanted.is_some_and(|wanted| wanted.get("resourceSubscriptions").is_some_and(names_some))
    }

    /// The tool it calls.
    pub fn tool(&self) -> Option<Arc<str>> {
        matches!(self.kind, Some(MethodKind::ToolCall)).then(|| self.message.name().unwrap_or_default().into())
    }
}

/// Reads the message of a POST.
///
/// # Errors
/// 400, 404, 406, 408, 413, 415 as the specification says.
pub async fn read(
    shared: &Shared,
    x: &mut Exchange,
    (admitted, metered): (Admitted, Metered),
    body: &mut Option<Incoming>,
) -> Result<Received, Refusal> {
    let snapshot = shared.feed.snapshot();
    let headers = admitted.headers;
    check_content_type(&headers).map_err(Refusal::Wire)?;
    check_content_encoding(&headers).map_err(Refusal::Wire)?;
    check_accept(&headers).map_err(Refusal::Wire)?;
    let bytes = match body.take() {
        Some(body) => collect(&headers, body, snapshot.settings.limits.request.0, &shared.bodies).await?,
        None => Bytes::new(),
    };
    x.facts.bytes_in = bytes.len() as u64;
    let message = Arc::new(parse(bytes).map_err(Refusal::Wire)?);
    note(x, &message);
    let era = era_of(&headers, &message).map_err(Refusal::Wire)?;
    let server = admitted.server.unwrap_or_else(|| "".into());
    let client = metered.caller.principal.client.clone();
    let kind = match served(&message, era) {
        Ok(kind) => kind,
        Err(fault) => return Err(unknown(shared, x, (&headers, era), (&client, &server), fault)),
    };
    if era.is_modern() {
        check_mirror(&headers, &message).map_err(Refusal::Wire)?;
    }
    x.facts.sort = sort(kind);
    if let (Era::Modern, Some(MethodKind::ToolCall), Some(tool)) = (era, kind, message.name()) {
        let declared = snapshot.mirrored(&server, tool);
        check_params(&headers, message.arguments_raw(), declared)
            .map_err(|fault| Refusal::Wire(fault.with_id(message.id_raw())))?;
    }
    let session = match (era, kind) {
        (Era::Modern, _) | (_, Some(MethodKind::Initialize)) => None,
        _ => session(shared, x, &headers, (&client, &server))?,
    };
    let mut received = Received { metered, server, base: admitted.base, message, kind, era, session, task: None, headers };
    received.task = received.message.task_id().and_then(|id| shared.table.find(&received.task_key(id)));
    Ok(received)
}

/// In a session, 404 means that the session is over, so what its revision does not know is answered in-band there.
fn unknown(shared: &Shared, x: &mut Exchange, (headers, era): (&HeaderMap, Era), pair: (&str, &str), fault: WireFault) -> Refusal {
    if era.is_modern() {
        return Refusal::Wire(fault);
    }
    match session(shared, x, headers, pair) {
        Ok(Some(_)) => Refusal::Wire(WireFault { status: 200, ..fault }),
        Ok(None) => Refusal::Wire(fault),
        Err(refusal) => refusal,
    }
}

/// The session that the headers name.
///
/// # Errors
/// 404 when they name one that does not serve this client and server.
pub fn session(
    shared: &Shared,
    x: &mut Exchange,
    headers: &HeaderMap,
    (client, server): (&str, &str),
) -> Result<Option<SessionView>, Refusal> {
    let Some(id) = single(headers, "mcp-session-id").map_err(Refusal::Wire)? else { return Ok(None) };
    x.facts.session = Some(digest(id));
    let limits = &shared.feed.snapshot().settings.sessions;
    shared.sessions.find(limits, id, client, server).map(Some).ok_or(Refusal::NoSession)
}

/// Reads the id, method and so on of a request that was refused before its body was read, so that the refusal finds its way.
pub async fn read_for_refusal(shared: &Shared, x: &mut Exchange, body: Incoming) {
    let limit = shared.feed.snapshot().settings.limits.request.0;
    let length = body.size_hint().exact().unwrap_or(limit).min(limit);
    // Without room the refusal goes without an id: whoever is refused may not fill the memory either.
    let Some(share) = shared.refused.try_enter(length) else { return };
    let read = collect(&HeaderMap::new(), body, limit, &shared.bodies).await;
    drop(share);
    if let Ok(bytes) = read {
        x.facts.bytes_in = bytes.len() as u64;
        if let Ok(message) = parse(bytes) {
            note(x, &Arc::new(message));
        }
    }
}

/// Takes in a small body that nobody will look at: a connection that ends with bytes unread is reset, and the reset may overtake the refusal
/// on its way to the client.
pub async fn discard(mut body: Incoming) {
    let (end, mut left) = (Instant::now() + DISCARD, SMALL as u64);
    while body.size_hint().lower() <= left
        && let Ok(Some(Ok(frame))) = timeout_at(end, body.frame()).await
    {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len) as u64);
    }
}

/// Reads a body of at most `limit` bytes. A large one waits until there is room for it.
///
/// # Errors
/// 413 over the limit, 408 when it comes too slowly, 400 when it breaks off; `rate.concurrency` when no room came free in time.
pub(super) async fn collect(headers: &HeaderMap, mut body: Incoming, limit: u64, room: &Room) -> Result<Bytes, Refusal> {
    let over = || Refusal::RequestSize { limit };
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(over());
    }
    let whole = announced.and_then(|whole| usize::try_from(whole).ok());
    let end = Instant::now() + BODY_WHOLE;
    let (mut first, mut share) = (Bytes::new(), None);
    let mut rest: Option<BytesMut> = None;
    loop {
        let due = end.min(Instant::now() + BODY_GAP);
        let frame = timeout_at(due, body.frame()).await.map_err(|_| Refusal::Slow)?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| Refusal::Wire(WireFault::invalid_request("the body broke off")))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = first.len() + rest.as_ref().map_or(0, BytesMut::len) + data.len();
        if length as u64 > limit {
            return Err(over());
        }
        if length > SMALL && share.is_none() {
            let entering = room.enter(announced.unwrap_or(limit));
            share = timeout_at(end, entering).await.map_err(|_| Refusal::Concurrency)?;
            // Memory is asked for when there is room, not when it is announced.
            if let (Some(rest), Some(whole)) = (&mut rest, whole) {
                rest.reserve(whole.saturating_sub(rest.len()));
            }
        }
        // Most bodies come in one piece, which is then not copied.
        match &mut rest {
            Some(rest) => rest.extend_from_slice(&data),
            None if first.is_empty() => first = data,
            None => {
                let most = if share.is_some() { usize::MAX } else { SMALL };
                let mut joined = BytesMut::with_capacity(whole.unwrap_or(length * 2).min(most).max(length));
                joined.extend_from_slice(&first);
                joined.extend_from_slice(&data);
                first = Bytes::new();
                rest = Some(joined);
            }
        }
    }
    Ok(room::holding(rest.map_or(first, BytesMut::freeze), share))
}

fn sort(kind: Option<MethodKind>) -> Sort {
    match kind {
        Some(kind) if kind.executes() => Sort::Call,
        _ => Sort::List,
    }
}

/// Keeps what the ledger will say about the message.
fn note(x: &mut Exchange, message: &Arc<Message>) {
    x.message = Some(message.clone());
    x.facts.method = message.method().map(|method| shape::cut(method, 128));
    let is_call = message.method() == Some("tools/call");
    x.facts.tool = message.name().filter(|_| is_call).map(|name| shape::cut(name, 256).into());
    if let Some(params) = message.params_raw() {
        let digest = Sha256::digest(params);
        x.facts.params_sha256 = Some(shape::hex(&digest));
        x.facts.params = Some(shape::shapes(message.told()));
    }
}
