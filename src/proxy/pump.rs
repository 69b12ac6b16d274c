//! A stream that stays open: the server's own of a legacy session, or subscriptions/listen. Passes events one by one, byte for byte, and of
//! responses only those that this session still waits for. Never outlives its credential.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::Shared;
use super::authz::may_attend;
use super::conclude::{self, Asker};
use super::exchange::Exchange;
use super::kill;
use super::news::News;
use super::oauth;
use super::rate::Slot;
use super::record;
use super::refuse::{Executed, Failure, Refusal};
use super::relay::{COMMENT, KEEP_ALIVE, passes};
use super::sessions::{Orphan, SessionView};
use super::sight::Sight;
use super::task_table::{Owner, TaskKey};
use super::upstream::{CancelWhy, Piece};
use crate::mcp::era::Era;
use crate::mcp::list::holds_some;
use crate::mcp::message::{Id, Incoming, Kind};
use crate::mcp::sse::SseEvent;
use crate::mcp::task::{self, TaskNote};
use crate::policy::feed::FlyingCall;
use crate::policy::{Asked, Principal, Snapshot};

/// A client may resume before the end of the stream it lost has been noticed.
const ADOPT_TRIES: u32 = 20;
const ADOPT_WAIT: Duration = Duration::from_millis(25);

/// A stream that belongs to no single answer: the server's own stream of a session, or subscriptions/listen.
pub struct Stream {
    /// Who listens.
    pub client: Arc<str>,
    /// With which credential; the stream ends with it.
    pub principal: Principal,
    /// To which server.
    pub server: Arc<str>,
    /// In which session.
    pub session: Option<SessionView>,
    /// In which era.
    pub era: Era,
    /// The request that opened it, whose response may come last.
    pub request: Option<Id>,
    /// Its place among the client's open streams.
    pub place: Slot,
}

/// Passes on an open stream until one side ends it, its key stops counting, or Lifeboat stops.
pub async fn pump(shared: &Arc<Shared>, x: &mut Exchange, stream: Stream) {
    if ended_by_server(shared, x, &stream).await {
        return;
    }
    // Whoever ends it on this side, the server is told where closing alone does not tell it.
    x.flight.take().into_iter().for_each(|flight| flight.end(shared, CancelWhy::Client));
}

async fn ended_by_server(shared: &Arc<Shared>, x: &mut Exchange, stream: &Stream) -> bool {
    let (mut snapshots, mut looked) = (shared.feed.watch_snapshot(), None);
    let left = x.left.clone();
    let outline = Sight::of(shared, &stream.client, &stream.server).outline();
    let mut news = if stream.era.is_modern() { News::of_subscription(outline) } else { News::of_session(outline) };
    // It counts among the open streams from here on, no longer among the calls in flight.
    x.reply.hold(stream.place.clone());
    x.reply.begin(None);
    loop {
        let Some(flight) = &mut x.flight else { return true };
        let piece = tokio::select! {
            () = left.cancelled() => return false,
            () = shared.drain.cancelled() => return false,
            _ = snapshots.changed() => {
                news.changed();
                if still_permitted(shared, stream, &mut looked) { continue } else { return false }
            }
            () = news.due() => {
                if tell(shared, x, stream, &mut news).await { continue } else { return false }
            }
            piece = timeout(KEEP_ALIVE, flight.next()) => piece,
        };
        // A credential that expires changes no policy, so it is looked at with each piece.
        if !still_permitted(shared, stream, &mut looked) {
            return false;
        }
        // With each piece, because a busy stream has no silence to do it in.
        still_used(shared, stream);
        let bytes = match piece {
            Err(_) => COMMENT,
            Ok(Ok(Piece::Silent { raw, id })) => {
                note(shared, stream, id.as_deref());
                raw
            }
            Ok(Ok(Piece::Message { incoming, event })) => {
                note(shared, stream, event.id.as_deref());
                if stream.era.is_modern() && incoming.method() == Some("notifications/subscriptions/acknowledged") {
                    news.acknowledged(&incoming);
                }
                match passing(shared, stream, &incoming, event).await {
                    Some(bytes) => bytes,
                    None => continue,
                }
            }
            Ok(Ok(Piece::End) | Err(_)) => return true,
        };
        if x.reply.event(bytes).await.is_err() {
            return false;
        }
    }
}

/// Tells what the client sees differently now; false when it has left.
async fn tell(shared: &Shared, x: &mut Exchange, stream: &Stream, news: &mut News) -> bool {
    let outline = Sight::of(shared, &stream.client, &stream.server).outline();
    let subscription = x.id_raw().map(<[u8]>::to_vec);
    for event in news.tell(outline, subscription.as_deref()) {
        if x.reply.event(event).await.is_err() {
            return false;
        }
    }
    true
}

/// Whether who opened a stream may still listen: the credential counts, and a grant reaches something on the server. The grants change with the policy
/// alone, so they are looked at once for each.
fn still_permitted(shared: &Shared, stream: &Stream, looked: &mut Option<Arc<Snapshot>>) -> bool {
    let snapshot = shared.feed.snapshot();
    if oauth::counts_by(shared, &snapshot, &stream.principal).is_err() {
        return false;
    }
    if looked.as_ref().is_some_and(|looked| Arc::ptr_eq(looked, &snapshot)) {
        return true;
    }
    let may = may_attend(&snapshot, &stream.principal, &stream.server);
    *looked = Some(snapshot);
    may
}

/// A session lasts as long as somebody listens.
fn still_used(shared: &Shared, stream: &Stream) {
    if let Some(session) = &stream.session {
        let limits = &shared.feed.snapshot().settings.sessions;
        shared.sessions.find(limits, &session.id, &stream.client, &stream.server);
    }
}

/// Its client may resume from this event.
fn note(shared: &Shared, stream: &Stream, event: Option<&str>) {
    if let (Some(session), Some(event)) = (&stream.session, event) {
        shared.sessions.passed(&session.id, event);
    }
}

/// What of one message goes to the client.
async fn passing(shared: &Shared, stream: &Stream, incoming: &Incoming, event: SseEvent) -> Option<Bytes> {
    if incoming.kind() != Kind::Response {
        let session = stream.session.as_ref().map(|session| &*session.id);
        let may_hear = reaches(shared, stream, incoming) && passes(shared, incoming, stream.era, (session, None));
        return may_hear.then_some(event.raw);
    }
    let id = incoming.id()?;
    if stream.request.as_ref() == Some(&id) {
        return Some(event.raw);
    }
    let orphan = adopt(shared, &stream.session.as_ref()?.id, &id).await?;
    match resumed(shared, stream, &orphan, incoming).await {
        Ok(body) if body == event.data => Some(event.raw),
        Ok(body) => Some(event.with_data(&body)),
        Err(refusal) => Some(event.with_data(&refusal.to_body(incoming.id_raw(), &orphan.request))),
    }
}

/// Whether the client reaches what a notification tells of: a facet of its grants, a task of its own.
fn reaches(shared: &Shared, stream: &Stream, incoming: &Incoming) -> bool {
    let method = incoming.method().unwrap_or_default();
    let facet = match method.strip_prefix("notifications/").and_then(|rest| rest.split('/').next()) {
        Some("resources") => "resources",
        Some("prompts") => "prompts",
        Some("tasks") => return task::told(incoming).is_some_and(|note| is_own(shared, stream, &note)),
        _ => return true,
    };
    Sight::of(shared, &stream.client, &stream.server).permits(Asked::Facet(facet))
}

fn is_own(shared: &Shared, stream: &Stream, note: &TaskNote) -> bool {
    let owner = Owner::of(stream.session.as_ref(), &stream.client);
    let key = TaskKey { server: stream.server.clone(), owner, id: note.id.as_str().into() };
    if note.is_over() {
        shared.table.over(&key);
    }
    shared.table.find(&key).is_some()
}

/// The request of this session that a late response belongs to.
async fn adopt(shared: &Shared, session: &str, id: &Id) -> Option<Orphan> {
    for _ in 0..ADOPT_TRIES {
        let found = shared.sessions.adopt(session, id);
        if found.is_some() {
            return found;
        }
        sleep(ADOPT_WAIT).await;
    }
    None
}

/// A server that replays its streams can be led to answer under the id of another request, whose answer would be judged as something else.
fn foreign(orphan: &Orphan, executed: Executed) -> Refusal {
    Refusal::upstream(Failure::Unavailable, executed, orphan.class, "its late answer is a list, which was not asked for")
}

/// A response whose own stream ended early takes what every response takes, and is recorded under the request it answers.
async fn resumed(shared: &Shared, stream: &Stream, orphan: &Orphan, incoming: &Incoming) -> Result<Bytes, Refusal> {
    let call =
        FlyingCall { server: stream.server.clone(), tool: orphan.tool.clone(), client: stream.client.clone(), class: orphan.class };
    let executed = if orphan.kind.executes() { Executed::Yes } else { Executed::No };
    let asker = Asker {
        kind: orphan.kind,
        era: stream.era,
        client: &stream.client,
        server: &stream.server,
        class: orphan.class,
        executed,
        session: stream.session.as_ref(),
        call: Some(&call),
        may_begin_task: true,
        task: None,
    };
    let stopped = orphan.kind.executes().then(|| kill::recheck(&shared.feed, &call, executed));
    let belongs = || if orphan.kind.is_list() || !holds_some(incoming) { Ok(()) } else { Err(foreign(orphan, executed)) };
    let concluded = stopped.unwrap_or(Ok(())).and_then(|()| belongs()).and_then(|()| conclude::conclude(shared, &asker, incoming));
    record::resumed(shared, &call, orphan, (incoming, &concluded)).await?;
    concluded
}
