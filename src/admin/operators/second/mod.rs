//! The second factor of an operator: an authenticator's codes (RFC 6238) and recovery codes. A code counts once, also across restarts; the
//! secret is shown once and rests sealed. Never checks a password: that comes first.

pub(super) mod store;

use std::time::Duration;

pub use store::STATEMENTS;

use super::memory::{Pending, Second, State};
use super::store as operators_store;
use crate::admin::actor::{Actor, Right, Via};
use crate::admin::{Admin, operators, vaults};
use crate::audit::Event;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;
use crate::crypto::{keys, totp};

const RECOVERY_CODES: usize = 10;
/// With so many recovery codes left the account page asks for new ones.
pub const FEW_CODES: usize = 3;
/// A secret that was shown is taken for so long.
const PENDING_MS: i64 = 15 * 60_000;
const WRITTEN_WITHIN: Duration = Duration::from_millis(500);

/// What an operator has, without its secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Since when it counts; `None` without a second factor.
    pub since: Option<Timestamp>,
    /// Recovery codes that nobody used yet.
    pub recovery: usize,
    /// Whether this deployment asks for one.
    pub required: bool,
}

/// A secret to set up; the only time it is shown.
#[derive(Debug)]
pub struct Begun {
    /// As people type it.
    pub text: Secret<String>,
    /// As a QR code holds it.
    pub uri: Secret<String>,
}

/// How a code counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// As one of the authenticator.
    Code,
    /// As a recovery code; so many are left.
    Recovery(usize),
}

fn context(operator: &str) -> String {
    format!("operator/{operator}/totp")
}

fn second_mut<'a>(state: &'a mut State, operator: &str) -> Option<&'a mut Second> {
    state.accounts.get_mut(operator)?.second.as_mut()
}

/// What an operator has.
pub fn standing(admin: &Admin, operator: &str) -> Standing {
    let required = admin.feed.snapshot().settings.operators.require_totp;
    let state = admin.operators.state();
    let second = state.accounts.get(operator).and_then(|account| account.second.as_ref());
    Standing { since: second.map(|s| s.confirmed_at), recovery: second.map_or(0, |s| s.recovery.len()), required }
}

/// Whether an operator must set up a second factor before it may do anything but that, and stop tools.
pub fn must_enrol(admin: &Admin, actor: &Actor) -> bool {
    let standing = standing(admin, &actor.name);
    actor.via == Via::Dashboard && standing.required && standing.since.is_none()
}

/// Makes a secret for whoever is signed in. It counts for nothing until one of its codes confirms it; what was there before counts till then.
///
/// # Errors
/// `Denied` outside of the dashboard; `Stale`.
pub fn totp_begin(admin: &Admin, actor: &Actor, token: &str, host: &str) -> Verb<Begun> {
    actor.need_person("operator.totp.add", admin.clock.now())?;
    let secret = totp::secret(admin.entropy.as_ref());
    // The name of a host may be an address with colons, which the address of a secret cannot hold.
    let host = host.replace(['[', ']', ':'], "-");
    let begun = Begun { text: totp::text(&secret), uri: totp::uri(&secret, "Lifeboat", &format!("{}@{host}", actor.name))? };
    let mut state = admin.operators.state();
    let session = state.sessions.get_mut(&keys::hash_text(token)).filter(|session| session.operator == actor.name);
    let session = session.ok_or_else(|| Fault::denied("A second factor is set up in the dashboard, on the page My account"))?;
    session.pending = Some(Pending { secret, at: admin.clock.now() });
    Ok(begun)
}

/// Confirms the secret of this session by one of its codes. From here on every sign-in asks for a code; the other sessions, which began
/// without one, end. Gives the recovery codes, the only time they are shown.
///
/// # Errors
/// `Conflict` when no secret waits; `Invalid` for a code that does not fit it.
pub async fn totp_confirm(admin: &Admin, actor: &Actor, token: &str, typed: &str) -> Verb<Vec<Secret<String>>> {
    admin.need_ledger("operator.totp.add")?;
    let (now, id) = (admin.clock.now(), keys::hash_text(token));
    let _turn = admin.operators.changes.lock().await;
    let pending = admin.operators.state().sessions.get(&id).filter(|s| s.operator == actor.name).and_then(|s| s.pending.clone());
    let pending = pending.filter(|pending| (0..=PENDING_MS).contains(&now.since_ms(pending.at)));
    let pending = pending.ok_or_else(|| Fault::conflict("No second factor waits to be confirmed. Begin again"))?;
    let wrong = || {
        Fault::invalid("code", "This is not the code of that secret now. Wait for the next one, and see that the clock is right")
    };
    let step = totp::step_of(&pending.secret, typed, now).ok_or_else(wrong)?;
    let sealed = admin.sealer.seal(&context(&actor.name), pending.secret.reveal(), admin.entropy.as_ref())?;
    let codes = mint(admin);
    let second = Second { sealed, confirmed_at: now, last_step: step, recovery: hashes(&codes), ..Second::default() };
    store::put(&admin.db, &actor.name, &second).await?;
    let over = {
        let mut state = admin.operators.state();
        if let Some(session) = state.sessions.get_mut(&id) {
            session.pending = None;
            // A code came from here: its place is known, and strangers with the password do not slow it.
            if let Ok(remote) = session.remote.parse() {
                admin.operators.codes().succeeded(&actor.name, remote);
            }
        }
        if let Some(account) = state.accounts.get_mut(&actor.name) {
            account.second = Some(second);
        }
        state.end_sessions(&actor.name, Some(id))
    };
    operators_store::end_sessions(&admin.db, &over).await?;
    vaults::tell_revoked(admin);
    admin.record(Event::action(&actor.name, "operator.totp.add", actor.name.clone())).await?;
    Ok(codes)
}

fn mint(admin: &Admin) -> Vec<Secret<String>> {
    (0..RECOVERY_CODES).map(|_| keys::recovery_code(admin.entropy.as_ref())).collect()
}

fn hashes(codes: &[Secret<String>]) -> Vec<[u8; 32]> {
    codes.iter().map(|code| keys::hash_text(code.reveal())).collect()
}

/// Makes other recovery codes for whoever is signed in; those before end. Shown once.
///
/// # Errors
/// `Stale`; `Conflict` without a second factor.
pub async fn recovery_renew(admin: &Admin, actor: &Actor) -> Verb<Vec<Secret<String>>> {
    actor.need_person("operator.recovery.renew", admin.clock.now())?;
    admin.need_ledger("operator.recovery.renew")?;
    if standing(admin, &actor.name).since.is_none() {
        return Err(Fault::conflict("Recovery codes stand in for a second factor, and there is none. Set it up first"));
    }
    let codes = mint(admin);
    let _turn = admin.operators.changes.lock().await;
    store::put_recovery(&admin.db, &actor.name, &hashes(&codes)).await?;
    if let Some(second) = second_mut(&mut admin.operators.state(), &actor.name) {
        second.recovery = hashes(&codes);
    }
    vaults::tell_revoked(admin);
    admin.record(Event::action(&actor.name, "operator.recovery.renew", actor.name.clone())).await?;
    Ok(codes)
}

/// Removes a second factor with its recovery codes: anybody its own, an admin everybody's, whose sessions end then.
///
/// # Errors
/// `Denied` for somebody else's and for a key; `Stale`; `NotFound` when there is none; `Conflict` for one's own where this deployment asks for one.
pub async fn totp_remove(admin: &Admin, actor: &Actor, operator: &str) -> Verb<operators::Operator> {
    const VERB: &str = "operator.totp.remove";
    let own = actor.name == operator;
    actor.need(if own { Right::Read } else { Right::Administer }, VERB)?;
    actor.need_person(VERB, admin.clock.now())?;
    let standing = standing(admin, operator);
    if standing.since.is_none() {
        return Err(Fault::not_found(format!("there is no second factor of an operator {operator}")));
    }
    if own && standing.required {
        return Err(Fault::conflict("This deployment asks for a second factor. Replace it by another instead"));
    }
    let _turn = admin.operators.changes.lock().await;
    store::remove(&admin.db, operator).await?;
    let over = {
        let mut state = admin.operators.state();
        if let Some(account) = state.accounts.get_mut(operator) {
            account.second = None;
        }
        if own { Vec::new() } else { state.end_sessions(operator, None) }
    };
    operators_store::end_sessions(&admin.db, &over).await?;
    vaults::tell_revoked(admin);
    admin.record(Event::action(&actor.name, VERB, operator)).await?;
    operators::one(admin, operator)
}

/// Counts a code, or a recovery code, of an operator. `None` when it does not count: it is wrong, or it counted before.
///
/// # Errors
/// `Unavailable` when the secret does not open, or a recovery code cannot be used up.
pub(super) async fn count(admin: &Admin, operator: &str, typed: &str) -> Verb<Option<Counted>> {
    if let Some(code) = totp::read(typed) {
        return by_code(admin, operator, &code).await;
    }
    let Some(code) = keys::read_recovery_code(typed) else { return Ok(None) };
    let hash = keys::hash_text(code.reveal());
    let known = |state: &State| state.accounts.get(operator)?.second.as_ref()?.recovery.contains(&hash).then_some(());
    if known(&admin.operators.state()).is_none() {
        return Ok(None);
    }
    // The database first: a recovery code that could be used again after a restart would be good for ever.
    if !store::use_recovery(&admin.db, operator, &hash, admin.clock.now()).await? {
        return Ok(None);
    }
    let mut state = admin.operators.state();
    let Some(second) = second_mut(&mut state, operator) else { return Ok(None) };
    second.recovery.retain(|kept| *kept != hash);
    vaults::tell_revoked(admin);
    Ok(Some(Counted::Recovery(second.recovery.len())))
}

async fn by_code(admin: &Admin, operator: &str, code: &str) -> Verb<Option<Counted>> {
    let sealed = admin.operators.state().accounts.get(operator).and_then(|a| a.second.as_ref()).map(|second| second.sealed.clone());
    let Some(sealed) = sealed else { return Ok(None) };
    let secret = admin.sealer.open(&context(operator), &sealed)?;
    let Some(step) = totp::step_of(&secret, code, admin.clock.now()) else { return Ok(None) };
    {
        // Looked at and counted under one lock: of two that come at once, one counts.
        let mut state = admin.operators.state();
        let fits = second_mut(&mut state, operator).filter(|second| second.sealed == sealed && second.last_step < step);
        let Some(second) = fits else { return Ok(None) };
        (second.last_step, second.step_since) = (step, true);
    }
    keep_steps(admin).await;
    Ok(Some(Counted::Code))
}

/// Writes down the last steps that counted. A database that does not answer keeps nobody from the stop button: the step is written later, and a
/// code is worth nothing after a minute and a half anyway.
pub(super) async fn keep_steps(admin: &Admin) {
    let due: Vec<(String, i64)> = {
        let mut state = admin.operators.state();
        let due = state.accounts.iter_mut().filter_map(|(name, account)| {
            let second = account.second.as_mut()?;
            std::mem::take(&mut second.step_since).then(|| (name.clone(), second.last_step))
        });
        due.collect()
    };
    for (operator, step) in due {
        let written = tokio::time::timeout(WRITTEN_WITHIN, store::set_step(&admin.db, &operator, step)).await;
        if !matches!(written, Ok(Ok(()))) {
            tracing::warn!(operator, "the last code of an operator is in memory only: the database does not answer");
            if let Some(second) = second_mut(&mut admin.operators.state(), &operator) {
                second.step_since = true;
            }
        }
    }
}
