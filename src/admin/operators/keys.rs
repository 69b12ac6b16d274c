//! API keys of operators (`lbo_…`): add, list, revoke. A key has its operator's role, and ends with it.

use std::sync::Arc;

use super::memory::HeldKey;
use super::model::{KeyAdded, KeyList, OperatorKey};
use super::store;
use crate::admin::actor::{Actor, Right, Via};
use crate::admin::{Admin, vaults};
use crate::audit::Event;
use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;
use crate::crypto::keys::{self, KeyPrefix};

const DAY_MS: i64 = 86_400_000;

/// Mints a key for an operator: anybody for itself, an admin for everybody. A key cannot mint keys.
///
/// # Errors
/// `Denied`, `NotFound` for an operator that is none or disabled, `Invalid` for zero days.
pub async fn add(admin: &Admin, actor: &Actor, operator: &str, expires_days: Option<u32>) -> Verb<KeyAdded> {
    own_or_admin(actor, operator, "operator.key.add")?;
    admin.need_ledger("operator.key.add")?;
    if actor.via == Via::Api && actor.name == operator {
        return Err(Fault::denied("A key cannot make another key for its own operator. Make it in the dashboard or on the host"));
    }
    if expires_days == Some(0) {
        return Err(Fault::invalid("expires", "a key lives one day or more"));
    }
    let now = admin.clock.now();
    if admin.operators.state().accounts.get(operator).is_none_or(|account| account.disabled_at.is_some()) {
        return Err(Fault::not_found(format!("there is no operator {operator} that may sign in")));
    }
    let minted = keys::mint(KeyPrefix::Operator, admin.entropy.as_ref());
    let expires_at = expires_days.map(|days| now.plus_ms(i64::from(days).saturating_mul(DAY_MS)));
    let held = HeldKey { operator: operator.to_owned(), hash: minted.hash, created_at: now, expires_at, ..HeldKey::default() };
    store::add_key(&admin.db, &minted.kid, &held).await?;
    admin.operators.state().keys.insert(minted.kid.clone(), held);
    admin.record(Event::action(&actor.name, "operator.key.add", format!("{operator} {}", minted.kid))).await?;
    Ok(KeyAdded { operator: operator.to_owned(), kid: minted.kid, key: minted.text.reveal().clone(), expires_at })
}

/// Lists keys: an admin sees all, others their own.
///
/// # Errors
/// `Denied` never happens for a signed-in operator.
pub fn list(admin: &Admin, actor: &Actor) -> Verb<KeyList> {
    actor.need(Right::Read, "operator.key.list")?;
    let all = actor.role.has(Right::Administer);
    let state = admin.operators.state();
    let shown = state.keys.iter().filter(|(_, key)| all || key.operator == actor.name);
    let mut keys: Vec<OperatorKey> = shown
        .map(|(kid, key)| OperatorKey {
            kid: kid.clone(),
            operator: key.operator.clone(),
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            last_used: key.last_used,
        })
        .collect();
    keys.sort_by(|a, b| b.created_at.cmp(&a.created_at).then(a.kid.cmp(&b.kid)));
    Ok(KeyList { keys })
}

/// Revokes a key at once.
///
/// # Errors
/// `Denied` for somebody else's, `NotFound` when there is none to revoke.
pub async fn revoke(admin: &Admin, actor: &Actor, kid: &str) -> Verb<OperatorKey> {
    let unknown = || Fault::not_found(format!("there is no running key {kid}"));
    let held = admin.operators.state().keys.get(kid).filter(|key| key.revoked_at.is_none()).cloned().ok_or_else(unknown)?;
    own_or_admin(actor, &held.operator, "operator.key.revoke")?;
    let now = admin.clock.now();
    // Memory first: from here on the key opens nothing, whatever the database says.
    if let Some(key) = admin.operators.state().keys.get_mut(kid) {
        key.revoked_at = Some(now);
    }
    store::revoke_key(&admin.db, kid, now).await?;
    vaults::tell_revoked(admin);
    admin.record(Event::action(&actor.name, "operator.key.revoke", format!("{} {kid}", held.operator))).await?;
    Ok(OperatorKey {
        kid: kid.to_owned(),
        operator: held.operator,
        created_at: held.created_at,
        expires_at: held.expires_at,
        revoked_at: Some(now),
        last_used: held.last_used,
    })
}

/// The key that a request showed, for what goes on after its answer has begun.
#[derive(Clone)]
pub struct ShownKey(Arc<Secret<String>>);

impl ShownKey {
    /// The key as it was shown.
    pub fn new(text: &str) -> Self {
        Self(Arc::new(Secret::new(text.to_owned())))
    }

    /// Whether it still counts.
    pub fn counts(&self, admin: &Admin) -> bool {
        super::who_by_key(admin, self.0.reveal()).is_some()
    }
}

fn own_or_admin(actor: &Actor, operator: &str, verb: &str) -> Verb<()> {
    if actor.name == operator { actor.need(Right::Read, verb) } else { actor.need(Right::Administer, verb) }
}
