//! What operators do about their own access: list and end sessions, change the password. Ending is never kept from anybody: it takes away.

use super::memory::{Session, State};
use super::model::{OperatorSession, SessionList, SessionsEnded};
use super::{password, store};
use crate::admin::actor::{Actor, Right};
use crate::admin::{Admin, vaults};
use crate::audit::Event;
use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;
use crate::crypto::{base32, keys};

const NAME: usize = 10;

/// The public name of a session: bits of the hash of the hash of nothing but randomness.
fn name(id: &[u8; 32]) -> String {
    let hashed = keys::sha256(id);
    base32::encode(hashed.get(..NAME).unwrap_or_default())
}

/// The public name of the session of a cookie.
pub fn session_name(token: &str) -> String {
    name(&keys::hash_text(token))
}

/// Lists sessions that still are: of one operator, or all that one may see: an admin everybody's, others their own.
///
/// # Errors
/// `Denied` for somebody else's.
pub fn session_list(admin: &Admin, actor: &Actor, operator: Option<&str>) -> Verb<SessionList> {
    let operator = if actor.role.has(Right::Administer) { operator } else { operator.or(Some(&actor.name)) };
    let own = operator.is_some_and(|operator| operator == actor.name);
    actor.need(if own { Right::Read } else { Right::Administer }, "operator.session.list")?;
    let (now, state) = (admin.clock.now(), admin.operators.state());
    let wanted = |session: &Session| session.lives(now) && operator.is_none_or(|name| name == session.operator);
    let shown = |(id, session): (&[u8; 32], &Session)| OperatorSession {
        session: name(id),
        operator: session.operator.clone(),
        created_at: session.created_at,
        last_seen: session.last_seen,
        login_at: session.login_at,
        remote: session.remote.clone(),
        agent: session.agent.clone(),
    };
    let mut sessions: Vec<OperatorSession> = state.sessions.iter().filter(|(_, session)| wanted(session)).map(shown).collect();
    sessions.sort_by(|a, b| b.last_seen.cmp(&a.last_seen).then(a.session.cmp(&b.session)));
    Ok(SessionList { sessions })
}

/// Ends one session: anybody its own, an admin everybody's.
///
/// # Errors
/// `Denied` for somebody else's; `NotFound`.
pub async fn session_end(admin: &Admin, actor: &Actor, session: &str) -> Verb<SessionsEnded> {
    const VERB: &str = "operator.session.end";
    let find = |state: &State| {
        let mut all = state.sessions.iter();
        all.find(|(id, _)| name(id) == session).map(|(id, session)| (*id, session.operator.clone()))
    };
    let found = find(&admin.operators.state());
    let (id, operator) = found.ok_or_else(|| Fault::not_found(format!("there is no session {session}")))?;
    actor.need(if operator == actor.name { Right::Read } else { Right::Administer }, VERB)?;
    // Memory first: from here on the cookie opens nothing, whatever the database says.
    admin.operators.state().sessions.remove(&id);
    store::end_sessions(&admin.db, &[id]).await?;
    admin.record(Event::action(&actor.name, VERB, format!("{operator} {session}"))).await?;
    Ok(SessionsEnded { ended: 1 })
}

/// Ends every session of an operator, but the one of the cookie `but`; of everybody when there is no name.
///
/// # Errors
/// `Denied` for somebody else's; `NotFound` for an operator that is none.
pub async fn sessions_end(admin: &Admin, actor: &Actor, operator: Option<&str>, but: Option<&str>) -> Verb<SessionsEnded> {
    const VERB: &str = "operator.session.end";
    let mine = operator.is_some_and(|operator| operator == actor.name);
    actor.need(if mine { Right::Read } else { Right::Administer }, VERB)?;
    let but = but.map(keys::hash_text);
    let over = {
        let mut state = admin.operators.state();
        let names: Vec<String> = match operator {
            Some(name) if !state.accounts.contains_key(name) => {
                return Err(Fault::not_found(format!("there is no operator {name}")));
            }
            Some(name) => vec![name.to_owned()],
            None => state.accounts.keys().cloned().collect(),
        };
        names.iter().flat_map(|name| state.end_sessions(name, but)).collect::<Vec<_>>()
    };
    store::end_sessions(&admin.db, &over).await?;
    let mut event = Event::action(&actor.name, VERB, operator.unwrap_or("everybody"));
    event.params = Some(serde_json::json!({ "ended": over.len() }));
    admin.record(event).await?;
    Ok(SessionsEnded { ended: over.len() })
}

/// Gives whoever is signed in another password; its other sessions end, its keys stay.
///
/// # Errors
/// `Denied` outside of the dashboard, where `operator reset` is the way; `Stale`; `Invalid` for a password that does not do.
pub async fn set_password(admin: &Admin, actor: &Actor, secret: &Secret<String>, token: &str) -> Verb<SessionsEnded> {
    const VERB: &str = "operator.password";
    actor.need_person(VERB, admin.clock.now())?;
    if !admin.operators.state().accounts.contains_key(&actor.name) {
        return Err(Fault::denied("Only an operator has a password. On the host: lifeboat operator reset NAME --password-stdin"));
    }
    let (phc, own) = (password::make(secret).await?, keys::hash_text(token));
    let _turn = admin.operators.changes.lock().await;
    if admin.operators.state().sessions.get(&own).is_none_or(|session| session.operator != actor.name) {
        // A reset or an end of this session came first, and its password is the one that stays.
        return Err(Fault::denied("This session ended meanwhile. The password is as it was"));
    }
    store::set_password(&admin.db, &actor.name, &phc).await?;
    let over = {
        let mut state = admin.operators.state();
        if let Some(account) = state.accounts.get_mut(&actor.name) {
            account.password_phc = phc;
        }
        state.end_sessions(&actor.name, Some(own))
    };
    store::end_sessions(&admin.db, &over).await?;
    vaults::tell_revoked(admin);
    admin.record(Event::action(&actor.name, VERB, actor.name.clone())).await?;
    Ok(SessionsEnded { ended: over.len() })
}
