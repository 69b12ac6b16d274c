//! Legacy calls in flight by session and request id, so that a client's `notifications/cancelled` finds the one it gives up. Never ends a
//! call at once: its server may still say how it ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::exchange::Exchange;
use super::intake::Received;
use super::pipeline::{Outcome, left_alone};
use super::refuse::Refusal;
use crate::mcp::message::{Id, Kind};
use crate::mcp::method::MethodKind;

/// How long a server may take to end a call that its client gave up. Some never do (basic/utilities/cancellation lets them).
const LAST_WORD: Duration = Duration::from_secs(2);
/// How much later than its leaving a client's cancellation may come: they travel on connections of their own.
const OVERTAKEN: Duration = Duration::from_secs(2);

type Name = (Arc<str>, Id);

/// The calls that a notification can give up.
#[derive(Default)]
pub(super) struct Cancellable(Mutex<HashMap<Name, Arc<CancellationToken>>>);

/// A call that is in flight for as long as this lasts.
pub(super) struct Entered<'a> {
    all: &'a Cancellable,
    named: Option<(Name, Arc<CancellationToken>)>,
}

impl Cancellable {
    fn calls(&self) -> MutexGuard<'_, HashMap<Name, Arc<CancellationToken>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a request; one of the modern era, or of no session, cannot be given up by a notification.
    pub(super) fn enter(&self, x: &mut Exchange, received: &Received) -> Entered<'_> {
        let named = name(received, Kind::Request, received.message.id()).map(|name| {
            let given_up = Arc::new(CancellationToken::new());
            x.given_up = Some(given_up.clone());
            self.calls().insert(name.clone(), given_up.clone());
            (name, given_up)
        });
        Entered { all: self, named }
    }

    /// Marks the request that a cancellation names. Nothing happens when there is none of its own session in flight.
    pub(super) fn note(&self, received: &Received) {
        if received.kind != Some(MethodKind::Cancelled) {
            return;
        }
        let id = received.message.cancelled_request_id_raw().and_then(Id::from_raw);
        if let Some(name) = name(received, Kind::Notification, id)
            && let Some(given_up) = self.calls().get(&name)
        {
            given_up.cancel();
        }
    }
}

fn name(received: &Received, kind: Kind, id: Option<Id>) -> Option<Name> {
    let session = received.session.as_ref().filter(|_| received.message.kind() == kind && !received.era.is_modern())?;
    Some((session.id.clone(), id?))
}

impl Entered<'_> {
    /// Ends when its client has given it up and its server has had its time since.
    pub(super) async fn is_over(&self) {
        let Some((_, given_up)) = &self.named else { return std::future::pending().await };
        given_up.cancelled().await;
        tokio::time::sleep(LAST_WORD).await;
    }

    /// Whether its client, which has left, gives it up as well.
    pub(super) async fn is_given_up_soon(&self) -> bool {
        let Some((_, given_up)) = &self.named else { return false };
        tokio::time::timeout(OVERTAKEN, given_up.cancelled()).await.is_ok()
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let Some((name, given_up)) = self.named.take() else { return };
        let mut calls = self.all.calls();
        // A client that uses an id twice has only its later call here.
        if calls.get(&name).is_some_and(|kept| Arc::ptr_eq(kept, &given_up)) {
            calls.remove(&name);
        }
    }
}

/// What is told of a call at its end, when its client gave it up before. One that its server carried out all the same is told as it was.
///
/// # Errors
/// What ended it otherwise.
pub(super) fn at_its_end(x: &mut Exchange, outcome: Result<Outcome, Refusal>) -> Result<Outcome, Refusal> {
    match outcome {
        Ok(Outcome { answer, executed, status: "upstream_error" | "unknown" }) if x.is_given_up() => {
            Ok(Outcome { answer, status: "cancelled", executed })
        }
        Err(Refusal::Upstream { .. }) if x.is_given_up() => Ok(silently(x)),
        other => other,
    }
}

/// Ends a call without an answer, as a cancellation wants it.
pub(super) fn silently(x: &mut Exchange) -> Outcome {
    x.reply.begin(None);
    left_alone(x, "cancelled")
}
