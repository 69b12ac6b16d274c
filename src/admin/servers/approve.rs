//! Approving a command line on this host: what was not approved here never starts. Never changes the configuration.

use super::{ServerAdded, approval, host, publish, running, store, take_in, target};
use crate::admin::actor::Right;
use crate::admin::{Actor, Admin};
use crate::audit::Event;
use crate::base::fault::Verb;

/// Approves the command line as it stands in the configuration on this host, and takes in every tool the server shows.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `NotFound`; `Unavailable` when it does not answer: the command line is approved all the same.
pub async fn approve(admin: &Admin, actor: &Actor, name: &str) -> Verb<ServerAdded> {
    actor.need(Right::Administer, "server.approve")?;
    actor.need_person("server.approve", admin.clock.now())?;
    approve_command(admin, actor, name).await?;
    take_in(admin, actor, name, None).await
}

/// Approves the command line alone: its tools stay as they were taken in.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `NotFound`.
pub async fn approve_command(admin: &Admin, actor: &Actor, name: &str) -> Verb<()> {
    actor.need(Right::Administer, "server.approve")?;
    actor.need_person("server.approve", admin.clock.now())?;
    let entry = running(admin, name)?;
    if let Some(digest) = approval(&entry.config, &host::names(&entry.secrets.env)) {
        store::set_approval(&admin.db, name, &digest, admin.clock.now(), &actor.name).await?;
        let mut event = Event::action(&actor.name, "server.approve", name);
        event.params = Some(serde_json::json!({ "target": target(&entry.config), "approved": digest }));
        admin.record(event).await?;
        publish(admin).await?;
    }
    Ok(())
}
