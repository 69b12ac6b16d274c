//! API keys of operators (`lbo_…`): add, list, revoke. A key never has more than its operator, and ends with it.

use std::sync::Arc;

use super::memory::HeldKey;
use super::memory::State;
use super::model::{AddKey, KeyAdded, KeyList, OperatorKey};
use super::store;
use crate::admin::actor::{Actor, OperatorRole, Right};
use crate::admin::{Admin, vaults};
use crate::audit::Event;
use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;
use crate::crypto::keys::{self, KeyPrefix};

const DAY_MS: i64 = 86_400_000;
/// Days a key lives when nobody says how many.
pub const DEFAULT_DAYS: u32 = 90;
const MOST_DAYS: u32 = 730;

/// Mints a key for an operator: anybody for itself, an admin for everybody. A key mints no keys.
///
/// # Errors
/// `Denied`, also for a role above the operator's own (ATK-A10); `Stale`; `NotFound` for an operator that is none or disabled; `Invalid` for a
/// life of no day or of more than two years.
pub async fn add(admin: &Admin, actor: &Actor, operator: &str, order: AddKey) -> Verb<KeyAdded> {
    const VERB: &str = "operator.key.add";
    own_or_admin(actor, operator, VERB)?;
    actor.need_person(VERB, admin.clock.now())?;
    admin.need_ledger(VERB)?;
    let days = order.expires_days.unwrap_or(DEFAULT_DAYS);
    if !(1..=MOST_DAYS).contains(&days) {
        return Err(Fault::invalid("expires", format!("a key lives 1 to {MOST_DAYS} days")));
    }
    let now = admin.clock.now();
    let own = admin.operators.state().accounts.get(operator).filter(|account| account.disabled_at.is_none()).map(|a| a.role);
    let own = own.ok_or_else(|| Fault::not_found(format!("there is no operator {operator} that may sign in")))?;
    if let Some(role) = order.role.filter(|role| !role.fits(own)) {
        let sentence = format!("{operator} is {own}, and no key of it may be {role}");
        return Err(Fault { place: Some("role".into()), ..Fault::denied(sentence) });
    }
    let minted = keys::mint(KeyPrefix::Operator, admin.entropy.as_ref());
    let expires_at = Some(now.plus_ms(i64::from(days) * DAY_MS));
    let (role, operator) = (order.role, operator.to_owned());
    let held = HeldKey { operator: operator.clone(), role, hash: minted.hash, created_at: now, expires_at, ..HeldKey::default() };
    store::add_key(&admin.db, &minted.kid, &held).await?;
    admin.operators.state().keys.insert(minted.kid.clone(), held);
    let mut event = Event::action(&actor.name, VERB, format!("{operator} {}", minted.kid));
    event.params = Some(serde_json::json!({ "role": role.unwrap_or(own).word(), "expires_at": expires_at }));
    admin.record(event).await?;
    Ok(KeyAdded { operator, kid: minted.kid, key: minted.text.reveal().clone(), expires_at })
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
    let mut keys: Vec<OperatorKey> = shown.map(|(kid, key)| seen(&state, kid, key)).collect();
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
    Ok(seen(&admin.operators.state(), kid, &HeldKey { revoked_at: Some(now), ..held }))
}

fn seen(state: &State, kid: &str, key: &HeldKey) -> OperatorKey {
    let own = state.accounts.get(&key.operator).map_or(OperatorRole::Viewer, |account| account.role);
    OperatorKey {
        kid: kid.to_owned(),
        operator: key.operator.clone(),
        role: key.role.map_or(own, |role| role.within(own)),
        created_at: key.created_at,
        expires_at: key.expires_at,
        revoked_at: key.revoked_at,
        last_used: key.last_used,
    }
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
