//! What a client may see of a list: exactly what it may use, by the same decision. Never adds an entry.

use bytes::Bytes;

use super::Shared;
use super::conclude::Asker;
use super::sight::Sight;
use crate::mcp::list::{ListKind, filter};
use crate::policy::Asked;

/// The list as the asker may see it; an error response comes back unchanged.
///
/// # Errors
/// When the answer is no list that could be filtered: it must not be passed on.
pub(super) fn rewrite(shared: &Shared, body: &Bytes, asker: &Asker<'_>) -> Result<Bytes, &'static str> {
    let sight = Sight::of(shared, asker.client, asker.server);
    let list = ListKind::of(asker.kind).ok_or("it is no list")?;
    let all = |facet| sight.permits(Asked::Facet(facet));
    let filtered = match list {
        ListKind::Tools => filter(body, list, asker.era, |entry| sight.permits(Asked::Tool(&entry.name))),
        ListKind::Prompts => {
            let all = all("prompts");
            filter(body, list, asker.era, |_| all)
        }
        ListKind::Resources | ListKind::Templates => {
            let all = all("resources");
            filter(body, list, asker.era, |_| all)
        }
        ListKind::Tasks => filter(body, list, asker.era, |entry| shared.table.find(&asker.task(&entry.name)).is_some()),
    };
    filtered.map(|filtered| filtered.body).map_err(|_| "its list cannot be read")
}
