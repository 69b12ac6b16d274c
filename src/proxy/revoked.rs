//! Keys that end while they are used: what they have in flight is cut, and while a rotation is open it is counted where they are shown. Never decides
//! whether a key counts: that is the snapshot's affair.

use super::Shared;
use super::authn::claimed_kid;
use super::exchange::Exchange;
use super::origin::Admitted;
use crate::policy::feed::Feed;

/// Ends as soon as a key was ended in an emergency.
pub(super) async fn ended(feed: &Feed, kid: &str) {
    let mut cuts = feed.cuts().watch();
    while !feed.cuts().holds(kid) {
        if cuts.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// A key was shown and accepted.
pub(super) fn seen(shared: &Shared, x: &Exchange) {
    if let (Some(kid), None) = (&x.facts.kid, x.facts.canary) {
        shared.feed.places().note(kid, x.remote.ip(), shared.clock.now(), true);
    }
}

/// A key was shown and refused.
pub(super) fn missed(shared: &Shared, x: &Exchange, admitted: &Admitted) {
    if let Some(kid) = claimed_kid(&admitted.headers) {
        shared.feed.places().note(kid, x.remote.ip(), shared.clock.now(), false);
    }
}
