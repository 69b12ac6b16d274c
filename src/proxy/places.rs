//! From where keys are shown while a rotation of theirs is open. Never decides whether a key counts: that is the snapshot's affair.

use super::Shared;
use super::authn::claimed_kid;
use super::exchange::Exchange;
use super::origin::Admitted;

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
