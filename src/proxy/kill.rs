//! Stage: is it stopped. From here on a call is raced against the kill state until it ends. Never permits anything.

use std::sync::Arc;

use tokio::sync::watch;

use super::Shared;
use super::exchange::Exchange;
use super::intake::Received;
use super::refuse::{Executed, Refusal};
use super::sessions::Question;
use crate::config::Class;
use crate::mcp::message::Kind;
use crate::mcp::method::MethodKind;
use crate::policy::decide::class_of;
use crate::policy::feed::{Feed, FlightGuard, FlyingCall};

/// A call that is not stopped.
pub struct Living {
    /// The message and who sent it.
    pub received: Received,
    /// What a kill would have to cover to stop it; nothing stops what does not execute.
    pub target: Option<FlyingCall>,
    /// Counts the call in flight, for the kill's own figures.
    pub flight: Option<FlightGuard>,
}

/// Refuses what is stopped.
///
/// # Errors
/// `kill.engaged` or `kill.read_only`.
pub fn check(shared: &Shared, x: &mut Exchange, received: Received) -> Result<Living, Refusal> {
    let target = target(shared, &received);
    x.facts.class = Some(target.as_ref().map_or(Class::Read, |target| target.class));
    if let Some(target) = &target {
        recheck(&shared.feed, target, Executed::No)?;
    }
    let flight = target.clone().map(|call| shared.feed.fly(call));
    Ok(Living { received, target, flight })
}

/// Compares with the kill state of this very moment.
///
/// # Errors
/// `kill.engaged` or `kill.read_only`.
pub fn recheck(feed: &Feed, call: &FlyingCall, executed: Executed) -> Result<(), Refusal> {
    match feed.kill().stops(&call.server, call.tool.as_deref(), &call.client, call.class) {
        Some(entry) => Err(Refusal::Killed { mode: entry.mode, executed }),
        None => Ok(()),
    }
}

/// Ends, with the refusal, as soon as the call is stopped; never when nothing can stop it.
pub async fn engaged(feed: &Feed, target: Option<&FlyingCall>, mut epochs: watch::Receiver<u64>) -> Refusal {
    let Some(call) = target else { return std::future::pending().await };
    loop {
        if let Err(refusal) = recheck(feed, call, Executed::Unknown) {
            return refusal;
        }
        if epochs.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn target(shared: &Shared, received: &Received) -> Option<FlyingCall> {
    if received.message.kind() == Kind::Response {
        return answered(shared, received);
    }
    if !received.kind.is_some_and(MethodKind::executes) {
        return None;
    }
    // A task counts as the call that began it; a canary begins none.
    if let Some(task) = &received.task {
        return Some(task.clone());
    }
    let principal = &received.metered.caller.principal;
    let tool: Option<Arc<str>> = received.tool();
    let class = match (&principal.canary, received.asked()) {
        (Some(canary), _) => canary.class,
        (None, Some(asked)) => {
            let snapshot = shared.feed.snapshot();
            snapshot.servers.get(received.server.as_ref()).map_or(Class::Destructive, |server| class_of(server, asked))
        }
        (None, None) => Class::Read,
    };
    Some(FlyingCall { server: received.server.clone(), tool, client: principal.client.clone(), class })
}

/// What a client's response sets going again: the call on whose stream its question came. Nobody's answer goes nowhere anyway.
fn answered(shared: &Shared, received: &Received) -> Option<FlyingCall> {
    let (session, id) = (received.session.as_ref()?, received.message.id()?);
    let Question { tool, class } = shared.sessions.question(&session.id, &id)?;
    let client = received.metered.caller.principal.client.clone();
    Some(FlyingCall { server: received.server.clone(), tool, client, class: class? })
}

/// The last look before the first byte goes to the server.
///
/// # Errors
/// `kill.engaged` or `kill.read_only`; the call did not run.
pub fn last_look(shared: &Shared, living: &Living) -> Result<(), Refusal> {
    match &living.target {
        Some(target) => recheck(&shared.feed, target, Executed::No),
        None => Ok(()),
    }
}
