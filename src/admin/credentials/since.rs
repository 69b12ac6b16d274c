//! Ends everything that was issued from a moment on: keys of clients and operators, client secrets, and every token. Never ends what is older.

use super::model::CredentialRevoked;
use crate::admin::clients::{secret_list, secret_revoke, single as client_keys};
use crate::admin::tokens::{self, CutOrder};
use crate::admin::{Actor, Admin, operators};
use crate::base::clock::Timestamp;

/// The actor's own key ends too: it may be the one that leaked. What could not be ended stands in `open`.
pub(super) async fn end(admin: &Admin, actor: &Actor, since: Timestamp, done: &mut CredentialRevoked) {
    match client_keys::all(admin).await {
        Ok(all) => {
            let young = all.into_iter().filter(|key| key.state == "active" && key.created_at >= since);
            done.keys = young.map(|key| key.kid).collect();
            if let Err(fault) = client_keys::cut(admin, &done.keys, &actor.name).await {
                done.open.push(format!("refused now, and a restart would forget it: {}", fault.message));
            }
        }
        Err(fault) => done.open.push(format!("which client keys are younger is not known: {}", fault.message)),
    }
    what_gets_tokens(admin, actor, since, done).await;
    let young: Vec<String> = {
        let state = admin.operators.state();
        let keys = state.keys.iter().filter(|(_, key)| key.revoked_at.is_none() && key.created_at >= since);
        keys.map(|(kid, _)| kid.clone()).collect()
    };
    for kid in young {
        match operators::key_revoke(admin, actor, &kid).await {
            Ok(_) => done.operator_keys.push(kid),
            Err(fault) => done.open.push(format!("operator key {kid}: {}", fault.message)),
        }
    }
}

/// Secrets that are younger, and all tokens: each lives ten minutes, and a client whose credential counts gets another one by itself.
async fn what_gets_tokens(admin: &Admin, actor: &Actor, since: Timestamp, done: &mut CredentialRevoked) {
    match secret_list(admin, actor, None).await {
        Ok(list) => {
            for secret in list.secrets.into_iter().filter(|secret| secret.state == "active" && secret.created_at >= since) {
                match secret_revoke(admin, actor, &secret.kid).await {
                    Ok(_) => done.keys.push(secret.kid),
                    Err(fault) => done.open.push(format!("client secret {}: {}", secret.kid, fault.message)),
                }
            }
        }
        Err(fault) => done.open.push(format!("which client secrets are younger is not known: {}", fault.message)),
    }
    let order = CutOrder { client: None, reason: Some("everything issued since a moment is revoked".to_owned()) };
    if let Err(fault) = tokens::cut(admin, actor, &order).await {
        done.open.push(format!("tokens: {}", fault.message));
    }
}
