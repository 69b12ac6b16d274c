//! Approving an issuer's commands on this host, and showing what would be approved. Never starts one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::issuer::{self, Issuer};
use crate::admin::actor::Right;
use crate::admin::credentials::kinds::{self, Kind};
use crate::admin::credentials::orders;
use crate::admin::{Actor, Admin};
use crate::audit::Event;
use crate::base::fault::{Fault, Verb};

/// The commands of an issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IssuerCommands {
    /// Each as it would be typed, behind what it is for; then each variable.
    pub lines: Vec<String>,
    /// SHA-256 of all that.
    pub digest: String,
    /// Whether it is approved on this host: else none of it starts.
    pub approved: bool,
}

/// An approval, as an order.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ApproveOrder {
    /// Approves only the command lines of this digest, as `credential show` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// Command lines were approved.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CommandsApproved {
    /// Of which credential.
    pub name: String,
    /// Each as it would be typed, behind what it is for; then each variable.
    pub lines: Vec<String>,
    /// What was approved, as SHA-256.
    pub digest: String,
}

/// The commands of a credential; none when it has none.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin::credentials) async fn of(admin: &Admin, name: &str) -> Verb<Option<IssuerCommands>> {
    let (kind, bare) = kinds::parse(name)?;
    if kind != Kind::Command {
        return Ok(None);
    }
    let Ok(Issuer::Command(config)) = issuer::find(admin, kind, bare).await else { return Ok(None) };
    let (lines, digest, approved) = issuer::described(admin, &config).await?;
    Ok(Some(IssuerCommands { lines, digest, approved }))
}

/// Approves the commands of an issuer as they stand in the configuration on this host. A rotation that waits for it goes on.
///
/// # Errors
/// `Denied` without role admin, and for an API key; `Stale`; `NotFound`; `Invalid` for a credential without commands; `Conflict` when they are not those of
/// the digest that was given.
pub async fn approve(admin: &Admin, actor: &Actor, name: &str, order: ApproveOrder) -> Verb<CommandsApproved> {
    actor.need(Right::Administer, "credential.approve")?;
    // It runs outside of any sandbox: a page that somebody left open is not enough.
    actor.need_person("credential.approve", admin.clock.now())?;
    let (kind, bare) = kinds::parse(name)?;
    if kind != Kind::Command {
        return Err(Fault::invalid("name", format!("{name} has no commands: there is nothing to approve")));
    }
    let Issuer::Command(config) = issuer::find(admin, kind, bare).await? else {
        return Err(Fault::bug("a command that is none"));
    };
    let (lines, digest, _) = issuer::described(admin, &config).await?;
    if order.digest.as_ref().is_some_and(|seen| *seen != digest) {
        return Err(Fault::conflict(format!("the command lines of {name} are others by now; look at them again")));
    }
    issuer::approve(admin, actor, &config).await?;
    let mut event = Event::action(&actor.name, "credential.approve", name);
    event.params = Some(json!({ "lines": lines, "approved": digest }));
    admin.record(event).await?;
    orders::go_on(admin, actor, name).await?;
    Ok(CommandsApproved { name: name.to_owned(), lines, digest })
}
