//! Operators: the people at the dashboard, command line and API. Verbs to add, list, disable, reset; sessions and keys beside them.
//! Never lets the last admin go, and never stores a password or key.

mod keys;
mod login;
mod memory;
mod model;
mod own;
mod password;
mod second;
mod sessions;
mod store;
mod throttle;

pub mod account;
pub mod pages;
pub mod routes;
pub mod task;

pub use keys::{DEFAULT_DAYS, ShownKey, add as key_add, list as key_list, revoke as key_revoke};
pub use login::{HALF_MS, again, login, login_code, waits};
pub use memory::{ABSOLUTE_MS, IDLE_MS, Operators};
pub use model::{
    AddKey, AddOperator, KeyAdded, KeyList, NotSignedIn, Operator, OperatorKey, OperatorList, OperatorSession, SessionList,
    SessionsEnded, SignedIn, Visitor,
};
pub use own::{session_end, session_list, session_name, sessions_end, set_password};
pub use second::{
    Begun, FEW_CODES, STATEMENTS as SECOND_STATEMENTS, Standing, must_enrol, recovery_renew, standing, totp_begin, totp_confirm,
    totp_remove,
};
pub use sessions::{
    Touch, draft, end, ensure_setup_code, keep, keep_draft, leave_flash, logout, needs_setup, set_up, take_flash, who, who_by_key,
};
pub use store::STATEMENTS;

use super::actor::Right;
use super::vaults;
use super::{Actor, Admin, OperatorRole};
use crate::audit::Event;
use crate::base::fault::{Fault, Verb};
use crate::base::ids::check_name;
use crate::base::secret::Secret;
use crate::db::Db;
use memory::Account;
use store::{Change, NewOperator};

/// Reads the operators from the database. When it does not answer nobody can sign in, and the memory says why.
pub async fn load(db: &Db) -> Operators {
    match store::read(db).await {
        Ok(state) => Operators::new(state, None),
        Err(fault) => {
            tracing::error!(%fault, "the operators are not known; nobody can sign in");
            Operators::new(memory::State::default(), Some(fault.message))
        }
    }
}

pub(super) fn remember(admin: &Admin, new: &NewOperator<'_>) {
    let password_phc = new.password_phc.to_owned();
    let account = Account { role: new.role, password_phc, disabled_at: None, created_at: new.at, second: None };
    admin.operators.state().accounts.insert(new.name.to_owned(), account);
}

/// Adds an operator.
///
/// # Errors
/// `Denied` without role admin and for a key; `Stale`; `Invalid` for a name or password that does not do, `Conflict` when the name is taken.
pub async fn add(admin: &Admin, actor: &Actor, input: AddOperator) -> Verb<Operator> {
    actor.need(Right::Administer, "operator.add")?;
    actor.need_person("operator.add", admin.clock.now())?;
    check_name(&input.name).map_err(|why| Fault::invalid("name", why))?;
    if admin.operators.state().accounts.contains_key(&input.name) {
        let taken = Fault::conflict(format!("there is an operator {} already; a name is never used again", input.name));
        return Err(Fault { place: Some("name".into()), ..taken });
    }
    let phc = password::make(&input.password).await?;
    let new = NewOperator { name: &input.name, role: input.role, password_phc: &phc, at: admin.clock.now() };
    store::add(&admin.db, &new).await?;
    remember(admin, &new);
    let mut event = Event::action(&actor.name, "operator.add", input.name.clone());
    event.params = Some(serde_json::json!({ "role": input.role.word() }));
    admin.record(event).await?;
    one(admin, &input.name)
}

/// Lists operators.
///
/// # Errors
/// None for a signed-in operator.
pub fn list(admin: &Admin, actor: &Actor) -> Verb<OperatorList> {
    actor.need(Right::Read, "operator.list")?;
    let state = admin.operators.state();
    let operators = state.accounts.iter().map(|(name, account)| Operator {
        name: name.clone(),
        role: account.role,
        disabled_at: account.disabled_at,
        created_at: account.created_at,
        last_seen: state.sessions.values().filter(|s| &s.operator == name).map(|s| s.last_seen).max(),
        totp_since: account.second.as_ref().map(|second| second.confirmed_at),
        recovery_codes: account.second.as_ref().map_or(0, |second| second.recovery.len()),
    });
    Ok(OperatorList { operators: operators.collect() })
}

pub(super) fn one(admin: &Admin, name: &str) -> Verb<Operator> {
    let all = list(admin, &Actor::system("lifeboat"))?.operators;
    all.into_iter().find(|o| o.name == name).ok_or_else(|| Fault::not_found(format!("there is no operator {name}")))
}

/// Names of the admins that may sign in: those who can release.
pub fn admins(admin: &Admin) -> Vec<String> {
    admin.operators.state().admins()
}

/// Disables an operator: its sessions and keys end at once.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `Conflict` for the last admin; `NotFound`.
pub async fn disable(admin: &Admin, actor: &Actor, name: &str) -> Verb<Operator> {
    actor.need(Right::Administer, "operator.disable")?;
    actor.need_fresh_login(admin.clock.now())?;
    keep_one_admin(admin, name)?;
    apply(admin, name, Change::Disable).await?;
    admin.record(Event::action(&actor.name, "operator.disable", name)).await?;
    one(admin, name)
}

/// Gives an operator another role: its sessions end, so that the next one has a new id (ATK-A03).
///
/// # Errors
/// As `disable`, and `Denied` for a key.
pub async fn set_role(admin: &Admin, actor: &Actor, name: &str, role: OperatorRole) -> Verb<Operator> {
    actor.need(Right::Administer, "operator.role")?;
    actor.need_person("operator.role", admin.clock.now())?;
    if role != OperatorRole::Admin {
        keep_one_admin(admin, name)?;
    }
    apply(admin, name, Change::Role(role)).await?;
    let mut event = Event::action(&actor.name, "operator.role", name);
    event.params = Some(serde_json::json!({ "role": role.word() }));
    admin.record(event).await?;
    one(admin, name)
}

/// Gives an operator another password and lets it sign in again; its second factor, sessions and keys end. Works on the files alone too: it is
/// the way back in for whoever lost everything else.
///
/// # Errors
/// `Denied` without role admin and for a key; `Stale`; `Invalid` for the password; `NotFound`.
pub async fn reset(admin: &Admin, actor: &Actor, name: &str, secret: &Secret<String>) -> Verb<Operator> {
    actor.need(Right::Administer, "operator.reset")?;
    actor.need_person("operator.reset", admin.clock.now())?;
    let phc = password::make(secret).await?;
    apply(admin, name, Change::Reset(&phc)).await?;
    admin.record(Event::action(&actor.name, "operator.reset", name)).await?;
    one(admin, name)
}

async fn apply(admin: &Admin, name: &str, change: Change<'_>) -> Verb<()> {
    let _turn = admin.operators.changes.lock().await;
    let now = admin.clock.now();
    let (role, disabled, phc) = match &change {
        Change::Role(role) => (Some(*role), None, None),
        Change::Disable => (None, Some(Some(now)), None),
        Change::Reset(phc) => (None, Some(None), Some((*phc).to_owned())),
    };
    let ends_keys = role.is_none();
    store::change(&admin.db, name, change, now).await?;
    let over = {
        let mut state = admin.operators.state();
        if let Some(account) = state.accounts.get_mut(name) {
            account.role = role.unwrap_or(account.role);
            account.disabled_at = disabled.unwrap_or(account.disabled_at);
            if let Some(phc) = phc {
                (account.password_phc, account.second) = (phc, None);
            }
        }
        if ends_keys {
            state.end_keys(name, now);
        }
        state.end_sessions(name, None)
    };
    vaults::tell_revoked(admin);
    // Also those that began after the change was written and before it stood here.
    if let Err(fault) = store::end_sessions(&admin.db, &over).await {
        tracing::warn!(%fault, operator = name, "an ended session may still be in the database");
    }
    Ok(())
}

// Says so before anything is asked of the database, which decides.
fn keep_one_admin(admin: &Admin, name: &str) -> Verb<()> {
    match admins(admin).as_slice() {
        [only] if only == name => Err(store::only_admin(name)),
        _ => Ok(()),
    }
}
