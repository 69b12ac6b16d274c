//! Who can open archives. The identity itself never comes here: its owner shows possession by decrypting a word.

use age::x25519::Recipient;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::model::{AddRecipient, Proof, ProveRecipient, RecipientList, RecipientView};
use super::store::{self, RecipientRow};
use crate::admin::actor::Right;
use crate::admin::{Actor, Admin, Via, credentials};
use crate::audit::{Event, PublicKey};
use crate::base::fault::{Fault, Verb};
use crate::base::ids::check_name;
use crate::crypto::{files, keys as tokens, recovery};

/// What the identity of the first run is called.
const FIRST: &str = "recovery";
const KEY: &str = "ed25519/";
/// A proof counts for a quarter and a few days.
const PROOF_DAYS: i64 = 100;
const DAY_MS: i64 = 86_400_000;

/// A signing key as people pass it on: `ed25519/BASE64`.
pub fn key_text(key: &PublicKey) -> String {
    format!("{KEY}{}", BASE64.encode(key.bytes()))
}

/// Reads what `key_text` wrote.
///
/// # Errors
/// `Invalid` when it is no such key.
pub fn read_key(text: &str) -> Verb<PublicKey> {
    let bytes = text.trim().strip_prefix(KEY).and_then(|rest| BASE64.decode(rest).ok()).filter(|bytes| bytes.len() == 32);
    let bytes = bytes.ok_or_else(|| Fault::invalid("trust", "a key is ed25519/ and 44 characters of base64"))?;
    Ok(PublicKey::from_bytes(&bytes))
}

/// The recipients that count; the one of the first run is taken in when there never was one.
async fn rows(admin: &Admin) -> Verb<Vec<RecipientRow>> {
    if !store::had_recipients(&admin.db).await?
        && let Some(bytes) = files::read(&admin.data.recovery_pub())?
    {
        let key = String::from_utf8_lossy(&bytes).trim().to_owned();
        recovery::check_recipient(&key)?;
        store::add_recipient(&admin.db, FIRST, &key, admin.clock.now(), "lifeboat up").await?;
    }
    store::recipients(&admin.db).await
}

/// Recipients for a new archive.
///
/// # Errors
/// `Conflict` when there is none: an archive that nobody could open is no archive.
pub(super) async fn keys(admin: &Admin) -> Verb<Vec<String>> {
    let keys: Vec<String> = rows(admin).await?.into_iter().map(|row| row.key).collect();
    if keys.is_empty() {
        return Err(Fault::conflict("there is no recipient that could open an archive; add one with lifeboat recipient add"));
    }
    Ok(keys)
}

/// Every recipient, and what an operator should know of them.
///
/// # Errors
/// When the database does not answer.
pub async fn list(admin: &Admin, actor: &Actor) -> Verb<RecipientList> {
    actor.need(Right::Read, "recipient.list")?;
    let rows = rows(admin).await?;
    let mut warnings = Vec::new();
    if rows.len() == 1 {
        warnings.push("there is one recipient only: when its identity is lost, so is every archive".to_owned());
    }
    let now = admin.clock.now();
    for row in &rows {
        match row.proved_at {
            None => warnings.push(format!("nobody has shown yet that the identity of {} is at hand", row.name)),
            Some(at) if now.since_ms(at) > PROOF_DAYS * DAY_MS => {
                warnings.push(format!("the identity of {} was last shown {} days ago", row.name, now.since_ms(at) / DAY_MS));
            }
            Some(_) => {}
        }
    }
    if admin.data.recovery_key().exists() {
        warnings
            .push("the recovery identity lies in keys/recovery.key, beside the archives that it opens: store it off this machine and remove it".to_owned());
    }
    let view = |row: RecipientRow| RecipientView {
        name: row.name,
        recipient: row.key,
        added_at: row.added_at,
        added_by: row.added_by,
        proved_at: row.proved_at,
    };
    let instance_key = key_text(admin.vaults.signer.public());
    Ok(RecipientList { recipients: rows.into_iter().map(view).collect(), instance_key, warnings })
}

/// Adds a recipient: it opens the archives that are made from now on.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `Invalid` when it is no recipient; `Conflict` when name or key are there already.
pub async fn add(admin: &Admin, actor: &Actor, order: AddRecipient) -> Verb<RecipientList> {
    actor.need(Right::Administer, "recipient.add")?;
    actor.need_person("recipient.add", admin.clock.now())?;
    check_name(&order.name).map_err(|why| Fault::invalid("name", why))?;
    let key = order.recipient.trim().to_owned();
    recovery::check_recipient(&key)?;
    let there = rows(admin).await?;
    if there.iter().any(|row| row.name == order.name || row.key == key) {
        return Err(Fault::conflict(format!("{} or its key is a recipient already", order.name)));
    }
    store::add_recipient(&admin.db, &order.name, &key, admin.clock.now(), &actor.name).await?;
    record(admin, actor, "recipient.add", &order.name, &key).await?;
    list(admin, actor).await
}

/// Takes a recipient out: it opens no archive that is made from now on. Those that are there it still opens.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `NotFound` for an unknown one; `Conflict` for the last.
pub async fn remove(admin: &Admin, actor: &Actor, name: &str) -> Verb<RecipientList> {
    actor.need(Right::Administer, "recipient.remove")?;
    actor.need_person("recipient.remove", admin.clock.now())?;
    let there = rows(admin).await?;
    let row = there.iter().find(|row| row.name == name).ok_or_else(|| Fault::not_found(format!("there is no recipient {name}")))?;
    // A rotation takes out what it brought in itself; without it that one could neither go on nor back.
    if actor.via != Via::System
        && let Some(credential) = credentials::made_for(admin, &row.key).await?
    {
        return Err(Fault::conflict(format!(
            "{name} is what {credential} is being rotated to: lifeboat credential order {credential} rollback takes it out"
        )));
    }
    if there.len() == 1 {
        return Err(Fault::conflict("the last recipient stays: without one no archive can be made"));
    }
    store::remove_recipient(&admin.db, name, admin.clock.now()).await?;
    record(admin, actor, "recipient.remove", name, &row.key).await?;
    list(admin, actor).await
}

/// Shows that a recipient's identity is at hand: a word is encrypted to it, and whoever has the identity sends the word back.
///
/// # Errors
/// `NotFound` for an unknown recipient; `Denied` for a wrong answer.
pub async fn prove(admin: &Admin, actor: &Actor, name: &str, order: ProveRecipient) -> Verb<Proof> {
    actor.need(Right::Operate, "recipient.prove")?;
    let there = rows(admin).await?;
    let row = there.iter().find(|row| row.name == name).ok_or_else(|| Fault::not_found(format!("there is no recipient {name}")))?;
    let Some(answer) = order.answer else {
        let word = tokens::token(admin.entropy.as_ref());
        let to: Recipient = row.key.parse().map_err(|_| Fault::bug("a stored recipient is none"))?;
        let sealed =
            age::encrypt(&to, word.reveal().as_bytes()).map_err(|e| Fault::bug("a word cannot be encrypted").because(e))?;
        store::set_challenge(&admin.db, name, &tokens::hash_text(word.reveal())).await?;
        let challenge = Some(BASE64.encode(sealed));
        return Ok(Proof { name: name.to_owned(), proved: false, challenge, proved_at: row.proved_at });
    };
    let wanted = store::challenge(&admin.db, name).await?.and_then(|hash| <[u8; 32]>::try_from(hash).ok());
    if !wanted.is_some_and(|wanted| tokens::same(&wanted, &tokens::hash_text(answer.trim()))) {
        return Err(Fault::denied(format!("this is not the word that was encrypted to {name}; ask for a new one")));
    }
    let now = admin.clock.now();
    store::set_proved(&admin.db, name, now).await?;
    record(admin, actor, "recipient.prove", name, &row.key).await?;
    Ok(Proof { name: name.to_owned(), proved: true, challenge: None, proved_at: Some(now) })
}

async fn record(admin: &Admin, actor: &Actor, action: &str, name: &str, key: &str) -> Verb<()> {
    let mut event = Event::action(&actor.name, action, name);
    event.params = Some(serde_json::json!({ "recipient": key }));
    admin.record(event).await
}
