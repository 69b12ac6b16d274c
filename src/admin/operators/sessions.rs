//! Setting up, signing out, and what a cookie or key is worth. Every sign-in makes a new session id; only its hash is kept.

use super::memory::{Checked, Session, State};
use super::model::{SignedIn, Visitor};
use super::throttle::SETUP;
use super::{password, second, store};
use crate::admin::actor::{Actor, Via};
use crate::admin::{Admin, operators};
use crate::audit::Event;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::base::ids::check_name;
use crate::base::secret::Secret;
use crate::crypto::keys::{self, KeyPrefix};

/// Makes the setup code at the first run. `None` when there is one already or the deployment is set up; it is never shown again.
///
/// # Errors
/// When the database does not answer.
pub async fn ensure_setup_code(db: &crate::db::Db, entropy: &dyn crate::base::ids::Entropy) -> Verb<Option<Secret<String>>> {
    let code = keys::setup_code(entropy);
    let stored = store::add_code(db, keys::hash_text(code.reveal())).await?;
    Ok(stored.then_some(code))
}

/// Whether the first admin is still to be made.
pub fn needs_setup(admin: &Admin) -> bool {
    admin.operators.unread.is_none() && admin.operators.state().accounts.is_empty()
}

/// Makes the first admin with the setup code, and signs in.
///
/// # Errors
/// `Denied` for a wrong code, `Invalid` for a name or password that does not do, `Conflict` when somebody was first.
pub async fn set_up(admin: &Admin, code: &str, name: &str, secret: &Secret<String>, visitor: &Visitor) -> Verb<SignedIn> {
    let now = admin.clock.now();
    let wait = admin.operators.throttle().wait_ms(SETUP, visitor.remote, now);
    if wait > 0 {
        return Err(Fault { place: Some("code".into()), ..Fault::denied(too_many(wait)) });
    }
    let wanted = store::code(&admin.db).await?.ok_or_else(|| Fault::conflict("This deployment is set up already. Sign in"))?;
    let right = keys::read_setup_code(code).is_some_and(|typed| keys::same(&keys::hash_text(typed.reveal()), &wanted));
    if !right {
        admin.operators.throttle().failed(SETUP, visitor.remote, now);
        admin.recorder.stranger(visitor.remote, "setup.refused");
        let sentence = "This is not the setup code. It stands on the terminal Lifeboat was started from, or in keys/first-run.txt";
        return Err(Fault { place: Some("code".into()), ..Fault::denied(sentence) });
    }
    check_name(name).map_err(|why| Fault::invalid("name", why))?;
    let phc = password::make(secret).await?;
    let new = store::NewOperator { name, role: crate::admin::OperatorRole::Admin, password_phc: &phc, at: now };
    store::set_up(&admin.db, &new).await?;
    operators::remember(admin, &new);
    admin.record(Event::action(name, "operator.setup", name)).await?;
    let checked = Checked { operator: name.to_owned(), password_phc: phc, second: None };
    let begun = begin(admin, &checked, visitor).await;
    begun.ok_or_else(|| Fault::conflict("This operator was changed meanwhile. Sign in"))
}

pub(super) fn too_many(wait_ms: i64) -> String {
    format!("Too many tries. The next one counts in {} s", wait_ms / 1000 + 1)
}

/// Begins a session, if what was checked still stands: a password that was replaced while it was compared opens nothing (ATK-A03).
pub(super) async fn begin(admin: &Admin, checked: &Checked, visitor: &Visitor) -> Option<SignedIn> {
    let now = admin.clock.now();
    let token = keys::token(admin.entropy.as_ref());
    let operator = checked.operator.as_str();
    let session = Session {
        operator: operator.to_owned(),
        created_at: now,
        last_seen: now,
        login_at: now,
        remote: visitor.remote.to_string(),
        agent: visitor.agent.clone(),
        ..Session::default()
    };
    let id = keys::hash_text(token.reveal());
    {
        // Looked at and begun under one lock: whoever changes the account ends this session, or it never is.
        let mut state = admin.operators.state();
        if !state.stands(checked) {
            return None;
        }
        state.sessions.insert(id, session.clone());
    }
    let stored = tokio::time::timeout(std::time::Duration::from_millis(500), store::add_session(&admin.db, id, &session)).await;
    if !matches!(stored, Ok(Ok(()))) {
        tracing::warn!(operator, "a session lives in memory only: the database does not answer");
    }
    if !admin.operators.state().sessions.contains_key(&id) {
        // Ended while it was written: whoever ended it may have found nothing to remove.
        if let Err(fault) = store::end_sessions(&admin.db, &[id]).await {
            tracing::warn!(%fault, operator, "an ended session is still in the database");
        }
        return None;
    }
    Some(SignedIn { operator: operator.to_owned(), token })
}

/// Ends the session of a cookie.
pub async fn end(admin: &Admin, token: &str) {
    let id = keys::hash_text(token);
    let Some(session) = admin.operators.state().sessions.remove(&id) else { return };
    if let Err(fault) = store::end_sessions(&admin.db, &[id]).await {
        tracing::warn!(%fault, operator = session.operator, "an ended session is still in the database");
    }
}

/// Signs out.
///
/// # Errors
/// `Unavailable` when the ledger cannot be written; the session has ended all the same.
pub async fn logout(admin: &Admin, actor: &Actor, token: &str) -> Verb<()> {
    end(admin, token).await;
    admin.record(Event::action(&actor.name, "logout", actor.name.clone())).await
}

/// Whether a look at a session keeps it alive: a person's request does, a stream that runs by itself does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// Counts as activity.
    Yes,
    /// Only looks.
    No,
}

/// Who a cookie is, when its session lives. Touches no disk.
pub fn who(admin: &Admin, token: &str, touch: Touch) -> Option<Actor> {
    let now = admin.clock.now();
    let mut state = admin.operators.state();
    let State { accounts, sessions, .. } = &mut *state;
    let session = sessions.get_mut(&keys::hash_text(token)).filter(|session| session.lives(now))?;
    let account = accounts.get(&session.operator).filter(|account| account.disabled_at.is_none())?;
    if touch == Touch::Yes {
        session.last_seen = now;
        session.seen_since = true;
    }
    let login_at = Some(session.login_at);
    Some(Actor { name: session.operator.clone(), role: account.role, via: Via::Dashboard, login_at })
}

/// Who an API key is. Touches no disk.
pub fn who_by_key(admin: &Admin, text: &str) -> Option<Actor> {
    let shown = keys::parse(text).filter(|shown| shown.prefix == KeyPrefix::Operator)?;
    let now = admin.clock.now();
    let mut state = admin.operators.state();
    let State { accounts, keys: held, .. } = &mut *state;
    let key = held.get_mut(shown.kid)?;
    let runs = key.revoked_at.is_none() && key.expires_at.is_none_or(|at| now < at);
    if !keys::same(&key.hash, &shown.hash) || !runs {
        return None;
    }
    let account = accounts.get(&key.operator).filter(|account| account.disabled_at.is_none())?;
    key.last_used = Some(now);
    key.used_since = true;
    // A key never has more than its operator has now, whatever it was made with (ATK-A10).
    let role = key.role.map_or(account.role, |role| role.within(account.role));
    Some(Actor { name: key.operator.clone(), role, via: Via::Api, login_at: None })
}

/// Leaves a sentence for the next page of a session.
pub fn leave_flash(admin: &Admin, token: &str, sentence: impl Into<String>) {
    if let Some(session) = admin.operators.state().sessions.get_mut(&keys::hash_text(token)) {
        session.flash = Some(sentence.into());
    }
}

/// Takes the sentence for this page.
pub fn take_flash(admin: &Admin, token: &str) -> Option<String> {
    admin.operators.state().sessions.get_mut(&keys::hash_text(token))?.flash.take()
}

/// Keeps a typed reason of an operator until it is used, through a new sign-in.
pub fn keep_draft(admin: &Admin, operator: &str, draft: Option<String>) {
    for session in admin.operators.state().sessions.values_mut().filter(|s| s.operator == operator) {
        session.draft.clone_from(&draft);
    }
}

/// The typed reason of an operator.
pub fn draft(admin: &Admin, operator: &str) -> Option<String> {
    let state = admin.operators.state();
    state.sessions.values().filter(|s| s.operator == operator).find_map(|s| s.draft.clone())
}

/// Writes to the database what only memory knows, and ends what is over. For a task that runs it each minute.
///
/// # Errors
/// When the database does not answer; the next run makes it good.
pub async fn keep(admin: &Admin) -> Verb<()> {
    let now: Timestamp = admin.clock.now();
    second::keep_steps(admin).await;
    let (mut seen, mut used, mut over) = (Vec::new(), Vec::new(), Vec::new());
    {
        let mut state = admin.operators.state();
        state.sessions.retain(|id, session| {
            let lives = session.lives(now);
            if !lives {
                over.push(*id);
            } else if std::mem::take(&mut session.seen_since) {
                seen.push((*id, session.last_seen));
            }
            lives
        });
        for (kid, key) in &mut state.keys {
            if std::mem::take(&mut key.used_since) {
                used.push((kid.clone(), key.last_used.unwrap_or(now)));
            }
        }
    }
    if seen.is_empty() && used.is_empty() && over.is_empty() {
        return Ok(());
    }
    store::keep(&admin.db, &seen, &used, &over).await
}
