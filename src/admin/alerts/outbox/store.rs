//! The SQL of the outbox: what waits to be delivered, and how the newest ended. Bounded, so that a receiver that is away fills no disk.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::{Drops, Ended, Notice, Settled, Step, Waiting};
use crate::admin::alerts::receivers::Delivery;
use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::db::{Db, fault};

const PUT: &str = "INSERT INTO alert_outbox (id, receiver, kind, alert, body, state, made_at, attempts, next_at)
    VALUES (?1, ?2, ?3, ?4, ?5, 'waiting', ?6, 0, ?6)";
const DROP: &str = "UPDATE alert_outbox SET state = 'dropped', ended_at = ?2, why = 'too many were waiting' WHERE id IN (
    SELECT id FROM alert_outbox WHERE state = 'waiting' ORDER BY made_at, id
    LIMIT MAX(0, (SELECT COUNT(*) FROM alert_outbox WHERE state = 'waiting') - ?1))";
const DROPPED: &str = "SELECT COUNT(*) FROM alert_outbox WHERE state = 'dropped' AND ended_at > ?1";
const ENDED: &str =
    "INSERT INTO alert_outbox (id, receiver, kind, alert, body, state, made_at, attempts, next_at, status, why, ms, ended_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?7, ?8, ?9, ?10, ?11)";
const DUE: &str = "SELECT DISTINCT receiver FROM alert_outbox WHERE state = 'waiting' AND next_at <= ?1";
const DUE_OF: &str = "SELECT id, receiver, kind, alert, body, attempts FROM alert_outbox
    WHERE state = 'waiting' AND receiver = ?1 AND next_at <= ?2 ORDER BY made_at, id LIMIT ?3";
const NEXT: &str = "SELECT MIN(next_at) FROM alert_outbox WHERE state = 'waiting' AND next_at > ?1";
const SETTLE: &str =
    "UPDATE alert_outbox SET state = ?2, attempts = ?3, next_at = ?4, status = ?5, why = ?6, ms = ?7, ended_at = ?8
    WHERE id = ?1 AND state = 'waiting'";
const GIVE_UP: &str =
    "UPDATE alert_outbox SET state = 'given_up', ended_at = ?2, why = ?3 WHERE receiver = ?1 AND state = 'waiting'";
const IS_OLD: &str = "SELECT EXISTS (SELECT 1 FROM alert_outbox WHERE state = 'waiting' AND made_at < ?1)";
const EXPIRE: &str = "UPDATE alert_outbox SET state = 'given_up', ended_at = ?2, why = 'it is news to nobody any more'
    WHERE state = 'waiting' AND made_at < ?1";
const PRUNE: &str = "DELETE FROM alert_outbox WHERE state <> 'waiting' AND id IN (
    SELECT id FROM (
        SELECT id, ROW_NUMBER() OVER (PARTITION BY receiver ORDER BY ended_at DESC, id DESC) AS place
        FROM alert_outbox WHERE state <> 'waiting')
    WHERE place > ?1)";
const FORGET: &str = "DELETE FROM alert_outbox WHERE receiver = ?1";
const LIST: &str = "SELECT id, kind, alert, state, attempts, status, why, ms, made_at, ended_at, next_at FROM alert_outbox
    WHERE receiver = ?1 ORDER BY state <> 'waiting', ended_at DESC, made_at DESC, id DESC LIMIT ?2";
const COUNT: &str = "SELECT COUNT(*) FROM alert_outbox WHERE receiver = ?1 AND state = 'waiting'";

/// Every statement, for the test that keeps SQL and migrations together.
pub const STATEMENTS: [(&str, &str); 15] = [
    ("outbox.put", PUT),
    ("outbox.drop", DROP),
    ("outbox.dropped", DROPPED),
    ("outbox.ended", ENDED),
    ("outbox.due", DUE),
    ("outbox.due_of", DUE_OF),
    ("outbox.next", NEXT),
    ("outbox.settle", SETTLE),
    ("outbox.give_up", GIVE_UP),
    ("outbox.is_old", IS_OLD),
    ("outbox.expire", EXPIRE),
    ("outbox.prune", PRUNE),
    ("outbox.forget", FORGET),
    ("outbox.list", LIST),
    ("outbox.count", COUNT),
];

const UNREAD: &str = "the outbox of alerts cannot be read";
const UNSET: &str = "the outbox of alerts cannot be written";

/// Puts notices into the outbox, in the transaction of what they tell of; above `most` the oldest are dropped.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin::alerts) async fn put(
    tx: &mut Transaction<'static, Sqlite>,
    notices: &[Notice],
    (most, now): (u32, Timestamp),
) -> Verb<Drops> {
    if notices.is_empty() {
        return Ok(Drops::default());
    }
    for notice in notices {
        let row = sqlx::query(PUT).bind(&notice.id).bind(&notice.receiver).bind(notice.kind).bind(&notice.alert);
        row.bind(&notice.body).bind(now.0).execute(&mut **tx).await.map_err(|e| fault(e, UNSET))?;
    }
    let before = sqlx::query_scalar::<_, i64>(DROPPED).bind(super::told_since(now).0).fetch_one(&mut **tx).await;
    let before = before.map_err(|e| fault(e, UNSET))? > 0;
    let dropped = sqlx::query(DROP).bind(most).bind(now.0).execute(&mut **tx).await.map_err(|e| fault(e, UNSET))?;
    Ok(Drops { count: dropped.rows_affected(), told: before })
}

/// How many were dropped since a moment.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin::alerts) async fn dropped(db: &Db, since: Timestamp) -> Verb<u64> {
    let count = sqlx::query_scalar::<_, i64>(DROPPED).bind(since.0).fetch_one(db.reader()).await;
    count.map(|count| u64::try_from(count).unwrap_or(0)).map_err(|e| fault(e, UNREAD))
}

/// Keeps what was sent at once, for the page.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin::alerts) async fn ended(db: &Db, one: &Ended<'_>) -> Verb<()> {
    let Ended { notice, delivered, status, why, ms, at } = one;
    let state = if *delivered { "delivered" } else { "given_up" };
    let row = sqlx::query(ENDED).bind(&notice.id).bind(&notice.receiver).bind(notice.kind).bind(&notice.alert).bind(&notice.body);
    let row = row.bind(state).bind(at.0).bind(*status).bind(*why).bind(*ms).bind(at.0);
    row.execute(db.writer()).await.map(|_| ()).map_err(|e| fault(e, UNSET))
}

/// Receivers for which something is due.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn due(db: &Db, now: Timestamp) -> Verb<Vec<String>> {
    sqlx::query_scalar(DUE).bind(now.0).fetch_all(db.reader()).await.map_err(|e| fault(e, UNREAD))
}

/// What is due for one receiver, oldest first.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn due_of(db: &Db, receiver: &str, now: Timestamp, most: u32) -> Verb<Vec<Waiting>> {
    let rows = sqlx::query(DUE_OF).bind(receiver).bind(now.0).bind(most).fetch_all(db.reader()).await;
    let waiting = |row: &SqliteRow| {
        Ok(Waiting {
            id: row.try_get("id")?,
            receiver: row.try_get("receiver")?,
            kind: row.try_get("kind")?,
            alert: row.try_get("alert")?,
            body: row.try_get("body")?,
            attempts: row.try_get("attempts")?,
        })
    };
    rows.and_then(|rows| rows.iter().map(waiting).collect()).map_err(|e| fault(e, UNREAD))
}

/// When something is due next that is not due now.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn next(db: &Db, now: Timestamp) -> Verb<Option<Timestamp>> {
    let at = sqlx::query_scalar::<_, Option<i64>>(NEXT).bind(now.0).fetch_one(db.reader()).await;
    at.map(|at| at.map(Timestamp)).map_err(|e| fault(e, UNREAD))
}

/// Writes down how an attempt ended.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn settle(db: &Db, settled: &Settled) -> Verb<()> {
    let (state, next_at, ended_at) = match settled.step {
        Step::Delivered => ("delivered", settled.at, Some(settled.at)),
        Step::Again(at) => ("waiting", at, None),
        Step::GivenUp => ("given_up", settled.at, Some(settled.at)),
    };
    let row = sqlx::query(SETTLE).bind(&settled.waiting.id).bind(state).bind(settled.attempts).bind(next_at.0).bind(settled.status);
    let row = row.bind(settled.why.as_deref()).bind(settled.ms).bind(ended_at.map(|at| at.0));
    row.execute(db.writer()).await.map(|_| ()).map_err(|e| fault(e, UNSET))
}

/// Gives up everything that waits for a receiver; how many that were.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn give_up(db: &Db, receiver: &str, why: &str, now: Timestamp) -> Verb<u64> {
    let done = sqlx::query(GIVE_UP).bind(receiver).bind(now.0).bind(why).execute(db.writer()).await;
    done.map(|done| done.rows_affected()).map_err(|e| fault(e, UNSET))
}

/// Whether something waits that came about before a moment.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn is_old(db: &Db, before: Timestamp) -> Verb<bool> {
    sqlx::query_scalar(IS_OLD).bind(before.0).fetch_one(db.reader()).await.map_err(|e| fault(e, UNREAD))
}

/// Gives up everything that came about before a moment; how many that were.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn expire(db: &Db, before: Timestamp, now: Timestamp) -> Verb<u64> {
    let done = sqlx::query(EXPIRE).bind(before.0).bind(now.0).execute(db.writer()).await;
    done.map(|done| done.rows_affected()).map_err(|e| fault(e, UNSET))
}

/// Keeps the newest `most` of each receiver that ended.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin::alerts) async fn prune(db: &Db, most: u32) -> Verb<()> {
    sqlx::query(PRUNE).bind(most).execute(db.writer()).await.map(|_| ()).map_err(|e| fault(e, UNSET))
}

/// Forgets everything about a receiver.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin::alerts) async fn forget(db: &Db, receiver: &str) -> Verb<()> {
    sqlx::query(FORGET).bind(receiver).execute(db.writer()).await.map(|_| ()).map_err(|e| fault(e, UNSET))
}

/// How many wait for a receiver, and the newest notices: what waits first, then what ended last.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin::alerts) async fn list(db: &Db, receiver: &str, most: u32) -> Verb<(u64, Vec<Delivery>)> {
    let count = sqlx::query_scalar::<_, i64>(COUNT).bind(receiver).fetch_one(db.reader()).await.map_err(|e| fault(e, UNREAD))?;
    let rows = sqlx::query(LIST).bind(receiver).bind(most).fetch_all(db.reader()).await;
    let maybe = |row: &SqliteRow, column: &str| row.try_get::<Option<i64>, _>(column);
    let delivery = |row: &SqliteRow| {
        let waits = row.try_get::<&str, _>("state")? == "waiting";
        Ok(Delivery {
            id: row.try_get("id")?,
            kind: row.try_get("kind")?,
            alert: row.try_get("alert")?,
            state: row.try_get("state")?,
            attempts: row.try_get("attempts")?,
            status: row.try_get("status")?,
            why: row.try_get("why")?,
            ms: maybe(row, "ms")?.and_then(|ms| u64::try_from(ms).ok()),
            made_at: Timestamp(row.try_get("made_at")?),
            ended_at: maybe(row, "ended_at")?.map(Timestamp),
            next_at: if waits { Some(Timestamp(row.try_get("next_at")?)) } else { None },
        })
    };
    let rows = rows.and_then(|rows| rows.iter().map(delivery).collect::<Result<_, sqlx::Error>>());
    Ok((u64::try_from(count).unwrap_or(0), rows.map_err(|e| fault(e, UNREAD))?))
}
