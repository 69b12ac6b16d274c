//! OAuth2 at the proxy: the documents that lead to a token, giving tokens to clients that prove themselves, ending them, checking them. Decides
//! from the snapshot; never asks the database, and never widens what a client's grants give it.

mod access;
mod answer;
mod assertion;
mod client;
pub mod documents;
mod external;
mod fault;
mod form;
mod issuers;
mod replay;
mod revoke;
mod throttle;
mod token;
mod verdicts;

use hyper::body::Incoming;

pub(super) use access::read as read_token;
pub(super) use external::prepare;
pub use fault::OauthFault;

use super::Shared;
use super::exchange::Exchange;
use super::intake;
use super::origin::Admitted;
use super::pipeline::Outcome;
use super::refuse::Refusal;
use super::route::Route;
use crate::base::clock::Timestamp;
use crate::policy::{Principal, Snapshot};
use form::Form;
use verdicts::Verdicts;

/// Bytes of a form: an assertion, a resource and some names.
const LARGEST: u64 = 16 * 1_024;

/// What the token endpoint remembers.
pub struct Desk {
    throttle: throttle::Throttle,
    replays: replay::Replays,
    own: Verdicts<access::Opened>,
    foreign: Verdicts<external::Opened>,
    issuers: issuers::Issuers,
    /// What was signed before this process began may have been shown to the one before.
    began: Timestamp,
}

impl Desk {
    /// A desk that opens now.
    pub fn new(now: Timestamp) -> Self {
        Self {
            throttle: throttle::Throttle::default(),
            replays: replay::Replays::default(),
            own: Verdicts::default(),
            foreign: Verdicts::default(),
            issuers: issuers::Issuers::default(),
            began: now,
        }
    }

    /// Forgets what counts no more; gives whether keys of an issuer elsewhere are among it. Called once a minute.
    pub fn sweep(&self, now: Timestamp) -> bool {
        self.replays.sweep(now);
        self.own.sweep(now);
        self.foreign.sweep(now);
        self.issuers.sweep()
    }
}

/// Whether a principal counts by a policy, and by the keys of the issuer of its token.
///
/// # Errors
/// The slug that says why not.
pub(super) fn counts_by(shared: &Shared, snapshot: &Snapshot, principal: &Principal) -> Result<(), &'static str> {
    external::key_counts(shared, snapshot, principal)?;
    shared.feed.counts_by(snapshot, principal, shared.clock.now())
}

/// Serves the token and the revocation endpoint; they check the client themselves.
///
/// # Errors
/// What RFC 6749 section 5.2 names, as a JSON document.
pub(super) async fn serve(
    shared: &Shared,
    x: &mut Exchange,
    admitted: &Admitted,
    body: &mut Option<Incoming>,
) -> Result<Outcome, Refusal> {
    let form = read(shared, admitted, body).await?;
    match admitted.route {
        Route::Revoke => revoke::revoke(shared, x, admitted, &form).await,
        _ => token::issue(shared, x, admitted, &form).await,
    }
    .map_err(Refusal::Oauth)
}

async fn read(shared: &Shared, admitted: &Admitted, body: &mut Option<Incoming>) -> Result<Form, Refusal> {
    if admitted.method != http::Method::POST {
        return Err(Refusal::Oauth(OauthFault::NotPost));
    }
    // Parameters stand in the body alone: a query ends up in logs (RFC 6749 section 2.3.1).
    if admitted.query.is_some() {
        return Err(Refusal::Oauth(OauthFault::Malformed("parameters belong into the body")));
    }
    form::check_type(&admitted.headers).map_err(Refusal::Oauth)?;
    let Some(body) = body.take() else { return Err(Refusal::Oauth(OauthFault::Malformed("the body is missing"))) };
    let bytes = intake::collect(&admitted.headers, body, LARGEST, &shared.bodies).await.map_err(|refusal| match refusal {
        Refusal::RequestSize { .. } => Refusal::Oauth(OauthFault::TooLarge),
        other => other,
    })?;
    Form::parse(&bytes).map_err(Refusal::Oauth)
}
