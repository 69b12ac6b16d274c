//! The life of one request, one line per stage. Each stage takes what the stage before it made; whatever happens, the outcome is
//! recorded before anything is released. Never sends by itself.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;

use super::authn::{Caller, authenticate};
use super::authz::{authorise, needs_intent};
use super::exchange::{Exchange, Sort, Whole};
use super::kill::Living;
use super::oauth::documents;
use super::origin::{Admitted, admit};
use super::pump::{self, Stream};
use super::rate::Metered;
use super::refuse::{Executed, Refusal};
use super::route::{self, Route};
use super::sessions::Orphan;
use super::upstream::{self, CancelWhy};
use super::{Shared, arguments, authn, cors, given_up, intake, kill, oauth, places, rate, record, relay, rotation, streams};
use crate::mcp::message::Id;
use crate::mcp::sse;
use crate::policy::Principal;
use crate::policy::principal::Canary;

/// How a request ended well, as far as Lifeboat is concerned.
pub struct Outcome {
    /// What is released once it is recorded.
    pub answer: Answer,
    /// The word of the ledger.
    pub status: &'static str,
    /// Whether the tool ran.
    pub executed: Executed,
}

/// What is released to the client.
pub enum Answer {
    /// One response.
    Whole(Whole),
    /// The last event of the stream that has begun.
    Last(Bytes),
    /// A stream that begins now and lasts as long as both sides like.
    Open(Box<Stream>),
    /// Nothing more: the stream ends, or nobody is there.
    End,
}

impl Outcome {
    /// A response that executed nothing.
    pub fn whole(whole: Whole) -> Self {
        Self { answer: Answer::Whole(whole), status: "ok", executed: Executed::No }
    }
}

/// Takes one request through its life.
pub async fn run(shared: Arc<Shared>, mut x: Exchange, request: Request<Incoming>) {
    let (parts, body) = request.into_parts();
    let mut body = Some(body);
    let outcome = AssertUnwindSafe(stages(&shared, &mut x, parts, &mut body)).catch_unwind().await;
    let outcome = outcome.unwrap_or_else(|_| Err(Refusal::Broken { executed: x.executed_if_cut() }));
    match (&outcome, body) {
        (Err(refusal), Some(body)) if refusal.status() == StatusCode::OK => {
            intake::read_for_refusal(&shared, &mut x, body).await;
        }
        (Err(_), Some(body)) => intake::discard(body).await,
        _ => {}
    }
    let outcome = record::outcome(&shared, &mut x, outcome).await;
    release(&shared, x, outcome).await;
}

async fn stages(shared: &Shared, x: &mut Exchange, parts: Parts, body: &mut Option<Incoming>) -> Result<Outcome, Refusal> {
    if let Some(outcome) = signs_of_life(shared, &parts)? {
        return Ok(outcome);
    }
    let admitted = admit(&shared.feed.snapshot().settings, (x.port, x.is_fronted), parts)?;
    x.facts.server = admitted.server.clone();
    x.reply.pages(cors::of(&admitted));
    if cors::is_preflight(&admitted) {
        return Ok(Outcome::whole(Whole::empty(StatusCode::NO_CONTENT)));
    }
    if let Some(whole) = document(shared, &admitted)? {
        return Ok(Outcome::whole(whole));
    }
    if matches!(admitted.route, Route::Token | Route::Revoke) {
        // On the heap, so that no call carries the room of a token request along.
        return Box::pin(oauth::serve(shared, x, &admitted, body)).await;
    }
    if let Some(token) = authn::foreign(shared, &admitted) {
        Box::pin(oauth::prepare(shared, token)).await;
    }
    let caller = authenticate(shared, &admitted).inspect_err(|_| places::missed(shared, x, &admitted))?;
    know(x, &caller, &admitted);
    places::seen(shared, x);
    if admitted.route == Route::Rotate {
        return Box::pin(rotation::serve(shared, x, (&admitted, caller), body)).await;
    }
    match (&admitted.route, &admitted.method) {
        (Route::Mcp(_), &Method::POST | &Method::GET | &Method::DELETE) => {}
        (Route::Mcp(_), _) => return Err(Refusal::NoMethod),
        _ => return Err(Refusal::NoPath),
    }
    let metered = rate::meter(&shared.limiter, caller)?;
    x.reply.hold(metered.slot.clone());
    match admitted.method {
        Method::POST => call(shared, x, (admitted, metered), body).await,
        Method::GET => streams::open(shared, x, admitted, metered.caller).await,
        _ => streams::end(shared, x, admitted, metered.caller).await,
    }
}

async fn call(
    shared: &Shared,
    x: &mut Exchange,
    (admitted, metered): (Admitted, Metered),
    body: &mut Option<Incoming>,
) -> Result<Outcome, Refusal> {
    let received = intake::read(shared, x, (admitted, metered), body).await?;
    let living = kill::check(shared, x, received)?;
    raced(shared, x, living).await
}

/// What ends a call before its outcome.
enum Cut {
    Killed(Refusal),
    Lapsed,
    Left,
    GivenUp,
}

/// From here on the call is raced against the kill state, against the end of its credential, its client's leaving, and its giving the call up.
async fn raced(shared: &Shared, x: &mut Exchange, living: Living) -> Result<Outcome, Refusal> {
    let target = living.target.clone();
    let (left, is_modern) = (x.left.clone(), living.received.era.is_modern());
    let loose = loose_end(&living, &x.id);
    let principal = living.received.metered.caller.principal.clone();
    let entered = shared.cancellable.enter(x, &living.received);
    let cut = tokio::select! {
        biased;
        refusal = kill::engaged(&shared.feed, target.as_ref(), shared.feed.watch_kill()) => Cut::Killed(refusal),
        () = lapsed(shared, &principal) => Cut::Lapsed,
        () = left.cancelled() => Cut::Left,
        () = entered.is_over() => Cut::GivenUp,
        outcome = onward(shared, x, living) => return given_up::at_its_end(x, outcome),
    };
    let flight = x.flight.take();
    match cut {
        Cut::Killed(Refusal::Killed { mode, .. }) => {
            flight.into_iter().for_each(|flight| flight.end(shared, CancelWhy::Kill));
            Err(Refusal::Killed { mode, executed: x.executed_if_cut() })
        }
        Cut::Killed(refusal) => Err(refusal),
        // Not by 401: a client that meets it gets a new token and asks again by itself, which must not happen to what may have run.
        Cut::Lapsed => {
            flight.into_iter().for_each(|flight| flight.end(shared, CancelWhy::Revoked));
            Err(Refusal::Lapsed { executed: x.executed_if_cut() })
        }
        // The server was told with the notification.
        Cut::GivenUp => Ok(given_up::silently(x)),
        Cut::Left if x.is_given_up() => Ok(left_alone(x, "cancelled")),
        Cut::Left if is_modern => {
            flight.into_iter().for_each(|flight| flight.end(shared, CancelWhy::Client));
            Ok(left_alone(x, "cancelled"))
        }
        Cut::Left => {
            if let (true, Some((session, id, orphan))) = (x.sent, loose) {
                shared.sessions.orphaned(&session, id, orphan);
            }
            // The call at the server is kept meanwhile, so that the cancellation finds it there too; and a stop cuts it there.
            let given_up = async { x.sent && entered.is_given_up_soon().await };
            tokio::select! {
                biased;
                refusal = kill::engaged(&shared.feed, target.as_ref(), shared.feed.watch_kill()) => {
                    flight.into_iter().for_each(|flight| flight.end(shared, CancelWhy::Kill));
                    Err(refusal)
                }
                given_up = given_up => Ok(left_alone(x, if given_up { "cancelled" } else { "unknown" })),
            }
        }
    }
}

/// Ends as soon as a credential is revoked. One that expires lets the call it has begun end.
async fn lapsed(shared: &Shared, principal: &Principal) {
    let mut changes = shared.feed.watch_snapshot();
    while changes.changed().await.is_ok() {
        match oauth::counts_by(shared, &shared.feed.snapshot(), principal) {
            Ok(()) | Err("auth.expired") => {}
            Err(_) => return,
        }
    }
    std::future::pending().await
}

async fn onward(shared: &Shared, x: &mut Exchange, living: Living) -> Result<Outcome, Refusal> {
    let authorised = authorise(shared, x, living)?;
    let permit = arguments::check(shared, authorised).await?;
    if x.facts.sort == Sort::Call {
        record::ready(shared)?;
        if needs_intent(x.class()) {
            record::intent(shared, x).await?;
        }
    }
    shared.cancellable.note(&permit.living().received);
    upstream::send(shared, x, permit).await
}

/// The client has left: nothing is released, and the ledger says what is known.
pub fn left_alone(x: &Exchange, status: &'static str) -> Outcome {
    let status = if x.sent { status } else { "cancelled" };
    Outcome { answer: Answer::End, status, executed: x.executed_if_cut() }
}

/// What to remember of a legacy request whose response may come later, on another stream.
pub fn loose_end(living: &Living, request: &str) -> Option<(Arc<str>, Id, Orphan)> {
    let received = &living.received;
    let session = received.session.as_ref()?.id.clone();
    let class = living.target.as_ref().map_or(crate::config::Class::Read, |target| target.class);
    let tool = living.target.as_ref().and_then(|target| target.tool.clone());
    Some((session, received.message.id()?, Orphan { request: request.into(), kind: received.kind?, tool, class }))
}

async fn release(shared: &Arc<Shared>, mut x: Exchange, outcome: Result<Outcome, Refusal>) {
    let answer = match outcome {
        Ok(outcome) => outcome.answer,
        Err(refusal) => refused(&x, &refusal),
    };
    match answer {
        Answer::Whole(whole) => x.reply.whole(whole),
        Answer::Last(event) => {
            // A client that left meanwhile has its outcome in the ledger.
            let _left = x.reply.event(event).await;
        }
        // On the heap, so that no call carries the room of an open stream along.
        Answer::Open(stream) => Box::pin(pump::pump(shared, &mut x, *stream)).await,
        Answer::End => {}
    }
    relay::drain(x.flight.take()).await;
}

fn refused(x: &Exchange, refusal: &Refusal) -> Answer {
    let body = refusal.to_body(x.id_raw(), &x.id);
    if x.reply.streams() {
        return Answer::Last(sse::encode(&body));
    }
    let extra = match refusal {
        Refusal::Unauthenticated { challenge, .. } | Refusal::Scope { challenge } => {
            HeaderValue::from_str(challenge).ok().map(|value| (header::WWW_AUTHENTICATE, value)).into_iter().collect()
        }
        Refusal::NoMethod => vec![(header::ALLOW, HeaderValue::from_static("POST, GET, DELETE"))],
        Refusal::ReadOnly => vec![(header::ALLOW, HeaderValue::from_static("GET, HEAD"))],
        Refusal::Slow => vec![(header::CONNECTION, HeaderValue::from_static("close"))],
        Refusal::Oauth(fault) => fault.headers(),
        Refusal::Rotation(fault) => fault.headers(),
        _ => Vec::new(),
    };
    Answer::Whole(Whole { extra, ..Whole::json(refusal.status(), body) })
}

/// `/health` and `/ready`, for whoever asks and by whatever name.
fn signs_of_life(shared: &Shared, parts: &Parts) -> Result<Option<Outcome>, Refusal> {
    let health = || (shared.health)();
    let whole = match (route::route(parts.uri.path()), &parts.method) {
        (Route::Health, &Method::GET | &Method::HEAD) => {
            let (status, body) = route::health(health());
            Whole::json(status, body)
        }
        (Route::Ready, &Method::GET | &Method::HEAD) => Whole::empty(route::ready(health())),
        (Route::Health | Route::Ready, _) => return Err(Refusal::ReadOnly),
        _ => return Ok(None),
    };
    Ok(Some(Outcome::whole(whole)))
}

/// The documents that need no credential.
fn document(shared: &Shared, admitted: &Admitted) -> Result<Option<Whole>, Refusal> {
    let reads = matches!(admitted.method, Method::GET | Method::HEAD);
    let found = |body| Ok(Some(Whole::json(StatusCode::OK, body)));
    match &admitted.route {
        Route::ProtectedResource(_) | Route::AuthorizationServer | Route::Jwks if !reads => Err(Refusal::ReadOnly),
        Route::ProtectedResource(server) => {
            let settings = &shared.feed.snapshot().settings;
            found(documents::protected_resource(&admitted.base, server.as_deref(), &settings.issuers))
        }
        Route::AuthorizationServer => found(documents::authorization_server(&admitted.base)),
        Route::Jwks => Ok(Some(documents::jwks(&shared.feed.snapshot()))),
        _ => Ok(None),
    }
}

/// From here on the request is somebody's, and every end of it is an event.
fn know(x: &mut Exchange, caller: &Caller, admitted: &Admitted) {
    x.facts.client = Some(caller.principal.client.clone());
    x.facts.kid = Some(caller.principal.kid.clone());
    x.facts.token = caller.principal.token.as_ref().map(|token| token.jti.clone());
    x.facts.canary = caller.principal.canary.as_ref().map(Canary::action);
    x.facts.method = Some(admitted.method.to_string());
}
