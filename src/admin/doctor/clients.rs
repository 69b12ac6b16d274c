//! What clients show: keys that have been good for so long that tokens should take their place. Only asks.

use super::{Check, State, check, ok};
use crate::admin::clients::{self, oauth};
use crate::admin::{Actor, Admin};

const NAME: &str = "client keys";

pub(super) async fn keys(admin: &Admin) -> Check {
    let clients = match clients::list(admin, &Actor::system("doctor")).await {
        Ok(list) => list.clients,
        Err(fault) => return check(NAME, State::Warn, fault.message, "see whether state.db answers"),
    };
    let keys = clients.iter().flat_map(|client| &client.keys).filter(|key| key.state == "active").count();
    let old = oauth::pages::long_lived(&clients, admin.clock.now());
    if old.is_empty() {
        return ok(NAME, format!("{keys} in use, none older than 90 days"));
    }
    let mend = "give the client a secret: lifeboat client secret add NAME; its tokens live ten minutes. Then revoke the key";
    check(NAME, State::Warn, format!("older than 90 days: {}", old.join(", ")), mend)
}
