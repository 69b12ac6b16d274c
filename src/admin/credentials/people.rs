//! The end of what lets operators in: their sessions, their keys, the account. What could not be ended is said, and keeps nothing else from being done.

use super::model::CredentialRevoked;
use super::revoke::failed;
use crate::admin::{Actor, Admin, operators};
use crate::base::clock::Timestamp;

/// The whole account; where it must stay, everything that lets somebody in by it.
pub(super) async fn account(admin: &Admin, actor: &Actor, name: &str, done: &mut CredentialRevoked) {
    let (open, kids) = (sessions_of(admin, name), keys_of(admin, name));
    match operators::disable(admin, actor, name).await {
        Ok(_) => {
            done.operators.push(name.to_owned());
            (done.sessions, done.operator_keys) = (open, kids);
        }
        Err(fault) => {
            failed(done, "the account stays", &fault);
            sessions(admin, actor, name, done).await;
            keys(admin, actor, &kids, done).await;
        }
    }
}

/// Every session of an operator.
pub(super) async fn sessions(admin: &Admin, actor: &Actor, name: &str, done: &mut CredentialRevoked) {
    match operators::sessions_end(admin, actor, Some(name), None).await {
        Ok(ended) => done.sessions += ended.ended as u64,
        Err(fault) => failed(done, "sessions, which a restart would bring back", &fault),
    }
}

/// Keys of operators, by kid.
pub(super) async fn keys(admin: &Admin, actor: &Actor, kids: &[String], done: &mut CredentialRevoked) {
    for kid in kids {
        match operators::key_revoke(admin, actor, kid).await {
            Ok(_) => done.operator_keys.push(kid.clone()),
            Err(fault) => failed(done, &format!("operator key {kid}"), &fault),
        }
    }
}

/// Everything that is younger than a moment, the actor's own too: it may be what leaked. An account that was added since is named, and stays.
pub(super) async fn since(admin: &Admin, actor: &Actor, since: Timestamp, done: &mut CredentialRevoked) {
    let (kids, accounts) = {
        let state = admin.operators.state();
        let young = state.keys.iter().filter(|(_, key)| key.revoked_at.is_none() && key.created_at >= since);
        let kids: Vec<String> = young.map(|(kid, _)| kid.clone()).collect();
        let added = state.accounts.iter().filter(|(_, one)| one.disabled_at.is_none() && one.created_at >= since);
        (kids, added.map(|(name, _)| name.clone()).collect::<Vec<String>>())
    };
    keys(admin, actor, &kids, done).await;
    match operators::session_list(admin, actor, None) {
        Ok(list) => {
            for one in list.sessions.into_iter().filter(|one| one.created_at >= since) {
                match operators::session_end(admin, actor, &one.session).await {
                    Ok(_) => done.sessions += 1,
                    Err(fault) => failed(done, &format!("session {}", one.session), &fault),
                }
            }
        }
        Err(fault) => failed(done, "sessions", &fault),
    }
    for name in accounts {
        done.open.push(format!("operator {name} was added since and stays: lifeboat credential revoke operator/{name}"));
    }
}

/// Keys of an operator that count.
pub(super) fn keys_of(admin: &Admin, name: &str) -> Vec<String> {
    let state = admin.operators.state();
    let keys = state.keys.iter().filter(|(_, key)| key.operator == name && key.revoked_at.is_none());
    keys.map(|(kid, _)| kid.clone()).collect()
}

fn sessions_of(admin: &Admin, name: &str) -> u64 {
    admin.operators.state().sessions.values().filter(|session| session.operator == name).count() as u64
}
