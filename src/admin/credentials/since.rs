//! Ends everything that was issued from a moment on: keys of clients and operators, client secrets, and every token. Never ends what is older.

use super::model::CredentialRevoked;
use super::people;
use crate::admin::clients::single::{self as held, Form};
use crate::admin::tokens::{self, CutOrder};
use crate::admin::{Actor, Admin};
use crate::base::clock::Timestamp;

/// The actor's own key ends too: it may be the one that leaked. What could not be ended stands in `open`.
pub(super) async fn end(admin: &Admin, actor: &Actor, since: Timestamp, done: &mut CredentialRevoked) {
    for form in [Form::Key, Form::Secret] {
        of_clients(admin, actor, (form, since), done).await;
    }
    // Each lives ten minutes, and a client whose credential counts gets another one by itself.
    let order = CutOrder { client: None, reason: Some("everything issued since a moment is revoked".to_owned()) };
    if let Err(fault) = tokens::cut(admin, actor, &order).await {
        done.open.push(format!("tokens: {}", fault.message));
    }
    people::since(admin, actor, since, done).await;
    // They stand in the configuration, which does not say since when.
    let snapshot = admin.feed.snapshot();
    let with_keys = |client: &&std::sync::Arc<str>| snapshot.kids_of(client).iter().any(|kid| kid.starts_with("jwk-"));
    let mut named: Vec<&str> = snapshot.clients.keys().filter(with_keys).map(AsRef::as_ref).collect();
    named.sort_unstable();
    if !named.is_empty() {
        let named = named.join(", ");
        done.open.push(format!("public keys count on, of {named}: when each was registered says lifeboat config history"));
    }
}

/// Keys or secrets of clients that are younger; those that get tokens take their tokens with them.
async fn of_clients(admin: &Admin, actor: &Actor, (form, since): (Form, Timestamp), done: &mut CredentialRevoked) {
    let all = match held::all(admin, form).await {
        Ok(all) => all,
        Err(fault) => {
            done.open.push(format!("which {}s of clients are younger is not known: {}", form.word(), fault.message));
            return;
        }
    };
    let young = all.into_iter().filter(|one| one.state == "active" && one.created_at >= since);
    let young: Vec<String> = young.map(|one| one.kid).collect();
    if let Err(fault) = held::cut(admin, &young, &actor.name).await {
        done.open.push(format!("refused now, and a restart would forget it: {}", fault.message));
    }
    done.keys.extend(young);
}
