//! Keeps an eye on the keys of open rotations: watches them in memory, writes down what was seen, and looks up who used them before. Never holds a key.

use super::drivers::Driver;
use super::model::Rotation;
use super::{drivers, kinds, store};
use crate::admin::Admin;
use crate::audit::Filter;
use crate::base::fault::Verb;
use crate::policy::places::Seen;

/// Newest events of a client that say where its key was shown before.
const LOOKED_AT: u32 = 1_000;

/// Watches the versions of a rotation from now on, when they are shown at the proxy; the second time nothing happens.
pub(super) async fn follow(admin: &Admin, driver: &dyn Driver, row: &Rotation) {
    if !driver.is_shown_at_proxy() || row.state.is_over() {
        return;
    }
    let (places, client) = (admin.feed.places(), row.credential.split_once('/').map_or("", |(_, name)| name));
    let watched = places.kids();
    for kid in row.old.iter().chain(&row.new).filter(|kid| !watched.iter().any(|known| known.as_ref() == kid.as_str())) {
        let known = store::places(&admin.db, kid).await.unwrap_or_default();
        let known = if known.is_empty() && row.old.contains(kid) { before(admin, client, kid).await } else { known };
        places.watch(kid, known);
    }
}

/// From here on each use of the new version is somebody's: what was seen before was our own proof that it works.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn begin_drain(admin: &Admin, row: &Rotation) -> Verb<()> {
    let Some(new) = &row.new else { return Ok(()) };
    admin.feed.places().restart(new);
    store::forget_places(&admin.db, new).await
}

/// Watches the versions of a rotation that is over no longer.
pub(super) fn leave(admin: &Admin, row: &Rotation) {
    for kid in row.old.iter().chain(&row.new) {
        admin.feed.places().forget(kid);
    }
}

/// Where a key was shown lately, by the ledger.
async fn before(admin: &Admin, client: &str, kid: &str) -> Vec<(String, Seen)> {
    let filter = Filter { client: Some(client.to_owned()), limit: Some(LOOKED_AT), ..Filter::default() };
    let events = match admin.ledger.query(&filter).await {
        Ok(page) => page.events,
        Err(fault) => {
            tracing::warn!(%fault, "who used a key before its rotation is not known");
            return Vec::new();
        }
    };
    let mut all: std::collections::BTreeMap<String, Seen> = std::collections::BTreeMap::new();
    for event in events.iter().filter(|event| event.kid.as_deref() == Some(kid)) {
        let Some(place) = event.remote.clone() else { continue };
        let seen = all.entry(place).or_insert(Seen { first: event.ts, last: event.ts, ..Seen::default() });
        (seen.first, seen.last) = (seen.first.min(event.ts), seen.last.max(event.ts));
    }
    all.into_iter().collect()
}

/// Writes down what was seen.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn keep(admin: &Admin) -> Verb<()> {
    for kid in admin.feed.places().kids() {
        let book = admin.feed.places().of(&kid);
        if !book.is_empty() {
            store::keep_places(&admin.db, &kid, book).await?;
        }
    }
    Ok(())
}

/// At the start: what every open rotation watches.
pub(super) async fn resume(admin: &Admin) -> Verb<()> {
    for row in store::open(&admin.db).await? {
        if let Some(driver) = kinds::parse(&row.credential).ok().and_then(|(kind, _)| drivers::of(kind)) {
            follow(admin, driver, &row).await;
        }
    }
    Ok(())
}
