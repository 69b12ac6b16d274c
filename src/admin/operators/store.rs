//! The SQL of operators, sessions, operator keys and the setup code. Holds hashes only.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::memory::{Account, HeldKey, Session, State};
use super::second::store as second;
use crate::admin::actor::OperatorRole;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::db::{Db, fault};

const READ_OPERATORS: &str = "SELECT name, role, password_phc, disabled_at, created_at FROM operators";
const READ_SESSIONS: &str = "SELECT id_hash, operator, created_at, last_seen, login_at, remote, user_agent FROM sessions";
const READ_KEYS: &str = "SELECT kid, operator, role, hash, created_at, expires_at, revoked_at, last_used FROM operator_keys";
const COUNT_OPERATORS: &str = "SELECT count(*) FROM operators";
const COUNT_ADMINS: &str = "SELECT count(*) FROM operators WHERE role = 'admin' AND disabled_at IS NULL";
const READ_CODE: &str = "SELECT code_hash FROM setup WHERE id = 1 AND used_at IS NULL";
const ADD_CODE: &str = "INSERT INTO setup (id, code_hash) VALUES (1, ?1) ON CONFLICT (id) DO NOTHING";
const USE_CODE: &str = "UPDATE setup SET used_at = ?1 WHERE id = 1 AND used_at IS NULL";
const ADD_OPERATOR: &str = "INSERT INTO operators (name, role, password_phc, created_at) VALUES (?1, ?2, ?3, ?4)";
const SET_ROLE: &str = "UPDATE operators SET role = ?2 WHERE name = ?1";
const DISABLE: &str = "UPDATE operators SET disabled_at = ?2 WHERE name = ?1 AND disabled_at IS NULL";
const SET_PASSWORD: &str = "UPDATE operators SET password_phc = ?2 WHERE name = ?1 AND disabled_at IS NULL";
const RESET: &str = "UPDATE operators SET password_phc = ?2, disabled_at = NULL WHERE name = ?1";
const ADD_SESSION: &str = "INSERT INTO sessions (id_hash, operator, created_at, last_seen, login_at, remote, user_agent)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const SEE_SESSION: &str = "UPDATE sessions SET last_seen = ?2 WHERE id_hash = ?1";
const END_SESSION: &str = "DELETE FROM sessions WHERE id_hash = ?1";
const END_SESSIONS: &str = "DELETE FROM sessions WHERE operator = ?1";
const ADD_KEY: &str =
    "INSERT INTO operator_keys (kid, operator, role, hash, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const REVOKE_KEY: &str = "UPDATE operator_keys SET revoked_at = ?2 WHERE kid = ?1 AND revoked_at IS NULL";
const REVOKE_KEYS: &str = "UPDATE operator_keys SET revoked_at = ?2 WHERE operator = ?1 AND revoked_at IS NULL";
const USE_KEY: &str = "UPDATE operator_keys SET last_used = ?2 WHERE kid = ?1";

/// Every statement, for the test that keeps SQL and migrations together.
pub const STATEMENTS: [(&str, &str); 21] = [
    ("operators.read_operators", READ_OPERATORS),
    ("operators.read_sessions", READ_SESSIONS),
    ("operators.read_keys", READ_KEYS),
    ("operators.count_operators", COUNT_OPERATORS),
    ("operators.count_admins", COUNT_ADMINS),
    ("operators.read_code", READ_CODE),
    ("operators.add_code", ADD_CODE),
    ("operators.use_code", USE_CODE),
    ("operators.add_operator", ADD_OPERATOR),
    ("operators.set_role", SET_ROLE),
    ("operators.disable", DISABLE),
    ("operators.set_password", SET_PASSWORD),
    ("operators.reset", RESET),
    ("operators.add_session", ADD_SESSION),
    ("operators.see_session", SEE_SESSION),
    ("operators.end_session", END_SESSION),
    ("operators.end_sessions", END_SESSIONS),
    ("operators.add_key", ADD_KEY),
    ("operators.revoke_key", REVOKE_KEY),
    ("operators.revoke_keys", REVOKE_KEYS),
    ("operators.use_key", USE_KEY),
];

fn at(row: &SqliteRow, column: &str) -> Result<Timestamp, sqlx::Error> {
    row.try_get::<i64, _>(column).map(Timestamp)
}

fn maybe_at(row: &SqliteRow, column: &str) -> Result<Option<Timestamp>, sqlx::Error> {
    row.try_get::<Option<i64>, _>(column).map(|at| at.map(Timestamp))
}

fn hash(row: &SqliteRow, column: &str) -> Result<[u8; 32], sqlx::Error> {
    let bytes: Vec<u8> = row.try_get(column)?;
    <[u8; 32]>::try_from(bytes).map_err(|_| sqlx::Error::Decode("a hash is not 32 bytes".into()))
}

/// Reads everything, for the memory that answers requests.
///
/// # Errors
/// When the database does not answer or a row is not readable.
pub(super) async fn read(db: &Db) -> Verb<State> {
    let unread = |e| fault(e, "the operators cannot be read");
    let mut state = State::default();
    for row in sqlx::query(READ_OPERATORS).fetch_all(db.reader()).await.map_err(unread)? {
        let (name, account) = account(&row).map_err(unread)?;
        state.accounts.insert(name, account);
    }
    for row in sqlx::query(READ_SESSIONS).fetch_all(db.reader()).await.map_err(unread)? {
        let (id, session) = session(&row).map_err(unread)?;
        state.sessions.insert(id, session);
    }
    for row in sqlx::query(READ_KEYS).fetch_all(db.reader()).await.map_err(unread)? {
        let (kid, key) = key(&row).map_err(unread)?;
        state.keys.insert(kid, key);
    }
    second::read(db, &mut state).await?;
    Ok(state)
}

fn read_role(word: &str) -> Result<OperatorRole, sqlx::Error> {
    word.parse::<OperatorRole>().map_err(|f| sqlx::Error::Decode(f.message.into()))
}

fn account(row: &SqliteRow) -> Result<(String, Account), sqlx::Error> {
    let role: String = row.try_get("role")?;
    let account = Account {
        role: read_role(&role)?,
        password_phc: row.try_get("password_phc")?,
        disabled_at: maybe_at(row, "disabled_at")?,
        created_at: at(row, "created_at")?,
        second: None,
    };
    Ok((row.try_get("name")?, account))
}

fn session(row: &SqliteRow) -> Result<([u8; 32], Session), sqlx::Error> {
    let session = Session {
        operator: row.try_get("operator")?,
        created_at: at(row, "created_at")?,
        last_seen: at(row, "last_seen")?,
        login_at: at(row, "login_at")?,
        remote: row.try_get("remote")?,
        agent: row.try_get("user_agent")?,
        ..Session::default()
    };
    Ok((hash(row, "id_hash")?, session))
}

fn key(row: &SqliteRow) -> Result<(String, HeldKey), sqlx::Error> {
    let key = HeldKey {
        operator: row.try_get("operator")?,
        role: row.try_get::<Option<String>, _>("role")?.map(|word| read_role(&word)).transpose()?,
        hash: hash(row, "hash")?,
        created_at: at(row, "created_at")?,
        expires_at: maybe_at(row, "expires_at")?,
        revoked_at: maybe_at(row, "revoked_at")?,
        last_used: maybe_at(row, "last_used")?,
        ..HeldKey::default()
    };
    Ok((row.try_get("kid")?, key))
}

/// Stores the hash of a setup code, unless there is one or there are operators. `true` when it was stored.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn add_code(db: &Db, code_hash: [u8; 32]) -> Verb<bool> {
    let failed = |e| fault(e, "the setup code cannot be stored");
    let mut tx = db.begin().await?;
    let operators: i64 = sqlx::query_scalar(COUNT_OPERATORS).fetch_one(&mut *tx).await.map_err(failed)?;
    if operators > 0 {
        return Ok(false);
    }
    let done = sqlx::query(ADD_CODE).bind(&code_hash[..]).execute(&mut *tx).await.map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    Ok(done.rows_affected() == 1)
}

/// The hash of the setup code while it waits to be used.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn code(db: &Db) -> Verb<Option<[u8; 32]>> {
    let failed = |e| fault(e, "the setup code cannot be read");
    let row = sqlx::query(READ_CODE).fetch_optional(db.reader()).await.map_err(failed)?;
    row.map(|row| hash(&row, "code_hash")).transpose().map_err(failed)
}

/// An operator to store.
pub(crate) struct NewOperator<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its role.
    pub role: OperatorRole,
    /// The password's hash.
    pub password_phc: &'a str,
    /// Now.
    pub at: Timestamp,
}

/// Uses the code and stores the first admin, in one transaction that holds the write lock from its start: two browsers cannot both
/// become the first.
///
/// # Errors
/// `Conflict` when somebody was first.
pub(super) async fn set_up(db: &Db, first: &NewOperator<'_>) -> Verb<()> {
    let failed = |e| fault(e, "the first admin cannot be stored");
    let mut tx = db.begin().await?;
    let operators: i64 = sqlx::query_scalar(COUNT_OPERATORS).fetch_one(&mut *tx).await.map_err(failed)?;
    let used = sqlx::query(USE_CODE).bind(first.at.0).execute(&mut *tx).await.map_err(failed)?;
    if operators > 0 || used.rows_affected() != 1 {
        return Err(Fault::conflict("This deployment is set up already. Sign in"));
    }
    insert(&mut tx, first).await?;
    tx.commit().await.map_err(failed)
}

async fn insert(tx: &mut sqlx::Transaction<'static, sqlx::Sqlite>, new: &NewOperator<'_>) -> Verb<()> {
    let query = sqlx::query(ADD_OPERATOR).bind(new.name).bind(new.role.word()).bind(new.password_phc).bind(new.at.0);
    query.execute(&mut **tx).await.map(|_| ()).map_err(|e| fault(e, "the operator cannot be stored"))
}

/// Stores another operator.
///
/// # Errors
/// `Conflict` when the name is taken.
pub(super) async fn add(db: &Db, new: &NewOperator<'_>) -> Verb<()> {
    let mut tx = db.begin().await?;
    insert(&mut tx, new).await?;
    tx.commit().await.map_err(|e| fault(e, "the operator cannot be stored"))
}

/// What to change about an operator. Each change ends its sessions; all but a role end its keys too.
pub(super) enum Change<'a> {
    /// Another role.
    Role(OperatorRole),
    /// May not sign in any more.
    Disable,
    /// Another password and no second factor, and may sign in again.
    Reset(&'a str),
}

/// Why the only admin stays one.
pub(super) fn only_admin(name: &str) -> Fault {
    Fault::conflict(format!("{name} is the only admin. Add another one first"))
}

/// Changes an operator and ends what it held, in one transaction that holds the write lock from its start: of two admins that go at the same
/// moment one stays.
///
/// # Errors
/// `NotFound` when nothing fits: no such operator, or it is disabled already. `Conflict` when no admin would be left.
pub(super) async fn change(db: &Db, name: &str, change: Change<'_>, now: Timestamp) -> Verb<()> {
    let failed = |e| fault(e, "the operator cannot be changed");
    let mut tx = db.begin().await?;
    let before: i64 = sqlx::query_scalar(COUNT_ADMINS).fetch_one(&mut *tx).await.map_err(failed)?;
    let query = match &change {
        Change::Role(role) => sqlx::query(SET_ROLE).bind(name).bind(role.word()),
        Change::Disable => sqlx::query(DISABLE).bind(name).bind(now.0),
        Change::Reset(phc) => sqlx::query(RESET).bind(name).bind(*phc),
    };
    if query.execute(&mut *tx).await.map_err(failed)?.rows_affected() != 1 {
        return Err(Fault::not_found(format!("there is no operator {name} that this could change")));
    }
    let after: i64 = sqlx::query_scalar(COUNT_ADMINS).fetch_one(&mut *tx).await.map_err(failed)?;
    if before > 0 && after == 0 {
        return Err(only_admin(name));
    }
    sqlx::query(END_SESSIONS).bind(name).execute(&mut *tx).await.map_err(failed)?;
    if let Change::Reset(_) = change {
        second::forget(&mut tx, name).await?;
    }
    if !matches!(change, Change::Role(_)) {
        sqlx::query(REVOKE_KEYS).bind(name).bind(now.0).execute(&mut *tx).await.map_err(failed)?;
    }
    tx.commit().await.map_err(failed)
}

/// Stores a session.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn add_session(db: &Db, id: [u8; 32], session: &Session) -> Verb<()> {
    let query = sqlx::query(ADD_SESSION).bind(&id[..]).bind(&session.operator).bind(session.created_at.0);
    let query = query.bind(session.last_seen.0).bind(session.login_at.0).bind(&session.remote).bind(&session.agent);
    query.execute(db.writer()).await.map(|_| ()).map_err(|e| fault(e, "the session cannot be stored"))
}

/// Stores another password.
///
/// # Errors
/// `NotFound` when there is no such operator that may sign in.
pub(super) async fn set_password(db: &Db, name: &str, phc: &str) -> Verb<()> {
    let done = sqlx::query(SET_PASSWORD).bind(name).bind(phc).execute(db.writer()).await;
    match done.map_err(|e| fault(e, "the password cannot be stored"))?.rows_affected() {
        0 => Err(Fault::not_found(format!("there is no operator {name} that may sign in"))),
        _ => Ok(()),
    }
}

/// Ends sessions.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn end_sessions(db: &Db, ids: &[[u8; 32]]) -> Verb<()> {
    keep(db, &[], &[], ids).await
}

/// Stores a key.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn add_key(db: &Db, kid: &str, key: &HeldKey) -> Verb<()> {
    let query = sqlx::query(ADD_KEY).bind(kid).bind(&key.operator).bind(key.role.map(OperatorRole::word)).bind(&key.hash[..]);
    let query = query.bind(key.created_at.0).bind(key.expires_at.map(|at| at.0));
    query.execute(db.writer()).await.map(|_| ()).map_err(|e| fault(e, "the key cannot be stored"))
}

/// Revokes a key.
///
/// # Errors
/// `NotFound` when there is none to revoke.
pub(super) async fn revoke_key(db: &Db, kid: &str, now: Timestamp) -> Verb<()> {
    let done = sqlx::query(REVOKE_KEY).bind(kid).bind(now.0).execute(db.writer()).await;
    match done.map_err(|e| fault(e, "the key cannot be revoked"))?.rows_affected() {
        0 => Err(Fault::not_found(format!("there is no running key {kid}"))),
        _ => Ok(()),
    }
}

/// Writes down when sessions and keys were last used, and drops sessions that are over.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn keep(db: &Db, seen: &[([u8; 32], Timestamp)], used: &[(String, Timestamp)], over: &[[u8; 32]]) -> Verb<()> {
    let failed = |e| fault(e, "the sessions cannot be kept");
    let mut tx = db.begin().await?;
    for (id, at) in seen {
        sqlx::query(SEE_SESSION).bind(&id[..]).bind(at.0).execute(&mut *tx).await.map_err(failed)?;
    }
    for (kid, at) in used {
        sqlx::query(USE_KEY).bind(kid).bind(at.0).execute(&mut *tx).await.map_err(failed)?;
    }
    for id in over {
        sqlx::query(END_SESSION).bind(&id[..]).execute(&mut *tx).await.map_err(failed)?;
    }
    tx.commit().await.map_err(failed)
}
