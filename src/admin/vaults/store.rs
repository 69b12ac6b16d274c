//! The SQL of recipients, of the identities that open the newest archives, and of later checks. What an archive is stands in its signed note,
//! not here.

use std::collections::{BTreeMap, HashMap};

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::deny::DenyList;
use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::crypto::keys;
use crate::db::{Db, fault};

const READ_RECIPIENTS: &str =
    "SELECT name, key, added_at, added_by, proved_at FROM recipients WHERE removed_at IS NULL ORDER BY added_at, name";
const ADD_RECIPIENT: &str = "INSERT INTO recipients (name, key, added_at, added_by) VALUES (?1, ?2, ?3, ?4)";
const HAD_RECIPIENTS: &str = "SELECT count(*) FROM recipients";
const REMOVE_RECIPIENT: &str = "UPDATE recipients SET removed_at = ?2, name = name || '@' || ?2, key = key || '@' || ?2
    WHERE name = ?1 AND removed_at IS NULL";
const SET_CHALLENGE: &str = "UPDATE recipients SET challenge = ?2 WHERE name = ?1 AND removed_at IS NULL";
const READ_CHALLENGE: &str = "SELECT challenge FROM recipients WHERE name = ?1 AND removed_at IS NULL";
const SET_PROVED: &str = "UPDATE recipients SET challenge = NULL, proved_at = ?2 WHERE name = ?1 AND removed_at IS NULL";
const ADD_KEY: &str = "INSERT INTO archive_keys (archive, vault, sealed, created_at) VALUES (?1, ?2, ?3, ?4)";
const DROP_KEY: &str = "DELETE FROM archive_keys WHERE archive = ?1";
const MOVE_HOLD: &str = "UPDATE archive_holds SET archive = ?2 WHERE archive = ?1";
const AGE_KEYS: &str = "DELETE FROM archive_keys WHERE vault = ?1 AND archive NOT IN
    (SELECT archive FROM archive_keys WHERE vault = ?1 ORDER BY created_at DESC, archive DESC LIMIT 2)";
const READ_KEYS: &str = "SELECT archive, sealed FROM archive_keys";
const SET_CHECK: &str = "INSERT INTO archive_checks (archive, checked_at, fault) VALUES (?1, ?2, ?3)
    ON CONFLICT (archive) DO UPDATE SET checked_at = excluded.checked_at, fault = excluded.fault";
const READ_CHECKS: &str = "SELECT archive, checked_at, fault FROM archive_checks";
const SET_HOLD: &str = "INSERT INTO archive_holds (archive, reason, held_at, held_by) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (archive) DO UPDATE SET reason = excluded.reason, held_at = excluded.held_at, held_by = excluded.held_by";
const END_HOLD: &str = "DELETE FROM archive_holds WHERE archive = ?1";
const READ_HOLDS: &str = "SELECT archive, reason FROM archive_holds";
const READ_REVOKED_KEYS: &str = "SELECT kid FROM client_keys WHERE revoked_at IS NOT NULL
    UNION SELECT kid FROM client_secrets WHERE revoked_at IS NOT NULL
    UNION SELECT id FROM denied_jwks UNION SELECT kid FROM token_keys WHERE state = 'retired'";
const READ_REVOKED_OPERATOR_KEYS: &str = "SELECT kid FROM operator_keys WHERE revoked_at IS NOT NULL";
const READ_DISABLED: &str = "SELECT name FROM operators WHERE disabled_at IS NOT NULL";
const DENY_KEY: &str = "UPDATE client_keys SET revoked_at = ?2, revoked_by = 'deny-list' WHERE kid = ?1 AND revoked_at IS NULL";
const DENY_SECRET: &str =
    "UPDATE client_secrets SET revoked_at = ?2, revoked_by = 'deny-list' WHERE kid = ?1 AND revoked_at IS NULL";
const DENY_JWK: &str = "INSERT INTO denied_jwks (id, client, denied_at, denied_by)
    SELECT ?1, '', ?2, 'deny-list' WHERE ?1 LIKE 'jwk-%' ON CONFLICT (id) DO NOTHING";
const DENY_TOKEN_KEY: &str =
    "UPDATE token_keys SET state = 'retired', sealed = NULL, retired_at = ?2 WHERE kid = ?1 AND state <> 'retired'";
const DENY_TOKEN: &str = "INSERT INTO ended_tokens (jti, client, expires_at) VALUES (?1, ?2, ?3) ON CONFLICT (jti) DO NOTHING";
const DENY_CUT: &str = "INSERT INTO token_cuts (client, before, cut_by) VALUES (?1, ?2, 'deny-list')
    ON CONFLICT (client) DO UPDATE SET before = max(before, excluded.before)";
const DENY_OPERATOR_KEY: &str = "UPDATE operator_keys SET revoked_at = ?2 WHERE kid = ?1 AND revoked_at IS NULL";
const DENY_OPERATOR: &str = "UPDATE operators SET disabled_at = ?2 WHERE name = ?1 AND disabled_at IS NULL";
const READ_SIGN_INS: &str =
    "SELECT name, password_phc, coalesce(sealed, x'') FROM operators LEFT JOIN operator_totp ON operator = name";
const READ_CODES: &str = "SELECT operator, hash FROM operator_recovery_codes WHERE used_at IS NULL ORDER BY operator, hash";
const DENY_CODE: &str = "UPDATE operator_recovery_codes SET used_at = ?3 WHERE operator = ?1 AND hash = ?2 AND used_at IS NULL";
const END_EVERY_SESSION: &str = "DELETE FROM sessions";
const LIFT_EPOCH: &str = "UPDATE credential_epoch SET epoch = max(epoch, ?1) + 1 WHERE id = 1";

/// Every statement, for the test that keeps SQL and migrations together.
pub const STATEMENTS: [(&str, &str); 33] = [
    ("vaults.read_recipients", READ_RECIPIENTS),
    ("vaults.add_recipient", ADD_RECIPIENT),
    ("vaults.had_recipients", HAD_RECIPIENTS),
    ("vaults.remove_recipient", REMOVE_RECIPIENT),
    ("vaults.set_challenge", SET_CHALLENGE),
    ("vaults.read_challenge", READ_CHALLENGE),
    ("vaults.set_proved", SET_PROVED),
    ("vaults.add_key", ADD_KEY),
    ("vaults.drop_key", DROP_KEY),
    ("vaults.move_hold", MOVE_HOLD),
    ("vaults.age_keys", AGE_KEYS),
    ("vaults.read_keys", READ_KEYS),
    ("vaults.set_check", SET_CHECK),
    ("vaults.read_checks", READ_CHECKS),
    ("vaults.set_hold", SET_HOLD),
    ("vaults.end_hold", END_HOLD),
    ("vaults.read_holds", READ_HOLDS),
    ("vaults.read_revoked_keys", READ_REVOKED_KEYS),
    ("vaults.read_revoked_operator_keys", READ_REVOKED_OPERATOR_KEYS),
    ("vaults.read_disabled", READ_DISABLED),
    ("vaults.deny_key", DENY_KEY),
    ("vaults.deny_secret", DENY_SECRET),
    ("vaults.deny_jwk", DENY_JWK),
    ("vaults.deny_token_key", DENY_TOKEN_KEY),
    ("vaults.deny_token", DENY_TOKEN),
    ("vaults.deny_cut", DENY_CUT),
    ("vaults.deny_operator_key", DENY_OPERATOR_KEY),
    ("vaults.deny_operator", DENY_OPERATOR),
    ("vaults.read_sign_ins", READ_SIGN_INS),
    ("vaults.read_codes", READ_CODES),
    ("vaults.deny_code", DENY_CODE),
    ("vaults.end_every_session", END_EVERY_SESSION),
    ("vaults.lift_epoch", LIFT_EPOCH),
];

const RECIPIENTS: &str = "the recipients cannot be read";
const UNSET: &str = "the recipient cannot be stored";

/// Somebody who can open archives.
pub(super) struct RecipientRow {
    /// What it is called.
    pub name: String,
    /// `age1…`.
    pub key: String,
    /// Since when.
    pub added_at: Timestamp,
    /// By whom it was added.
    pub added_by: String,
    /// When somebody last showed that the identity is at hand.
    pub proved_at: Option<Timestamp>,
}

/// Recipients that count.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn recipients(db: &Db) -> Verb<Vec<RecipientRow>> {
    let rows = sqlx::query(READ_RECIPIENTS).fetch_all(db.reader()).await.map_err(|e| fault(e, RECIPIENTS))?;
    let one = |row: &SqliteRow| {
        Ok(RecipientRow {
            name: row.try_get("name")?,
            key: row.try_get("key")?,
            added_at: Timestamp(row.try_get("added_at")?),
            added_by: row.try_get("added_by")?,
            proved_at: row.try_get::<Option<i64>, _>("proved_at")?.map(Timestamp),
        })
    };
    rows.iter().map(one).collect::<Result<_, sqlx::Error>>().map_err(|e| fault(e, RECIPIENTS))
}

/// Whether there ever was a recipient.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn had_recipients(db: &Db) -> Verb<bool> {
    let count: i64 = sqlx::query_scalar(HAD_RECIPIENTS).fetch_one(db.reader()).await.map_err(|e| fault(e, RECIPIENTS))?;
    Ok(count > 0)
}

/// Stores a recipient.
///
/// # Errors
/// `Conflict` when name or key are taken.
pub(super) async fn add_recipient(db: &Db, name: &str, key: &str, now: Timestamp, by: &str) -> Verb<()> {
    let row = sqlx::query(ADD_RECIPIENT).bind(name).bind(key).bind(now.0).bind(by);
    row.execute(db.writer()).await.map(|_| ()).map_err(|e| fault(e, UNSET))
}

/// Takes a recipient out; whether there was one.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn remove_recipient(db: &Db, name: &str, now: Timestamp) -> Verb<bool> {
    let done = sqlx::query(REMOVE_RECIPIENT).bind(name).bind(now.0).execute(db.writer()).await;
    done.map(|done| done.rows_affected() > 0).map_err(|e| fault(e, UNSET))
}

/// Remembers the word that was encrypted to a recipient, as its hash.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn set_challenge(db: &Db, name: &str, hash: &[u8; 32]) -> Verb<()> {
    let done = sqlx::query(SET_CHALLENGE).bind(name).bind(hash.as_slice()).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, UNSET))
}

/// That hash, while an answer is awaited.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn challenge(db: &Db, name: &str) -> Verb<Option<Vec<u8>>> {
    let found: Result<Option<Option<Vec<u8>>>, _> = sqlx::query_scalar(READ_CHALLENGE).bind(name).fetch_optional(db.reader()).await;
    found.map(Option::flatten).map_err(|e| fault(e, RECIPIENTS))
}

/// Remembers that possession was shown.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn set_proved(db: &Db, name: &str, now: Timestamp) -> Verb<()> {
    let done = sqlx::query(SET_PROVED).bind(name).bind(now.0).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, UNSET))
}

/// Keeps the identity of a new archive, in place of the one it takes over from, and destroys those of the vault that are older than the two newest.
///
/// # Errors
/// When the database does not answer; nothing of it has then happened.
pub(super) async fn keep_key(
    db: &Db,
    (archive, instead): (&str, Option<&str>),
    vault: &str,
    sealed: &[u8],
    now: Timestamp,
) -> Verb<()> {
    let what = "the archive's identity cannot be kept";
    let mut tx = db.begin().await?;
    if let Some(old) = instead {
        sqlx::query(DROP_KEY).bind(old).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
        sqlx::query(MOVE_HOLD).bind(old).bind(archive).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    }
    let row = sqlx::query(ADD_KEY).bind(archive).bind(vault).bind(sealed).bind(now.0);
    row.execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    sqlx::query(AGE_KEYS).bind(vault).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    tx.commit().await.map_err(|e| fault(e, what))
}

/// Sealed identities by archive.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn keys(db: &Db) -> Verb<HashMap<String, Vec<u8>>> {
    let what = "the archives' identities cannot be read";
    let rows = sqlx::query(READ_KEYS).fetch_all(db.reader()).await.map_err(|e| fault(e, what))?;
    let pair = |row: &SqliteRow| Ok((row.try_get("archive")?, row.try_get("sealed")?));
    rows.iter().map(pair).collect::<Result<_, sqlx::Error>>().map_err(|e| fault(e, what))
}

/// Remembers what a check of an archive found.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn set_check(db: &Db, archive: &str, now: Timestamp, found: Option<&str>) -> Verb<()> {
    let done = sqlx::query(SET_CHECK).bind(archive).bind(now.0).bind(found).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, "the check cannot be stored"))
}

/// What the last check of each archive found, for those that were checked after they were made.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn checks(db: &Db) -> Verb<HashMap<String, (Timestamp, Option<String>)>> {
    let what = "the checks cannot be read";
    let rows = sqlx::query(READ_CHECKS).fetch_all(db.reader()).await.map_err(|e| fault(e, what))?;
    let one = |row: &SqliteRow| Ok((row.try_get("archive")?, (Timestamp(row.try_get("checked_at")?), row.try_get("fault")?)));
    rows.iter().map(one).collect::<Result<_, sqlx::Error>>().map_err(|e| fault(e, what))
}

/// Credentials that were ended.
#[derive(Debug, Default)]
pub(super) struct Revoked {
    /// Client keys, by kid.
    pub client_keys: Vec<String>,
    /// Operator keys, by kid.
    pub operator_keys: Vec<String>,
    /// Disabled operators.
    pub operators: Vec<String>,
    /// SHA-256, in hex, of what each operator signs in with, as it is stored.
    pub sign_ins: BTreeMap<String, String>,
    /// The recovery codes that each operator has left, as `left` writes them.
    pub codes: Option<BTreeMap<String, Vec<String>>>,
}

/// Every credential that was ended.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn revoked(db: &Db) -> Verb<Revoked> {
    let read = async |sql: &'static str| sqlx::query_scalar::<_, String>(sql).fetch_all(db.reader()).await;
    let all = async || -> Result<Revoked, sqlx::Error> {
        Ok(Revoked {
            client_keys: read(READ_REVOKED_KEYS).await?,
            operator_keys: read(READ_REVOKED_OPERATOR_KEYS).await?,
            operators: read(READ_DISABLED).await?,
            sign_ins: digests(sqlx::query_as(READ_SIGN_INS).fetch_all(db.reader()).await?),
            codes: Some(left(&sqlx::query_as(READ_CODES).fetch_all(db.reader()).await?)),
        })
    };
    all().await.map_err(|e| fault(e, "what was revoked cannot be read"))
}

type SignIn = (String, String, Vec<u8>);

fn digests(rows: Vec<SignIn>) -> BTreeMap<String, String> {
    let digest = |phc: &str, sealed: &[u8]| {
        let hashed = keys::sha256(&[phc.as_bytes(), b"\n", sealed].concat());
        hashed.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    rows.into_iter().map(|(name, phc, sealed)| (name, digest(&phc, &sealed))).collect()
}

/// Recovery codes by operator; each as the beginning of a digest of its hash, which tells it from the others and says nothing of it.
fn left(rows: &[(String, Vec<u8>)]) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (operator, hash) in rows {
        all.entry(operator.clone()).or_default().push(told(hash));
    }
    all
}

fn told(hash: &[u8]) -> String {
    keys::sha256(hash).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Recovery codes of an archive that were used, or replaced by others, after it.
async fn deny_codes(
    tx: &mut sqlx::Transaction<'static, sqlx::Sqlite>,
    list: &DenyList,
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    // A list of an earlier version says nothing of codes.
    let Some(codes) = &list.recovery_codes else { return Ok(0) };
    let held: Vec<(String, Vec<u8>)> = sqlx::query_as(READ_CODES).fetch_all(&mut **tx).await?;
    let mut ended = 0;
    for (operator, hash) in held {
        if !codes.get(&operator).is_some_and(|left| left.contains(&told(&hash))) {
            let end = sqlx::query(DENY_CODE).bind(&operator).bind(&hash).bind(now.0);
            ended += end.execute(&mut **tx).await?.rows_affected();
        }
    }
    Ok(ended)
}

/// Ends what a deny-list names in a database that was brought back, every session, and the access of operators who signed in with something else
/// later; lifts the credential epoch above both. Gives how many it ended.
///
/// # Errors
/// When the database does not answer; nothing of it has then happened.
pub(super) async fn deny(db: &Db, list: &DenyList, now: Timestamp) -> Verb<u64> {
    let what = "the deny-list cannot be applied";
    let mut tx = db.begin().await?;
    let mut ended = 0;
    let kinds = [
        (DENY_KEY, &list.client_keys),
        (DENY_SECRET, &list.client_keys),
        (DENY_JWK, &list.client_keys),
        (DENY_TOKEN_KEY, &list.client_keys),
        (DENY_OPERATOR_KEY, &list.operator_keys),
        (DENY_OPERATOR, &list.operators),
    ];
    for (sql, names) in kinds {
        for name in names {
            let done = sqlx::query(sql).bind(name).bind(now.0).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
            ended += done.rows_affected();
        }
    }
    let held: Vec<SignIn> = sqlx::query_as(READ_SIGN_INS).fetch_all(&mut *tx).await.map_err(|e| fault(e, what))?;
    for (name, digest) in digests(held) {
        // What was changed after the archive may have been changed because somebody else knew it.
        if list.sign_ins.get(&name).is_some_and(|newest| *newest != digest) {
            let done = sqlx::query(DENY_OPERATOR).bind(&name).bind(now.0).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
            ended += done.rows_affected();
        }
    }
    ended += deny_codes(&mut tx, list, now).await.map_err(|e| fault(e, what))?;
    sqlx::query(END_EVERY_SESSION).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    for token in &list.tokens {
        let end = sqlx::query(DENY_TOKEN).bind(&token.jti).bind(&token.client).bind(token.expires_at.0);
        ended += end.execute(&mut *tx).await.map_err(|e| fault(e, what))?.rows_affected();
    }
    for (client, before) in &list.cuts {
        sqlx::query(DENY_CUT).bind(client).bind(before.0).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    }
    let epoch = i64::try_from(list.credential_epoch).unwrap_or(0);
    sqlx::query(LIFT_EPOCH).bind(epoch).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    tx.commit().await.map_err(|e| fault(e, what))?;
    Ok(ended)
}

/// What was held of an archive is held of the one that takes its place.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn take_over(db: &Db, old: &str, new: &str) -> Verb<()> {
    let done = sqlx::query(MOVE_HOLD).bind(old).bind(new).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, "the hold cannot be stored"))
}

/// Holds an archive; without a reason the hold ends.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn set_hold(db: &Db, archive: &str, reason: Option<&str>, now: Timestamp, by: &str) -> Verb<()> {
    let done = match reason {
        Some(reason) => sqlx::query(SET_HOLD).bind(archive).bind(reason).bind(now.0).bind(by).execute(db.writer()).await,
        None => sqlx::query(END_HOLD).bind(archive).execute(db.writer()).await,
    };
    done.map(|_| ()).map_err(|e| fault(e, "the hold cannot be stored"))
}

/// Why archives are held, by archive.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn holds(db: &Db) -> Verb<HashMap<String, String>> {
    let what = "the holds cannot be read";
    let rows = sqlx::query(READ_HOLDS).fetch_all(db.reader()).await.map_err(|e| fault(e, what))?;
    let pair = |row: &SqliteRow| Ok((row.try_get("archive")?, row.try_get("reason")?));
    rows.iter().map(pair).collect::<Result<_, sqlx::Error>>().map_err(|e| fault(e, what))
}
