//! What Lifeboat itself needs at the systems whose credentials it replaces: a password of its own there, sealed on this host for that system at that address
//! alone. A configuration that was pulled from elsewhere and names another address gets nothing of it. Never shows it.

mod approve;
pub(super) mod issuer;
mod listed;
pub(super) mod store;
#[cfg(test)]
mod tests_command;
#[cfg(test)]
mod tests_issuer;
#[cfg(test)]
mod tests_orders;
#[cfg(test)]
mod tests_postgres;
#[cfg(test)]
mod tests_postgres_hostile;
#[cfg(test)]
mod tests_postgres_rig;

use serde_json::json;

pub(super) use approve::of as commands_of;
pub use approve::{ApproveOrder, CommandsApproved, IssuerCommands, approve};
pub(super) use listed::listed;
pub use store::STATEMENTS;

use super::kinds::{self, Kind};
use super::model::{AdminKept, AdminOrder};
use super::orders;
use crate::admin::actor::Right;
use crate::admin::{Actor, Admin, tree};
use crate::audit::Event;
use crate::base::fault::{Fault, FaultKind, Verb};
use crate::base::secret::Secret;
use crate::config::credentials::Credentials;
use crate::config::postgres::PostgresConfig;
use crate::crypto::files;
use crate::db::postgres::{self, Failure, Link, Login, Target};

const LONGEST: usize = 1_000;

/// The database of a credential, as the configuration has it now.
///
/// # Errors
/// `NotFound`; when there is no readable configuration.
pub(super) async fn database(admin: &Admin, name: &str) -> Verb<PostgresConfig> {
    let all = tree::standing(admin).await?.credentials.postgres;
    all.into_iter().find(|one| one.name == name).ok_or_else(|| Fault::not_found(format!("there is no credential postgres/{name}")))
}

/// What sends a server something, by credential: database roles in its variables, tokens of issuers.
pub(super) fn towards(said: &Credentials, server: &str) -> Vec<String> {
    let databases = said.postgres.iter().filter(|one| one.server == server);
    let databases = databases.map(|one| format!("{}/{}", Kind::Postgres.word(), one.name));
    let issuers = issuer::all(said).into_iter().filter(|one| one.server() == server).map(|one| one.credential());
    databases.chain(issuers).collect()
}

/// Where its roles log in.
///
/// # Errors
/// `Unavailable` when the file of its authority cannot be read.
pub(super) fn target(config: &PostgresConfig) -> Verb<Target> {
    let ca = config.ca.as_deref().map(|path| {
        let gone = || Fault::unavailable(format!("the authority's certificate {path} cannot be read"));
        files::read(path.as_ref()).map_err(|fault| gone().because(fault))?.ok_or_else(gone)
    });
    Ok(Target { host: config.host.clone(), port: config.port, database: config.database.clone(), ca: ca.transpose()? })
}

/// Where its roles are changed: never in the database that is theirs.
fn maintenance(config: &PostgresConfig) -> Verb<Target> {
    Ok(Target { database: config.maintenance_database.clone(), ..target(config)? })
}

/// Whom and where a sealed password is for. Another address, role or kind of connection is another context, and opens nothing.
fn context(config: &PostgresConfig) -> String {
    let PostgresConfig { name, admin, host, port, maintenance_database, ca, .. } = config;
    format!("postgres/{name}/{admin}@{host}:{port}/{maintenance_database}?ca={}", ca.as_deref().unwrap_or_default())
}

/// Whether this host keeps a password for it that fits the configuration.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn has_admin(admin: &Admin, config: &PostgresConfig) -> Verb<bool> {
    let sealed = store::read(&admin.db, &format!("postgres/{}", config.name)).await?;
    Ok(sealed.is_some_and(|(sealed, _)| admin.sealer.open(&context(config), &sealed).is_ok()))
}

/// Logs in as the role that may change the others.
///
/// # Errors
/// `Conflict` when this host keeps no password for it there; when the server does not answer or does not take it.
pub(super) async fn link(admin: &Admin, config: &PostgresConfig) -> Verb<Link> {
    let name = format!("postgres/{}", config.name);
    let (role, host) = (&config.admin, &config.host);
    let (sealed, _) = store::read(&admin.db, &name).await?.ok_or_else(|| {
        Fault::conflict(format!("this host keeps no password of role {role}: lifeboat credential admin {name} --password-stdin"))
    })?;
    let opened = admin.sealer.open(&context(config), &sealed).map_err(|_| {
        Fault::conflict(format!(
            "the password of role {role} was given for another address than {host}:{}, and is not sent there. If it is right now: lifeboat credential admin {name} --password-stdin",
            config.port
        ))
    })?;
    let text = String::from_utf8(opened.reveal().clone()).map_err(|_| Fault::bug("a sealed password is no text"))?;
    let login = Login { role: role.clone(), password: Secret::new(text) };
    postgres::open(&maintenance(config)?, &login).await.map_err(|failure| match failure {
        Failure::Refused(said) => Fault::conflict(format!(
            "{host} does not take the password of role {role}: {said}. Give the right one: lifeboat credential admin {name} --password-stdin"
        )),
        Failure::Other(fault) => fault,
    })
}

/// What must be so in a database before anything is begun there.
///
/// # Errors
/// What is not, with the statement that mends it.
pub(super) async fn prepared(config: &PostgresConfig, link: &mut Link) -> Verb<()> {
    let names: Vec<&str> = config.roles.iter().chain(&config.owner).map(String::as_str).collect();
    let found = link.roles(&names, config.owner.as_deref().unwrap_or_default()).await?;
    let wrong = |said: String| Err(Fault::new(FaultKind::Invalid, said));
    for name in names.iter().copied() {
        let Some(role) = found.iter().find(|role| role.name == name) else {
            return wrong(format!("there is no role {name}: CREATE ROLE {name}"));
        };
        let is_owner = config.owner.as_deref() == Some(name);
        if role.is_super {
            return wrong(format!("role {name} is a superuser, and no server should be: ALTER ROLE {name} NOSUPERUSER"));
        }
        if is_owner && role.may_login {
            return wrong(format!("the owner {name} can log in itself: ALTER ROLE {name} NOLOGIN"));
        }
        if let Some(owner) = config.owner.as_deref().filter(|_| !is_owner && !role.is_member) {
            return wrong(format!("role {name} is no member of {owner}: GRANT {owner} TO {name}"));
        }
    }
    if let Some(owner) = link.owner_among(&names).await? {
        let database = &config.maintenance_database;
        return wrong(format!(
            "database {database}, over which the roles are changed, belongs to {owner}, whose code may be there: name another as maintenance_database"
        ));
    }
    Ok(())
}

/// Keeps the password with which Lifeboat works at another system; it is tried first.
///
/// # Errors
/// `Denied` without role admin or a fresh login; `NotFound`; `Invalid` for what is no password, or is not taken there; `Unavailable` when the system does
/// not answer.
pub async fn keep_admin(admin: &Admin, actor: &Actor, name: &str, order: AdminOrder) -> Verb<AdminKept> {
    actor.need(Right::Administer, "credential.admin")?;
    actor.need_fresh_login(admin.clock.now())?;
    admin.need_ledger("credential.admin")?;
    // What is kept has a name of its own in the inventory: admin/http:NAME is kept for http/NAME.
    let (kind, bare) = kinds::parse(name)?;
    let name = if kind == Kind::Admin { bare.replacen(':', "/", 1) } else { name.to_owned() };
    let (name, (kind, bare)) = (name.as_str(), kinds::parse(&name)?);
    let password = order.password.ok_or_else(|| Fault::invalid("password", "is missing"))?;
    let plain = password.reveal();
    if plain.is_empty() || plain.len() > LONGEST || plain.chars().any(char::is_control) {
        return Err(Fault::invalid("password", format!("must be one line of 1 to {LONGEST} bytes")));
    }
    let (context, role, system) = match kind {
        Kind::Postgres => tried(admin, bare, &password).await?,
        Kind::Http | Kind::Command => issuer::tried(admin, kind, bare, &password).await?,
        _ => return Err(Fault::invalid("name", format!("Lifeboat has no password of its own for {name}"))),
    };
    let sealed = admin.sealer.seal(&context, plain.as_bytes(), admin.entropy.as_ref())?;
    store::set(&admin.db, name, &sealed, (admin.clock.now(), &actor.name)).await?;
    let mut event = Event::action(&actor.name, "credential.admin", name);
    event.params = Some(json!({ "role": role, "system": system }));
    admin.record(event).await?;
    orders::go_on(admin, actor, name).await?;
    Ok(AdminKept { name: name.to_owned(), role, system })
}

/// Logs in with a password; gives what it is sealed for, whose it is, and where it counts.
async fn tried(admin: &Admin, name: &str, password: &Secret<String>) -> Verb<(String, String, String)> {
    let config = database(admin, name).await?;
    let login = Login { role: config.admin.clone(), password: password.clone() };
    let link = postgres::open(&maintenance(&config)?, &login).await.map_err(|failure| match failure {
        Failure::Refused(said) => Fault::invalid("password", format!("{} does not take it: {said}", config.host)),
        Failure::Other(fault) => fault,
    })?;
    link.close().await;
    let system = format!("{}:{}/{}", config.host, config.port, config.database);
    Ok((context(&config), config.admin, system))
}
