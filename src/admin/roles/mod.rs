//! Roles of clients: list, show, set. A role holds grants and never denies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::actor::Right;
use super::{Actor, Admin, tree};
use crate::audit::Event;
use crate::base::fault::{Fault, Verb};
use crate::base::ids::check_name;
use crate::config::{GrantConfig, RoleConfig};

/// One role.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// What it permits.
    pub grants: Vec<GrantConfig>,
    /// Clients that have it.
    pub clients: Vec<String>,
}

/// Every role.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RoleList {
    /// By name.
    pub roles: Vec<Role>,
}

/// A role as it shall be: as a list of grants, or as the text of its file.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRole {
    /// Its grants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Vec<GrantConfig>>,
    /// The text of `roles/NAME.toml`, comments and all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toml: Option<String>,
}

/// A role was set.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RoleSet {
    /// Its name.
    pub role: String,
    /// How many grants it has.
    pub grants: usize,
    /// The running revision that holds it.
    pub revision: String,
}

/// Every role, by name.
///
/// # Errors
/// When the configuration cannot be read.
pub async fn list(admin: &Admin, actor: &Actor) -> Verb<RoleList> {
    actor.need(Right::Read, "role.list")?;
    let desired = tree::desired(admin).await?;
    let role = |(name, config): (&String, &RoleConfig)| {
        let clients = desired.clients.iter().filter(|(_, client)| client.roles.contains(name)).map(|(name, _)| name.clone());
        Role { name: name.clone(), grants: config.grants.clone(), clients: clients.collect() }
    };
    Ok(RoleList { roles: desired.roles.iter().map(role).collect() })
}

/// One role.
///
/// # Errors
/// `NotFound`.
pub async fn show(admin: &Admin, actor: &Actor, name: &str) -> Verb<Role> {
    let roles = list(admin, actor).await?.roles;
    roles.into_iter().find(|role| role.name == name).ok_or_else(|| Fault::not_found(format!("there is no role {name}")))
}

/// Makes a role, or replaces it.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `Invalid` for a bad name or grant.
pub async fn set(admin: &Admin, actor: &Actor, name: &str, input: SetRole) -> Verb<RoleSet> {
    actor.need(Right::Administer, "role.set")?;
    actor.need_fresh_login(admin.clock.now())?;
    check_name(name).map_err(|why| Fault::invalid("name", why))?;
    let (text, grants) = match (input.grants, input.toml) {
        (Some(grants), None) => {
            let role = RoleConfig { grants };
            (role.to_toml()?, role.grants.len())
        }
        (None, Some(text)) => {
            let role: RoleConfig = toml::from_str(&text).map_err(|e| Fault::invalid("toml", e.message().to_owned()))?;
            (text, role.grants.len())
        }
        _ => return Err(Fault::invalid("grants", "give the grants, or the text of the role's file")),
    };
    let change = tree::write(RoleConfig::path(name), text);
    let made = tree::edit(admin, actor, &format!("roles: set {name}"), |_, _| Ok(vec![change.clone()])).await?;
    admin.record(Event::action(&actor.name, "role.set", name)).await?;
    Ok(RoleSet { role: name.to_owned(), grants, revision: made.to_string() })
}
