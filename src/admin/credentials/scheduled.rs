//! Rotations that the schedule begins: of each credential that is due and that its entry leaves to the schedule; and the plan on paper. Never brings a value,
//! and holds off from what an operator stopped.

use serde_json::json;

use super::kinds::{self, Kind};
use super::model::{Credential, RotateOrder};
use super::{inventory, plan, rotate};
use crate::admin::actor::Right;
use crate::admin::{Actor, Admin, tree};
use crate::audit::Event;
use crate::base::fault::Verb;
use crate::config::credentials::Credentials;
use crate::policy::{KillOverlay, Scope};

/// What one run of the schedule did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DueRotated {
    /// Nothing that is due was left undone.
    pub ok: bool,
    /// What was begun, and what comes next.
    pub begun: Vec<String>,
    /// What was not, because an operator stopped what it is for.
    pub held: Vec<String>,
    /// What could not be begun, and why.
    pub failed: Vec<String>,
    /// Whether the plan was committed anew.
    pub plan: bool,
}

impl DueRotated {
    /// In a sentence.
    pub fn sentence(&self) -> String {
        let part = |what: &str, all: &[String]| match all {
            [] => None,
            all => Some(format!("{} {what} ({})", all.len(), all.join("; "))),
        };
        let parts = [part("begun", &self.begun), part("held off", &self.held), part("not begun", &self.failed)];
        let mut parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() {
            parts.push("nothing is due".to_owned());
        }
        if self.plan {
            parts.push("the rotation plan is committed anew".to_owned());
        }
        parts.join(", ")
    }
}

/// Begins the rotation of everything that is due and left to the schedule, and commits the plan when it changed. One that fails holds up no other.
///
/// # Errors
/// `Denied` without role operator; when there is no readable configuration, or the database does not answer.
pub async fn rotate_due(admin: &Admin, actor: &Actor) -> Verb<DueRotated> {
    actor.need(Right::Operate, "credential.rotate")?;
    let said = tree::standing(admin).await?.credentials;
    let due: Vec<Credential> = inventory::all(admin).await?.into_iter().filter(is_due).collect();
    let mut done = DueRotated::default();
    for one in due {
        if let Some(why) = stopped(&admin.feed.kill(), &said, &one.name) {
            done.held.push(format!("{}: {why}", one.name));
            continue;
        }
        let note = one.due_at.map(|at| format!("due since {at}")).unwrap_or_default();
        let order = RotateOrder { reason: Some("schedule".into()), note, ..RotateOrder::default() };
        match rotate(admin, actor, &one.name, order).await {
            Ok(rotated) => done.begun.push(format!("{}: {}", one.name, rotated.next)),
            Err(fault) => done.failed.push(fault.message),
        }
    }
    match plan::refresh(admin, actor).await {
        Ok(changed) => done.plan = changed,
        Err(fault) => done.failed.push(format!("the rotation plan: {}", fault.message)),
    }
    done.ok = done.held.is_empty() && done.failed.is_empty();
    if done != (DueRotated { ok: true, ..DueRotated::default() }) {
        let mut event = Event::action(&actor.name, "credential.schedule", "credentials");
        event.params = Some(json!({ "begun": done.begun, "held": done.held, "failed": done.failed, "plan": done.plan }));
        admin.record(event).await?;
    }
    Ok(done)
}

fn is_due(one: &Credential) -> bool {
    one.by_itself && matches!(one.state.as_str(), "due" | "overdue")
}

/// Why the schedule leaves a credential alone now. By hand it can be rotated all the same.
fn stopped(kill: &KillOverlay, said: &Credentials, name: &str) -> Option<String> {
    let (kind, bare) = kinds::parse(name).ok()?;
    let server = said.server_of(name);
    let meant = |scope: &Scope| match scope {
        Scope::Everything => true,
        Scope::Client { client } => matches!(kind, Kind::ClientKey | Kind::ClientSecret) && client == bare,
        Scope::Server { server: stopped } | Scope::Tool { server: stopped, .. } => server == Some(stopped.as_str()),
    };
    let entry = kill.entries.iter().find(|entry| meant(&entry.scope))?;
    Some(format!("{} is stopped; release it, or lifeboat credential rotate {name}", entry.scope.text()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;
    use crate::config::http_issuer::HttpIssuerConfig;
    use crate::policy::{KillEntry, Mode};

    #[test]
    fn the_schedule_holds_off_from_what_is_stopped_and_from_nothing_else() {
        let issuer = HttpIssuerConfig { name: "hub".into(), server: "github".into(), ..HttpIssuerConfig::default() };
        let said = Credentials { issuers: vec![issuer], ..Credentials::default() };
        let stops = |scope: Scope, name: &str| {
            let entry = KillEntry {
                decision_id: "kd_1".into(),
                scope,
                mode: Mode::ReadOnly,
                since: Timestamp(0),
                by: "ana".into(),
                reason: "x".into(),
            };
            stopped(&KillOverlay { epoch: 1, entries: vec![entry] }, &said, name).is_some()
        };
        let tool = || Scope::Tool { server: "github".into(), tool: "push".into() };
        assert!(stops(Scope::Everything, "tls/server") && stops(Scope::Everything, "client-key/ci"));
        assert!(stops(Scope::Client { client: "ci".into() }, "client-key/ci"));
        assert!(!stops(Scope::Client { client: "ci".into() }, "client-key/web"));
        assert!(!stops(Scope::Client { client: "hub".into() }, "http/hub"));
        assert!(stops(tool(), "http/hub") && stops(Scope::Server { server: "github".into() }, "http/hub"));
        assert!(!stops(tool(), "client-key/ci") && !stops(tool(), "webhook/pager"));
        assert!(stopped(&KillOverlay::default(), &said, "http/hub").is_none());
    }

    #[test]
    fn what_a_run_did_is_one_sentence() {
        assert_eq!(DueRotated::default().sentence(), "nothing is due");
        let done = DueRotated { held: vec!["a".into(), "b".into()], plan: true, ..DueRotated::default() };
        assert_eq!(done.sentence(), "2 held off (a; b), the rotation plan is committed anew");
    }
}
