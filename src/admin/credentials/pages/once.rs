//! The one answer that shows a new secret, and the rotation plan. Pure.

use askama::Template;

use super::super::model::Fetched;
use super::super::plan::Plan;
use crate::admin::Actor;
use crate::admin::actor::Right;
use crate::admin::shell::Shell;
use crate::web::human;
use crate::web::view::Code;

/// The answer to a fetch.
#[derive(Template)]
#[template(path = "credentials/fetched.html")]
pub struct FetchedPage {
    /// Around it.
    pub shell: Shell,
    /// In it.
    pub page: FetchedView,
}

/// What it shows, once.
#[derive(Clone, Debug)]
pub struct FetchedView {
    /// `KIND/NAME`.
    pub name: String,
    /// Its page.
    pub path: String,
    /// The secret.
    pub secret: Code,
    /// Until when the old one counts.
    pub overlap: String,
}

/// The page with the new secret.
pub fn fetched(shell: Shell, fetched: &Fetched, path: String) -> FetchedPage {
    let overlap = match fetched.overlap_until.filter(|until| *until > shell.now) {
        Some(until) => {
            format!("The old one counts beside it until every user has moved; the overlap ends {}.", human::until(until, shell.now))
        }
        None => "The old one counts no longer.".to_owned(),
    };
    let secret = Code::new(format!("{}, shown once", fetched.credential), fetched.secret.clone());
    FetchedPage { page: FetchedView { name: fetched.credential.clone(), path, secret, overlap }, shell }
}

/// `/credentials/plan`.
#[derive(Template)]
#[template(path = "credentials/plan.html")]
pub struct PlanPage {
    /// Around it.
    pub shell: Shell,
    /// In it.
    pub page: PlanView,
}

/// What it shows.
#[derive(Clone, Debug)]
pub struct PlanView {
    /// The text.
    pub text: Code,
    /// Whether the configuration holds it just so.
    pub committed: bool,
    /// Role operator.
    pub may_operate: bool,
}

/// The page of the plan.
pub fn plan(shell: Shell, plan: &Plan, actor: &Actor) -> PlanPage {
    let text = Code::new("rotation-plan.md", plan.markdown.clone());
    let page = PlanView { text, committed: plan.committed, may_operate: actor.role.has(Right::Operate) };
    PlanPage { shell, page }
}
