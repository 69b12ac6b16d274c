//! SQL of tokens: the keys that sign them, what was ended, what was cut, when credentials were used. Private keys go in and out sealed.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::crypto::jwk::Jwk;
use crate::db::{Db, fault};
use crate::policy::ended::EndedToken;

const READ_KEYS: &str = "SELECT kid, state, public_jwk, sealed, created_at, activated_at, replaced_at, retired_at, last_expiry
    FROM token_keys ORDER BY created_at DESC, kid";
const ADD_KEY: &str =
    "INSERT INTO token_keys (kid, state, public_jwk, sealed, created_at, activated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const REPLACE_CURRENT: &str = "UPDATE token_keys SET state = 'previous', replaced_at = ?2, last_expiry = ?3
    WHERE state = 'current' AND kid <> ?1";
const ACTIVATE: &str = "UPDATE token_keys SET state = 'current', activated_at = ?2 WHERE kid = ?1 AND state = 'next'";
const SET_EXPIRY: &str =
    "UPDATE token_keys SET last_expiry = max(coalesce(last_expiry, 0), ?2) WHERE kid = ?1 AND state <> 'retired'";
const LOWER_EXPIRY: &str = "UPDATE token_keys SET last_expiry = ?2 WHERE kid = ?1 AND state = 'previous'";
const RETIRE: &str =
    "UPDATE token_keys SET state = 'retired', sealed = NULL, retired_at = ?2 WHERE kid = ?1 AND state <> 'retired'";
const GO_BACK: &str = "UPDATE token_keys SET state = 'current', replaced_at = NULL WHERE kid = ?1 AND state = 'previous'";
const READ_ENDED: &str = "SELECT jti, client, expires_at FROM ended_tokens WHERE expires_at > ?1 ORDER BY jti";
const END: &str = "INSERT INTO ended_tokens (jti, client, expires_at) VALUES (?1, ?2, ?3) ON CONFLICT (jti) DO NOTHING";
const FORGET_ENDED: &str = "DELETE FROM ended_tokens WHERE expires_at <= ?1";
const READ_CUTS: &str = "SELECT client, before FROM token_cuts ORDER BY client";
const CUT: &str = "INSERT INTO token_cuts (client, before, cut_by) VALUES (?1, ?2, ?3)
    ON CONFLICT (client) DO UPDATE SET before = max(before, excluded.before), cut_by = excluded.cut_by";
const READ_USES: &str = "SELECT kid, last_at FROM credential_uses";
const USE: &str = "INSERT INTO credential_uses (kid, last_at) VALUES (?1, ?2)
    ON CONFLICT (kid) DO UPDATE SET last_at = max(last_at, excluded.last_at)";
const RAISE_EPOCH: &str = "UPDATE credential_epoch SET epoch = epoch + 1 WHERE id = 1";

/// Every statement, for the test that keeps SQL and migrations together.
pub const STATEMENTS: [(&str, &str); 16] = [
    ("tokens.read_keys", READ_KEYS),
    ("tokens.add_key", ADD_KEY),
    ("tokens.replace_current", REPLACE_CURRENT),
    ("tokens.activate", ACTIVATE),
    ("tokens.set_expiry", SET_EXPIRY),
    ("tokens.lower_expiry", LOWER_EXPIRY),
    ("tokens.retire", RETIRE),
    ("tokens.go_back", GO_BACK),
    ("tokens.read_ended", READ_ENDED),
    ("tokens.end", END),
    ("tokens.forget_ended", FORGET_ENDED),
    ("tokens.read_cuts", READ_CUTS),
    ("tokens.cut", CUT),
    ("tokens.read_uses", READ_USES),
    ("tokens.use", USE),
    ("tokens.raise_epoch", RAISE_EPOCH),
];

/// Whom a cut without a client is for.
pub(in crate::admin) const EVERYBODY: &str = "*";

/// A key that signs, signed or will sign.
#[derive(Clone, Debug)]
pub(super) struct KeyRow {
    pub kid: String,
    pub state: String,
    pub public: Jwk,
    pub sealed: Option<Vec<u8>>,
    pub created_at: Timestamp,
    pub activated_at: Option<Timestamp>,
    pub replaced_at: Option<Timestamp>,
    pub retired_at: Option<Timestamp>,
    pub last_expiry: Option<Timestamp>,
}

/// Every key there ever was, newest first.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn keys(db: &Db) -> Verb<Vec<KeyRow>> {
    let what = "the token-signing keys cannot be read";
    let rows = sqlx::query(READ_KEYS).fetch_all(db.reader()).await.map_err(|e| fault(e, what))?;
    let one = |row: &SqliteRow| {
        let read = |e| fault(e, what);
        let moment = |name: &str| row.try_get::<Option<i64>, _>(name).map(|at| at.map(Timestamp)).map_err(read);
        let public: &str = row.try_get("public_jwk").map_err(read)?;
        Ok(KeyRow {
            kid: row.try_get("kid").map_err(read)?,
            state: row.try_get("state").map_err(read)?,
            public: serde_json::from_str(public).map_err(|e| Fault::bug("a token-signing key is no JWK").because(e))?,
            sealed: row.try_get("sealed").map_err(read)?,
            created_at: row.try_get("created_at").map(Timestamp).map_err(read)?,
            activated_at: moment("activated_at")?,
            replaced_at: moment("replaced_at")?,
            retired_at: moment("retired_at")?,
            last_expiry: moment("last_expiry")?,
        })
    };
    rows.iter().map(one).collect()
}

/// Stores a key as `next`, raising the epoch, or as `current`.
///
/// # Errors
/// `Conflict` when there is one of that state already.
pub(super) async fn add_key(db: &Db, row: &KeyRow) -> Verb<()> {
    let what = "the token-signing key cannot be stored";
    let public = serde_json::to_string(&row.public).map_err(|e| Fault::bug(what).because(e))?;
    let mut tx = db.begin().await?;
    let add = sqlx::query(ADD_KEY).bind(&row.kid).bind(&row.state).bind(public).bind(row.sealed.as_deref());
    let add = add.bind(row.created_at.0).bind(row.activated_at.map(|at| at.0));
    add.execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    // The first key of all, and one in place of a removed one, change no policy by themselves.
    if row.state == "next" {
        sqlx::query(RAISE_EPOCH).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    }
    tx.commit().await.map_err(|e| fault(e, what))
}

/// Makes the next key the current one, and the current one the previous one; gives whether it did.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn activate(db: &Db, kid: &str, now: Timestamp, last_expiry: Timestamp) -> Verb<bool> {
    let what = "the token-signing key cannot be activated";
    let mut tx = db.begin().await?;
    let replace = sqlx::query(REPLACE_CURRENT).bind(kid).bind(now.0).bind(last_expiry.0);
    replace.execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    let done = sqlx::query(ACTIVATE).bind(kid).bind(now.0).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    sqlx::query(RAISE_EPOCH).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    if done.rows_affected() != 1 {
        return Ok(false);
    }
    tx.commit().await.map_err(|e| fault(e, what))?;
    Ok(true)
}

/// Notes until when tokens of a key may last; never earlier than what is noted.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn set_expiry(db: &Db, kid: &str, at: Timestamp) -> Verb<()> {
    let done = sqlx::query(SET_EXPIRY).bind(kid).bind(at.0).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, "the last expiry cannot be stored"))
}

/// Notes the exact last expiry of a key that signs no more.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn lower_expiry(db: &Db, kid: &str, at: Timestamp) -> Verb<()> {
    let done = sqlx::query(LOWER_EXPIRY).bind(kid).bind(at.0).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, "the last expiry cannot be stored"))
}

/// Retires keys: their private halves are gone. Gives how many were not retired before.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn retire(db: &Db, kids: &[String], now: Timestamp) -> Verb<u64> {
    let what = "the token-signing key cannot be retired";
    let mut tx = db.begin().await?;
    let mut count = 0;
    for kid in kids {
        let done = sqlx::query(RETIRE).bind(kid).bind(now.0).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
        count += done.rows_affected();
    }
    sqlx::query(RAISE_EPOCH).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    tx.commit().await.map_err(|e| fault(e, what))?;
    Ok(count)
}

/// Retires the current key and makes the one before the current one again, both or neither; gives whether it did.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn go_back(db: &Db, (from, to): (&str, &str), now: Timestamp) -> Verb<bool> {
    let what = "the token-signing key cannot be taken back";
    let mut tx = db.begin().await?;
    sqlx::query(RETIRE).bind(from).bind(now.0).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    let done = sqlx::query(GO_BACK).bind(to).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    sqlx::query(RAISE_EPOCH).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    if done.rows_affected() != 1 {
        return Ok(false);
    }
    tx.commit().await.map_err(|e| fault(e, what))?;
    Ok(true)
}

/// Tokens that were ended and would count still.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn ended(db: &Db, now: Timestamp) -> Verb<Vec<EndedToken>> {
    let what = "the ended tokens cannot be read";
    let rows = sqlx::query(READ_ENDED).bind(now.0).fetch_all(db.reader()).await.map_err(|e| fault(e, what))?;
    let one = |row: &SqliteRow| {
        let (jti, client) = (row.try_get("jti")?, row.try_get("client")?);
        Ok(EndedToken { jti, client, expires_at: Timestamp(row.try_get("expires_at")?) })
    };
    rows.iter().map(one).collect::<Result<_, sqlx::Error>>().map_err(|e| fault(e, what))
}

/// Stores ended tokens, and forgets those that have expired.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn end(db: &Db, tokens: &[EndedToken], now: Timestamp) -> Verb<()> {
    let what = "the ended tokens cannot be stored";
    let mut tx = db.begin().await?;
    for token in tokens {
        let add = sqlx::query(END).bind(&token.jti).bind(&token.client).bind(token.expires_at.0);
        add.execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    }
    sqlx::query(FORGET_ENDED).bind(now.0).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    tx.commit().await.map_err(|e| fault(e, what))
}

/// Every cut: client, moment.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn cuts(db: &Db) -> Verb<Vec<(String, Timestamp)>> {
    pairs(db, READ_CUTS, ("client", "before"), "the cuts cannot be read").await
}

/// Stores a cut and raises the epoch.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn cut(db: &Db, client: &str, before: Timestamp, by: &str) -> Verb<()> {
    let what = "the cut cannot be stored";
    let mut tx = db.begin().await?;
    sqlx::query(CUT).bind(client).bind(before.0).bind(by).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    sqlx::query(RAISE_EPOCH).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    tx.commit().await.map_err(|e| fault(e, what))
}

/// When each credential was last used.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn uses(db: &Db) -> Verb<Vec<(String, Timestamp)>> {
    pairs(db, READ_USES, ("kid", "last_at"), "the uses of credentials cannot be read").await
}

/// Stores uses.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn set_uses(db: &Db, uses: &[(std::sync::Arc<str>, Timestamp)]) -> Verb<()> {
    let what = "the uses of credentials cannot be stored";
    let mut tx = db.begin().await?;
    for (kid, at) in uses {
        sqlx::query(USE).bind(kid.as_ref()).bind(at.0).execute(&mut *tx).await.map_err(|e| fault(e, what))?;
    }
    tx.commit().await.map_err(|e| fault(e, what))
}

async fn pairs(db: &Db, sql: &'static str, (name, moment): (&str, &str), what: &str) -> Verb<Vec<(String, Timestamp)>> {
    let rows = sqlx::query(sql).fetch_all(db.reader()).await.map_err(|e| fault(e, what))?;
    let one = |row: &SqliteRow| Ok((row.try_get(name)?, Timestamp(row.try_get(moment)?)));
    rows.iter().map(one).collect::<Result<_, sqlx::Error>>().map_err(|e| fault(e, what))
}
