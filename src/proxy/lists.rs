//! What a client may see of a list: exactly what it may use, by the same decision. Never adds an entry.

use bytes::Bytes;

use super::Shared;
use super::authn::Caller;
use crate::mcp::era::Era;
use crate::mcp::list::{ListKind, filter};
use crate::mcp::method::MethodKind;
use crate::policy::{Asked, Decision, decide};

/// The list as the caller may see it; an error response comes back unchanged.
///
/// # Errors
/// When the answer is no list that could be filtered: it must not be passed on.
pub(super) fn rewrite(
    shared: &Shared,
    body: &Bytes,
    kind: MethodKind,
    era: Era,
    (caller, server): (&Caller, &str),
) -> Result<Bytes, &'static str> {
    rewrite_for(shared, body, kind, era, (&caller.principal.client, server))
}

/// The same by the client's name.
///
/// # Errors
/// See [`rewrite`].
pub(super) fn rewrite_for(
    shared: &Shared,
    body: &Bytes,
    kind: MethodKind,
    era: Era,
    (client, server): (&str, &str),
) -> Result<Bytes, &'static str> {
    let snapshot = shared.feed.snapshot();
    let client = snapshot.clients.get(client);
    let permits =
        |asked: Asked<'_>| client.is_some_and(|client| matches!(decide(&snapshot, client, server, asked), Decision::Permit { .. }));
    let list = ListKind::of(kind).ok_or("it is no list")?;
    let filtered = match list {
        ListKind::Tools => filter(body, list, era, |entry| permits(Asked::Tool(&entry.name))),
        ListKind::Prompts => {
            let all = permits(Asked::Facet("prompts"));
            filter(body, list, era, |_| all)
        }
        ListKind::Resources | ListKind::Templates => {
            let all = permits(Asked::Facet("resources"));
            filter(body, list, era, |_| all)
        }
    };
    filtered.map(|filtered| filtered.body).map_err(|_| "its list cannot be read")
}
