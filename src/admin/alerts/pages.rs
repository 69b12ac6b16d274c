//! The page of alerts. Pure.

use askama::Template;

use super::Alert;
use super::receivers::pages::ReceiversView;
use crate::admin::OperatorRole;
use crate::admin::actor::Right;
use crate::admin::credentials;
use crate::admin::shell::{Shell, sentence};
use crate::base::clock::Timestamp;
use crate::web::human;

/// `/alerts`.
#[derive(Template)]
#[template(path = "alerts/page.html")]
pub struct AlertsPage {
    /// Around it.
    pub shell: Shell,
    /// In it.
    pub page: AlertsView,
}

/// What the page shows.
#[derive(Clone, Debug, Default)]
pub struct AlertsView {
    /// `2 alerts`.
    pub tally: String,
    /// Role operator: says that an alert is seen, sends a test.
    pub may_ack: bool,
    /// Those that are so now.
    pub open: Vec<AlertRow>,
    /// Those that are over.
    pub past: Vec<AlertRow>,
    /// Role admin.
    pub may_change: bool,
    /// Who is told.
    pub receivers: ReceiversView,
}

/// One alert.
#[derive(Clone, Debug)]
pub struct AlertRow {
    /// Its id.
    pub id: String,
    /// Which rule.
    pub rule: String,
    /// The page of what it is about; empty when it has none.
    pub path: String,
    /// In one sentence.
    pub text: String,
    /// What to do.
    pub mend: String,
    /// Since when.
    pub since: String,
    /// Who has seen it.
    pub seen: String,
    /// When it was over.
    pub until: String,
}

impl AlertRow {
    fn of(alert: &Alert, now: Timestamp) -> Self {
        let seen = alert
            .acked_at
            .map(|at| format!("seen by {} {}", alert.acked_by.as_deref().unwrap_or("somebody"), human::when(at, now)));
        Self {
            id: alert.id.clone(),
            path: if alert.rule.starts_with("credential.") { credentials::pages::path(&alert.object) } else { String::new() },
            rule: alert.rule.clone(),
            text: sentence(&alert.text),
            mend: alert.mend.clone(),
            since: human::when(alert.opened_at, now),
            seen: seen.unwrap_or_default(),
            until: alert.resolved_at.map(|at| human::when(at, now)).unwrap_or_default(),
        }
    }
}

/// The whole page.
pub fn page(shell: Shell, alerts: &[Alert], receivers: ReceiversView, role: OperatorRole) -> AlertsPage {
    let now = shell.now;
    let rows = |over: bool| {
        let these = alerts.iter().filter(|alert| alert.resolved_at.is_some() == over);
        these.map(|alert| AlertRow::of(alert, now)).collect::<Vec<_>>()
    };
    let open = rows(false);
    let tally = human::plural(open.len() as u64, "alert");
    let (may_ack, may_change) = (role.has(Right::Operate), role.has(Right::Administer));
    AlertsPage { shell, page: AlertsView { tally, may_ack, open, past: rows(true), may_change, receivers } }
}
