//! Single steps with a key that signs tokens, for rotations: making one that nobody knows of yet, publishing it, going back to the one before, and a token
//! that shows whether a key is accepted. Never shows a private key.

use serde_json::json;

use super::{KID, TokenKey, found, one, opened, remove, row_of, store, told};
use crate::admin::actor::Right;
use crate::admin::kill::CANARY;
use crate::admin::publish::{deny, publish};
use crate::admin::{Actor, Admin, vaults};
use crate::audit::Event;
use crate::base::fault::{Fault, Verb};
use crate::base::ids::{Entropy, mint as mint_id, short};
use crate::base::secret::Secret;
use crate::crypto::jwk::Jwk;
use crate::crypto::jwt::SigningKey;
use crate::crypto::keys;
use crate::policy::scopes::FIRST;
use crate::policy::tokens::LIFE_MS;

/// What kind of token a client calls with (RFC 9068 section 2.1).
const TYPE: &str = "at+jwt";

/// A key that nobody knows of yet.
pub(in crate::admin) struct Fresh {
    /// Its public name.
    pub kid: String,
    /// PKCS#8.
    pub private: Secret<Vec<u8>>,
    /// The public half.
    pub public: Jwk,
}

/// Makes a key, with no effect on anything.
///
/// # Errors
/// `Bug` when the provider cannot.
pub(in crate::admin) fn mint(entropy: &dyn Entropy) -> Verb<Fresh> {
    let key = SigningKey::generate()?;
    let kid = short(KID, entropy);
    let public = Jwk { kid: Some(kid.clone()), ..key.public };
    Ok(Fresh { kid, private: key.private, public })
}

/// Publishes a key, which does not sign yet; the second time nothing happens.
///
/// # Errors
/// `Denied` below role operator; `Conflict` while another key is published already; `Unavailable`.
pub(in crate::admin) async fn install(admin: &Admin, actor: &Actor, fresh: &Fresh) -> Verb<TokenKey> {
    actor.need(Right::Operate, "token.stage")?;
    admin.need_ledger("token.stage")?;
    let rows = store::keys(&admin.db).await?;
    if !rows.iter().any(|row| row.kid == fresh.kid) {
        if let Some(other) = rows.iter().find(|row| row.state == "next") {
            return Err(Fault::conflict(format!("key {} is published already and does not sign yet: remove it first", other.kid)));
        }
        let row = row_of(&admin.sealer, admin.entropy.as_ref(), fresh, admin.clock.now())?;
        store::add_key(&admin.db, &row).await?;
        admin.record(Event::action(&actor.name, "token.stage", &row.kid)).await?;
    }
    publish(admin).await?;
    one(admin, &fresh.kid).await
}

/// Takes a key back: where it signs already the one before signs again, and its own tokens end. Clients get new ones with what they have. The second
/// time nothing happens.
///
/// # Errors
/// `Denied` below role operator; `Conflict` when the one before has ended; `Unavailable`.
pub(in crate::admin) async fn go_back(admin: &Admin, actor: &Actor, (from, to): (&str, Option<&str>)) -> Verb<bool> {
    actor.need(Right::Operate, "token.go_back")?;
    let rows = store::keys(&admin.db).await?;
    let Some(row) = rows.iter().find(|row| row.kid == from).filter(|row| row.state != "retired") else { return Ok(false) };
    if row.state != "current" {
        remove(admin, actor, from).await?;
        return Ok(false);
    }
    let ended = || Fault::conflict("the key before has ended, so there is nothing to go back to");
    let to = to.ok_or_else(ended)?;
    if !store::go_back(&admin.db, (from, to), admin.clock.now()).await? {
        return Err(ended());
    }
    deny(admin, &[from.to_owned()]);
    let mut event = Event::action(&actor.name, "token.go_back", to);
    event.params = Some(json!({ "removed": from }));
    let recorded = admin.record(event).await;
    publish(admin).await?;
    vaults::tell_revoked(admin);
    recorded?;
    Ok(true)
}

/// Ends every key that is published, in an emergency: no token that was ever given counts, and a new key signs. Gives their names.
///
/// # Errors
/// As `remove`; what was ended until then stays so.
pub(in crate::admin) async fn remove_all(admin: &Admin, actor: &Actor) -> Verb<Vec<String>> {
    let mut rows = store::keys(&admin.db).await?;
    rows.retain(|row| row.state != "retired");
    // The one that signs last, so that none of the others takes its place.
    rows.sort_by_key(|row| row.state == "current");
    let mut gone = Vec::new();
    for row in rows {
        gone.push(remove(admin, actor, &row.kid).await?.kid);
    }
    Ok(gone)
}

/// A token that shows whether a key is accepted: it counts for nothing but together with a canary that stands for the key, which only this process can admit.
///
/// # Errors
/// `NotFound`; `Bug` when its private half is gone.
pub(in crate::admin) async fn witness(admin: &Admin, kid: &str) -> Verb<Secret<String>> {
    let rows = store::keys(&admin.db).await?;
    let key = opened(&admin.sealer, found(&rows, kid)?)?;
    let now = admin.clock.now();
    let issued_at = now.0.div_euclid(1_000);
    let claims = json!({
        "iss": "lifeboat",
        "sub": CANARY,
        "client_id": CANARY,
        "aud": "lifeboat",
        "iat": issued_at,
        "issued_ms": now.0,
        "exp": issued_at + LIFE_MS / 1_000,
        "jti": mint_id("tok", now, admin.entropy.as_ref()),
        "scope": FIRST,
        "credential": format!("lbc_{}", keys::token(admin.entropy.as_ref()).reveal()),
    });
    key.sign((TYPE, kid), &claims).map(Secret::new)
}

/// One key as it stands; none when it is not here.
///
/// # Errors
/// `Unavailable` when the database does not answer.
pub(in crate::admin) async fn find(admin: &Admin, kid: &str) -> Verb<Option<TokenKey>> {
    let rows = store::keys(&admin.db).await?;
    Ok(rows.into_iter().find(|row| row.kid == kid).map(|row| told(&admin.feed, row)))
}
