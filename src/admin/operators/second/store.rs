//! The SQL of second factors. The secret is sealed before it comes here; recovery codes are hashes.

use sqlx::Row;

use super::super::memory::{Second, State};
use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::db::{Db, fault};

const READ_TOTP: &str = "SELECT operator, sealed, confirmed_at, last_step FROM operator_totp";
const READ_RECOVERY: &str = "SELECT operator, hash FROM operator_recovery_codes WHERE used_at IS NULL";
const PUT_TOTP: &str = "INSERT INTO operator_totp (operator, sealed, confirmed_at, last_step) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (operator) DO UPDATE SET sealed = ?2, confirmed_at = ?3, last_step = ?4";
const SET_STEP: &str = "UPDATE operator_totp SET last_step = ?2 WHERE operator = ?1 AND last_step < ?2";
const FORGET_TOTP: &str = "DELETE FROM operator_totp WHERE operator = ?1";
const FORGET_RECOVERY: &str = "DELETE FROM operator_recovery_codes WHERE operator = ?1";
const ADD_RECOVERY: &str = "INSERT INTO operator_recovery_codes (operator, hash) VALUES (?1, ?2)";
const USE_RECOVERY: &str = "UPDATE operator_recovery_codes SET used_at = ?3 WHERE operator = ?1 AND hash = ?2 AND used_at IS NULL";

/// Every statement, for the test that keeps SQL and migrations together.
pub const STATEMENTS: [(&str, &str); 8] = [
    ("operators.read_totp", READ_TOTP),
    ("operators.read_recovery", READ_RECOVERY),
    ("operators.put_totp", PUT_TOTP),
    ("operators.set_step", SET_STEP),
    ("operators.forget_totp", FORGET_TOTP),
    ("operators.forget_recovery", FORGET_RECOVERY),
    ("operators.add_recovery", ADD_RECOVERY),
    ("operators.use_recovery", USE_RECOVERY),
];

type Transaction = sqlx::Transaction<'static, sqlx::Sqlite>;

/// Reads every second factor into the accounts.
///
/// # Errors
/// When the database does not answer or a row is not readable. Nobody signs in then: an account must not be open because its second factor
/// could not be read.
pub(in crate::admin::operators) async fn read(db: &Db, state: &mut State) -> Verb<()> {
    let unread = |e| fault(e, "the second factors cannot be read");
    for row in sqlx::query(READ_TOTP).fetch_all(db.reader()).await.map_err(unread)? {
        let second = Second {
            sealed: row.try_get("sealed").map_err(unread)?,
            confirmed_at: Timestamp(row.try_get("confirmed_at").map_err(unread)?),
            last_step: row.try_get("last_step").map_err(unread)?,
            ..Second::default()
        };
        let operator: String = row.try_get("operator").map_err(unread)?;
        if let Some(account) = state.accounts.get_mut(&operator) {
            account.second = Some(second);
        }
    }
    for row in sqlx::query(READ_RECOVERY).fetch_all(db.reader()).await.map_err(unread)? {
        let operator: String = row.try_get("operator").map_err(unread)?;
        let bytes: Vec<u8> = row.try_get("hash").map_err(unread)?;
        let second = state.accounts.get_mut(&operator).and_then(|account| account.second.as_mut());
        if let (Some(second), Ok(hash)) = (second, <[u8; 32]>::try_from(bytes)) {
            second.recovery.push(hash);
        }
    }
    Ok(())
}

/// Stores a second factor with its recovery codes in place of the one before.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn put(db: &Db, operator: &str, second: &Second) -> Verb<()> {
    let failed = |e| fault(e, "the second factor cannot be stored");
    let mut tx = db.begin().await?;
    let query = sqlx::query(PUT_TOTP).bind(operator).bind(&second.sealed).bind(second.confirmed_at.0).bind(second.last_step);
    query.execute(&mut *tx).await.map_err(failed)?;
    exchange(&mut tx, operator, &second.recovery).await?;
    tx.commit().await.map_err(failed)
}

/// Stores other recovery codes in place of those before.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn put_recovery(db: &Db, operator: &str, hashes: &[[u8; 32]]) -> Verb<()> {
    let mut tx = db.begin().await?;
    exchange(&mut tx, operator, hashes).await?;
    tx.commit().await.map_err(|e| fault(e, "the recovery codes cannot be stored"))
}

async fn exchange(tx: &mut Transaction, operator: &str, hashes: &[[u8; 32]]) -> Verb<()> {
    let failed = |e| fault(e, "the recovery codes cannot be stored");
    sqlx::query(FORGET_RECOVERY).bind(operator).execute(&mut **tx).await.map_err(failed)?;
    for hash in hashes {
        sqlx::query(ADD_RECOVERY).bind(operator).bind(&hash[..]).execute(&mut **tx).await.map_err(failed)?;
    }
    Ok(())
}

/// Forgets a second factor.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn remove(db: &Db, operator: &str) -> Verb<()> {
    let mut tx = db.begin().await?;
    forget(&mut tx, operator).await?;
    tx.commit().await.map_err(|e| fault(e, "the second factor cannot be removed"))
}

/// The same, as a part of a larger change.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin::operators) async fn forget(tx: &mut Transaction, operator: &str) -> Verb<()> {
    for statement in [FORGET_RECOVERY, FORGET_TOTP] {
        let done = sqlx::query(statement).bind(operator).execute(&mut **tx).await;
        done.map_err(|e| fault(e, "the second factor cannot be removed"))?;
    }
    Ok(())
}

/// Writes down the last step that counted.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn set_step(db: &Db, operator: &str, step: i64) -> Verb<()> {
    let done = sqlx::query(SET_STEP).bind(operator).bind(step).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, "the last code cannot be written down"))
}

/// Uses a recovery code. `false` when it was used already.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn use_recovery(db: &Db, operator: &str, hash: &[u8; 32], now: Timestamp) -> Verb<bool> {
    let done = sqlx::query(USE_RECOVERY).bind(operator).bind(&hash[..]).bind(now.0).execute(db.writer()).await;
    done.map(|done| done.rows_affected() == 1).map_err(|e| fault(e, "the recovery code cannot be used"))
}
