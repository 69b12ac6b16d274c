//! Signing in: the password, then the code where there is a second factor, and both once more where a login is too old. Nobody learns whether
//! a name exists, and every sign-in makes a new session id.

use super::memory::{Checked, Half, State};
use super::model::{NotSignedIn, SignedIn, Visitor};
use super::second::{self, Counted};
use super::sessions::{begin, end};
use super::throttle::Throttle;
use super::{password, sessions};
use crate::admin::Admin;
use crate::admin::actor::Actor;
use crate::audit::{Durability, Event, Recorder};
use crate::base::clock::Timestamp;
use crate::base::ids::check_name;
use crate::base::secret::Secret;
use crate::crypto::keys;
use crate::crypto::password::Queue;

/// A code is waited for so long after its password.
pub const HALF_MS: i64 = 5 * 60_000;
/// So many wrong codes, and the password is asked for again.
const HALF_TRIES: u32 = 5;
const HALVES: usize = 1_000;

/// Signs in, or asks for the code that is still due. `replaced` is the cookie the browser showed, whose session ends (ATK-A03); `next` is where
/// to go after a second step.
///
/// # Errors
/// Why not. The answer for an unknown name takes as long as for a wrong password (ATK-A02).
pub async fn login(
    admin: &Admin,
    name: &str,
    secret: &Secret<String>,
    visitor: &Visitor,
    came: (Option<&str>, &str),
) -> Result<SignedIn, NotSignedIn> {
    // A name nobody can have is one name for the throttle, so that strangers cannot fill it with inventions.
    let account = if check_name(name).is_ok() { name } else { "" };
    let checked = check_password(admin, account, secret, visitor).await?;
    if checked.second.is_some() {
        // The try stays counted until the code has come too: whoever has only the password is no friend yet.
        return Err(half(admin, checked, came.1).map_or(NotSignedIn::Wrong, NotSignedIn::Code));
    }
    enter(admin, &checked, visitor, (came.0, "login.ok", None)).await
}

// A new session in place of the one that was shown; a reason that was typed and not used goes along.
async fn enter(
    admin: &Admin,
    checked: &Checked,
    visitor: &Visitor,
    how: (Option<&str>, &str, Option<Counted>),
) -> Result<SignedIn, NotSignedIn> {
    let (account, (replaced, action, counted)) = (checked.operator.as_str(), how);
    let draft = sessions::draft(admin, account);
    let Some(signed) = begin(admin, checked, visitor).await else {
        told(admin, account, visitor, ("login.refused", None)).await;
        return Err(NotSignedIn::Wrong);
    };
    admin.operators.throttle().succeeded(account, visitor.remote);
    if let Some(token) = replaced {
        end(admin, token).await;
    }
    let second = counted.map(|counted| match counted {
        Counted::Code => "code",
        Counted::Recovery(_) => "recovery_code",
    });
    told(admin, account, visitor, (action, second)).await;
    if draft.is_some() {
        sessions::keep_draft(admin, account, draft);
    }
    Ok(signed)
}

async fn check_password(admin: &Admin, account: &str, secret: &Secret<String>, visitor: &Visitor) -> Result<Checked, NotSignedIn> {
    let now = admin.clock.now();
    if let Err(wait) = take_turn(&mut admin.operators.throttle(), account, visitor, now) {
        admin.recorder.stranger(visitor.remote, "login.throttled");
        return Err(wait);
    }
    let found = admin.operators.state().to_check(account);
    let queue = if admin.operators.throttle().is_known(visitor.remote) { Queue::Known } else { Queue::Stranger };
    let looked_at = password::check(found.as_ref().map(|checked| checked.password_phc.clone()), secret, queue).await?;
    let Some(right) = looked_at else {
        admin.operators.throttle().not_looked_at(account, visitor.remote);
        admin.recorder.stranger(visitor.remote, "login.throttled");
        return Err(NotSignedIn::Later(1));
    };
    let exists = found.is_some();
    if let Some(checked) = found.filter(|_| right) {
        return Ok(checked);
    }
    if exists {
        told_later(admin, account, visitor, "login.refused");
    } else {
        admin.recorder.stranger(visitor.remote, "login.refused");
    }
    Err(NotSignedIn::Wrong)
}

// Counted before the check and taken back after it: tries that run side by side cannot all slip under the limit.
fn take_turn(throttle: &mut Throttle, account: &str, visitor: &Visitor, now: Timestamp) -> Result<(), NotSignedIn> {
    let wait = throttle.wait_ms(account, visitor.remote, now);
    if wait > 0 {
        return Err(NotSignedIn::Later(u64::try_from(wait / 1000 + 1).unwrap_or(1)));
    }
    throttle.failed(account, visitor.remote, now);
    Ok(())
}

// None when the account is another one by now.
fn half(admin: &Admin, checked: Checked, next: &str) -> Option<Secret<String>> {
    let (now, token) = (admin.clock.now(), keys::token(admin.entropy.as_ref()));
    let mut state = admin.operators.state();
    if !state.stands(&checked) {
        return None;
    }
    state.halves.retain(|_, half| lives(half, now));
    if state.halves.len() >= HALVES {
        state.halves.clear();
    }
    let half = Half { checked, at: now, next: next.to_owned(), wrong: 0 };
    state.halves.insert(keys::hash_text(token.reveal()), half);
    Some(token)
}

fn lives(half: &Half, now: Timestamp) -> bool {
    (0..=HALF_MS).contains(&now.since_ms(half.at))
}

/// Who waits with a code, by the cookie of its first step.
pub fn waits(admin: &Admin, token: &str) -> Option<String> {
    let now = admin.clock.now();
    let state = admin.operators.state();
    state.halves.get(&keys::hash_text(token)).filter(|half| lives(half, now)).map(|half| half.checked.operator.clone())
}

/// The second step: signs in by a code of the authenticator or a recovery code. Gives where to go too.
///
/// # Errors
/// Why not; `Over` when the first step is too long ago or was never done, also after five wrong codes.
pub async fn login_code(
    admin: &Admin,
    token: &str,
    typed: &str,
    visitor: &Visitor,
    replaced: Option<&str>,
) -> Result<(SignedIn, String), NotSignedIn> {
    let (now, id) = (admin.clock.now(), keys::hash_text(token));
    let find = |state: &State| state.halves.get(&id).filter(|half| lives(half, now) && state.stands(&half.checked)).cloned();
    let half = find(&admin.operators.state()).ok_or(NotSignedIn::Over)?;
    let operator = half.checked.operator.as_str();
    let counted = check_code(admin, operator, typed, visitor).await;
    if let Err(NotSignedIn::Wrong) = counted {
        let mut state = admin.operators.state();
        let over = state.halves.get_mut(&id).is_none_or(|half| {
            half.wrong += 1;
            half.wrong >= HALF_TRIES
        });
        if over {
            state.halves.remove(&id);
            return Err(NotSignedIn::Over);
        }
    }
    let counted = counted?;
    // Taken out by whoever is first: one first step makes one session.
    admin.operators.state().halves.remove(&id).ok_or(NotSignedIn::Over)?;
    let signed = enter(admin, &half.checked, visitor, (replaced, "login.ok", Some(counted))).await?;
    warn_of_wrong(admin, operator, &signed, counted);
    Ok((signed, half.next))
}

async fn check_code(admin: &Admin, operator: &str, typed: &str, visitor: &Visitor) -> Result<Counted, NotSignedIn> {
    take_turn(&mut admin.operators.codes(), operator, visitor, admin.clock.now())?;
    if let Some(counted) = second::count(admin, operator, typed).await? {
        admin.operators.codes().succeeded(operator, visitor.remote);
        return Ok(counted);
    }
    if let Some(second) = admin.operators.state().accounts.get_mut(operator).and_then(|account| account.second.as_mut()) {
        second.wrong = second.wrong.saturating_add(1);
    }
    told(admin, operator, visitor, ("login.code_refused", None)).await;
    Err(NotSignedIn::Wrong)
}

// What the first page says: codes that were wrong after a right password, and recovery codes that run out.
fn warn_of_wrong(admin: &Admin, operator: &str, signed: &SignedIn, counted: Counted) {
    let wrong = {
        let mut state = admin.operators.state();
        state.accounts.get_mut(operator).and_then(|a| a.second.as_mut()).map_or(0, |second| std::mem::take(&mut second.wrong))
    };
    let mut said = Vec::new();
    if wrong > 2 {
        said.push(format!("{wrong} wrong codes came with your password since you last signed in. Were they not yours, change it."));
    }
    if let Counted::Recovery(left) = counted {
        said.push(format!("That recovery code is used up; {left} are left. New ones are made on My account."));
    }
    if !said.is_empty() {
        sessions::leave_flash(admin, signed.token.reveal(), said.join(" "));
    }
}

/// Gives a signed-in operator a fresh login: its password, and its code where it has a second factor. The session gets a new id (ATK-A03).
///
/// # Errors
/// Why not.
pub async fn again(
    admin: &Admin,
    actor: &Actor,
    shown: (&str, &Secret<String>, &str),
    visitor: &Visitor,
) -> Result<SignedIn, NotSignedIn> {
    let (token, secret, code) = shown;
    let checked = check_password(admin, &actor.name, secret, visitor).await?;
    let asks = checked.second.is_some();
    let counted = if asks { Some(check_code(admin, &actor.name, code, visitor).await?) } else { None };
    enter(admin, &checked, visitor, (Some(token), "login.again", counted)).await
}

async fn told(admin: &Admin, account: &str, visitor: &Visitor, what: (&str, Option<&str>)) {
    let mut event = Event::action(account, what.0, account);
    event.remote = Some(visitor.remote.to_string());
    event.params = what.1.map(|second| serde_json::json!({ "second": second }));
    written(&admin.recorder, event).await;
}

// Apart from the answer: that of an unknown name waits for no disk either, so the clock tells nobody which names there are (ATK-A02).
fn told_later(admin: &Admin, account: &str, visitor: &Visitor, action: &str) {
    let mut event = Event::action(account, action, account);
    event.remote = Some(visitor.remote.to_string());
    let recorder = admin.recorder.clone();
    tokio::spawn(async move { written(&recorder, event).await });
}

// An operator who cannot be written down may still sign in, for the stop button; the log keeps it.
async fn written(recorder: &Recorder, event: Event) {
    let (operator, action) = (event.operator.clone(), event.action.clone());
    if let Err(cause) = recorder.record(event, Durability::Written).await {
        tracing::error!(%cause, operator, action, "a sign-in could not be recorded");
    }
}
