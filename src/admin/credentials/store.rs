//! The SQL of rotations: the row is written ahead, the steps are only ever added. Never holds a secret that is not sealed.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, Transaction};

use super::machine::{Hold, State};
use super::model::{Rotation, StepTaken};
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::db::{Db, fault};

const READ: &str = "SELECT * FROM rotations WHERE id = ?1";
const OPEN: &str = "SELECT * FROM rotations WHERE state NOT IN ('done', 'cancelled', 'rolled_back') ORDER BY started_at, id";
const OPEN_OF: &str = "SELECT * FROM rotations WHERE credential = ?1 AND state NOT IN ('done', 'cancelled', 'rolled_back')";
const OF: &str = "SELECT * FROM rotations WHERE credential = ?1 ORDER BY started_at DESC, id DESC LIMIT ?2";
const PROVED: &str = "SELECT credential, max(ended_at) FROM rotations WHERE state = 'done' GROUP BY credential";
const START: &str =
    "INSERT INTO rotations (id, credential, state, old, reason, note, holder, overlap_ms, quiet_ms, forced, started_by,
    started_at, changed_at) VALUES (?1, ?2, 'planned', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11)";
const SAVE: &str = "UPDATE rotations SET state = ?3, hold = ?4, why = ?5, error = ?6, attempt = ?7, next_try_at = ?8, new = ?9,
    sealed = ?10, facts = ?11, to_fetch = ?12, forced = ?13, overlap_until = ?14, verified_at = ?15, draining_at = ?16,
    changed_at = ?17, ended_at = ?18 WHERE id = ?1 AND lease_owner = ?2";
const FETCH: &str = "UPDATE rotations SET fetched_at = ?2, fetched_by = ?3, changed_at = ?2 WHERE id = ?1 AND fetched_at IS NULL";
const REVOKE: &str =
    "UPDATE rotations SET revoked = max(revoked, ?2) WHERE id = ?1 AND state NOT IN ('done', 'cancelled', 'rolled_back')";
const LEASE: &str = "UPDATE rotations SET lease_owner = ?2, lease_until = ?4
    WHERE id = ?1 AND (lease_owner IS NULL OR lease_owner = ?2 OR lease_until <= ?3)";
const RELEASE: &str = "UPDATE rotations SET lease_owner = NULL, lease_until = NULL WHERE id = ?1 AND lease_owner = ?2";
const RELEASE_ALL: &str = "UPDATE rotations SET lease_owner = NULL, lease_until = NULL WHERE lease_owner IS NOT NULL";
const STEP: &str = "INSERT INTO rotation_steps (rotation, seq, at, step, outcome, evidence)
    SELECT ?1, coalesce(max(seq), 0) + 1, ?2, ?3, ?4, ?5 FROM rotation_steps WHERE rotation = ?1";
const STEPS: &str = "SELECT seq, at, step, outcome, evidence FROM rotation_steps WHERE rotation = ?1 ORDER BY seq";
const PLACE: &str = "INSERT INTO credential_places (kid, place, first_at, last_at, calls, refused) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT (kid, place) DO UPDATE SET last_at = excluded.last_at, calls = excluded.calls, refused = excluded.refused";
const FORGET_PLACES: &str = "DELETE FROM credential_places WHERE kid = ?1";
const PLACES: &str = "SELECT place, first_at, last_at, calls, refused FROM credential_places WHERE kid = ?1";
const END_REVOKED: &str =
    "UPDATE rotations SET state = 'rolled_back', hold = NULL, why = NULL, next_try_at = NULL, sealed = NULL, ended_at = ?3, changed_at = ?3
    WHERE substr(credential, 1, length(?1)) = ?1 AND started_at < ?2 AND state NOT IN ('done', 'cancelled', 'rolled_back')";
const REST_ALL: &str = "UPDATE rotations SET hold = 'paused', why = ?1, next_try_at = NULL
    WHERE state NOT IN ('done', 'cancelled', 'rolled_back')";

/// Every statement, for the test that keeps SQL and migrations together.
pub const STATEMENTS: [(&str, &str); 19] = [
    ("credentials.read", READ),
    ("credentials.open", OPEN),
    ("credentials.open_of", OPEN_OF),
    ("credentials.of", OF),
    ("credentials.proved", PROVED),
    ("credentials.start", START),
    ("credentials.save", SAVE),
    ("credentials.fetch", FETCH),
    ("credentials.revoke", REVOKE),
    ("credentials.lease", LEASE),
    ("credentials.release", RELEASE),
    ("credentials.release_all", RELEASE_ALL),
    ("credentials.step", STEP),
    ("credentials.steps", STEPS),
    ("credentials.place", PLACE),
    ("credentials.places", PLACES),
    ("credentials.forget_places", FORGET_PLACES),
    ("credentials.end_revoked", END_REVOKED),
    ("credentials.rest_all", REST_ALL),
];

const UNREAD: &str = "the rotations cannot be read";
const UNSET: &str = "the rotation cannot be stored";

fn rotation(row: &SqliteRow) -> Result<Rotation, sqlx::Error> {
    let maybe = |column: &str| row.try_get::<Option<i64>, _>(column).map(|at| at.map(Timestamp));
    let json = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let odd = |what: &str| sqlx::Error::Decode(format!("{what} is none that this version knows").into());
    let hold: Option<String> = row.try_get("hold")?;
    Ok(Rotation {
        id: row.try_get("id")?,
        credential: row.try_get("credential")?,
        state: State::of(row.try_get::<&str, _>("state")?).ok_or_else(|| odd("a state"))?,
        hold: hold.map(|word| Hold::of(&word).ok_or_else(|| odd("a hold"))).transpose()?,
        why: row.try_get("why")?,
        error: row.try_get("error")?,
        attempt: u32::try_from(row.try_get::<i64, _>("attempt")?).unwrap_or(u32::MAX),
        next_try_at: maybe("next_try_at")?,
        old: serde_json::from_str(row.try_get::<&str, _>("old")?).unwrap_or_default(),
        new: row.try_get("new")?,
        facts: json(row.try_get("facts")?),
        to_fetch: row.try_get("to_fetch")?,
        fetched_at: maybe("fetched_at")?,
        fetched_by: row.try_get("fetched_by")?,
        reason: row.try_get("reason")?,
        note: row.try_get("note")?,
        holder: row.try_get("holder")?,
        overlap_ms: row.try_get("overlap_ms")?,
        quiet_ms: row.try_get("quiet_ms")?,
        forced: row.try_get("forced")?,
        overlap_until: maybe("overlap_until")?,
        verified_at: maybe("verified_at")?,
        draining_at: maybe("draining_at")?,
        started_by: row.try_get("started_by")?,
        started_at: Timestamp(row.try_get("started_at")?),
        changed_at: Timestamp(row.try_get("changed_at")?),
        ended_at: maybe("ended_at")?,
        sealed: row.try_get("sealed")?,
        revoked: row.try_get("revoked")?,
    })
}

/// One rotation.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn read(db: &Db, id: &str) -> Verb<Option<Rotation>> {
    let row = sqlx::query(READ).bind(id).fetch_optional(db.reader()).await.map_err(|e| fault(e, UNREAD))?;
    row.as_ref().map(rotation).transpose().map_err(|e| fault(e, UNREAD))
}

/// Every open rotation, the oldest first.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn open(db: &Db) -> Verb<Vec<Rotation>> {
    let rows = sqlx::query(OPEN).fetch_all(db.reader()).await.map_err(|e| fault(e, UNREAD))?;
    rows.iter().map(rotation).collect::<Result<_, _>>().map_err(|e| fault(e, UNREAD))
}

/// The open rotation of a credential.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn open_of(db: &Db, credential: &str) -> Verb<Option<Rotation>> {
    let row = sqlx::query(OPEN_OF).bind(credential).fetch_optional(db.reader()).await.map_err(|e| fault(e, UNREAD))?;
    row.as_ref().map(rotation).transpose().map_err(|e| fault(e, UNREAD))
}

/// The rotations of a credential, newest first.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn of(db: &Db, credential: &str, limit: u32) -> Verb<Vec<Rotation>> {
    let rows = sqlx::query(OF).bind(credential).bind(limit).fetch_all(db.reader()).await.map_err(|e| fault(e, UNREAD))?;
    rows.iter().map(rotation).collect::<Result<_, _>>().map_err(|e| fault(e, UNREAD))
}

/// When each credential was last rotated to the end.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn proved(db: &Db) -> Verb<Vec<(String, Timestamp)>> {
    let rows: Vec<(String, i64)> = sqlx::query_as(PROVED).fetch_all(db.reader()).await.map_err(|e| fault(e, UNREAD))?;
    Ok(rows.into_iter().map(|(name, at)| (name, Timestamp(at))).collect())
}

/// Starts a rotation; `Conflict` when the credential has an open one.
///
/// # Errors
/// `Conflict`; when the database does not answer.
pub(super) async fn start(db: &Db, row: &Rotation) -> Verb<()> {
    let old = serde_json::to_string(&row.old).map_err(|e| Fault::bug(UNSET).because(e))?;
    let new = sqlx::query(START).bind(&row.id).bind(&row.credential).bind(old).bind(&row.reason).bind(&row.note).bind(&row.holder);
    let new = new.bind(row.overlap_ms).bind(row.quiet_ms).bind(row.forced).bind(&row.started_by).bind(row.started_at.0);
    match new.execute(db.writer()).await {
        Ok(_) => Ok(()),
        Err(sqlx::Error::Database(cause)) if cause.is_unique_violation() => {
            Err(Fault::conflict(format!("{} is being rotated already; --force gives that rotation up first", row.credential)))
        }
        Err(e) => Err(fault(e, UNSET)),
    }
}

/// What becomes of a row together with one step.
pub(super) struct Taken<'a> {
    /// `mint` and so on, or an order.
    pub step: &'a str,
    /// `done`, `failed`, `waits` or `ordered`.
    pub outcome: &'a str,
    /// What was seen.
    pub evidence: &'a serde_json::Value,
}

/// Stores a row and one step of it, both or neither. Only whoever holds the lease may.
///
/// # Errors
/// `Conflict` when somebody else holds the lease now; when the database does not answer.
pub(super) async fn save(db: &Db, owner: &str, row: &Rotation, taken: Option<Taken<'_>>) -> Verb<()> {
    let mut tx = db.begin().await?;
    let facts = (!row.facts.is_null()).then(|| row.facts.to_string());
    let set = sqlx::query(SAVE).bind(&row.id).bind(owner).bind(row.state.word()).bind(row.hold.map(Hold::word)).bind(&row.why);
    let set =
        set.bind(&row.error).bind(i64::from(row.attempt)).bind(row.next_try_at.map(|at| at.0)).bind(&row.new).bind(&row.sealed);
    let set = set.bind(facts).bind(row.to_fetch).bind(row.forced).bind(row.overlap_until.map(|at| at.0));
    let set = set.bind(row.verified_at.map(|at| at.0)).bind(row.draining_at.map(|at| at.0)).bind(row.changed_at.0);
    let done = set.bind(row.ended_at.map(|at| at.0)).execute(&mut *tx).await.map_err(|e| fault(e, UNSET))?;
    if done.rows_affected() != 1 {
        return Err(Fault::conflict("somebody else works on this rotation now"));
    }
    if let Some(taken) = taken {
        step(&mut tx, &row.id, row.changed_at, &taken).await?;
    }
    tx.commit().await.map_err(|e| fault(e, UNSET))
}

async fn step(tx: &mut Transaction<'static, Sqlite>, id: &str, at: Timestamp, taken: &Taken<'_>) -> Verb<()> {
    let row = sqlx::query(STEP).bind(id).bind(at.0).bind(taken.step).bind(taken.outcome).bind(taken.evidence.to_string());
    row.execute(&mut **tx).await.map(|_| ()).map_err(|e| fault(e, UNSET))
}

/// Remembers that somebody took the new secret; whether it was there to take.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn fetch(db: &Db, id: &str, (now, by): (Timestamp, &str)) -> Verb<bool> {
    let mut tx = db.begin().await?;
    let done = sqlx::query(FETCH).bind(id).bind(now.0).bind(by).execute(&mut *tx).await.map_err(|e| fault(e, UNSET))?;
    let taken = done.rows_affected() == 1;
    if taken {
        let evidence = serde_json::json!({ "by": by });
        step(&mut tx, id, now, &Taken { step: "fetch", outcome: "ordered", evidence: &evidence }).await?;
    }
    tx.commit().await.map_err(|e| fault(e, UNSET))?;
    Ok(taken)
}

/// Marks a rotation whose credential was revoked, whoever holds its lease.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn revoke(db: &Db, id: &str, reach: i64) -> Verb<()> {
    let done = sqlx::query(REVOKE).bind(id).bind(reach).execute(db.writer()).await;
    done.map(drop).map_err(|e| fault(e, UNSET))
}

/// Takes or renews the lease of a rotation; whether it is ours.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn lease(db: &Db, id: &str, owner: &str, (now, until): (Timestamp, Timestamp)) -> Verb<bool> {
    let done = sqlx::query(LEASE).bind(id).bind(owner).bind(now.0).bind(until.0).execute(db.writer()).await;
    done.map(|done| done.rows_affected() == 1).map_err(|e| fault(e, UNSET))
}

/// Gives a lease back.
///
/// # Errors
/// When the database does not answer; it ends by itself then.
pub(super) async fn release(db: &Db, id: &str, owner: &str) -> Verb<()> {
    sqlx::query(RELEASE).bind(id).bind(owner).execute(db.writer()).await.map(|_| ()).map_err(|e| fault(e, UNSET))
}

/// Ends every lease: nobody else can hold one while this process holds the data directory.
///
/// # Errors
/// When the database does not answer; they end by themselves then.
pub(super) async fn release_all(db: &Db) -> Verb<()> {
    sqlx::query(RELEASE_ALL).execute(db.writer()).await.map(|_| ()).map_err(|e| fault(e, UNSET))
}

/// The steps of a rotation, in order.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn steps(db: &Db, id: &str) -> Verb<Vec<StepTaken>> {
    let rows = sqlx::query(STEPS).bind(id).fetch_all(db.reader()).await.map_err(|e| fault(e, UNREAD))?;
    let taken = |row: &SqliteRow| {
        Ok(StepTaken {
            seq: u32::try_from(row.try_get::<i64, _>("seq")?).unwrap_or(u32::MAX),
            at: Timestamp(row.try_get("at")?),
            step: row.try_get("step")?,
            outcome: row.try_get("outcome")?,
            evidence: serde_json::from_str(row.try_get::<&str, _>("evidence")?).unwrap_or_default(),
        })
    };
    rows.iter().map(taken).collect::<Result<_, sqlx::Error>>().map_err(|e| fault(e, UNREAD))
}

/// Keeps what was seen of a key.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn keep_places(
    db: &Db,
    kid: &str,
    book: impl IntoIterator<Item = (String, crate::policy::places::Seen)>,
) -> Verb<()> {
    let mut tx = db.begin().await?;
    for (place, seen) in book {
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let row = sqlx::query(PLACE).bind(kid).bind(place).bind(seen.first.0).bind(seen.last.0);
        let row = row.bind(count(seen.calls)).bind(count(seen.refused));
        row.execute(&mut *tx).await.map_err(|e| fault(e, UNSET))?;
    }
    tx.commit().await.map_err(|e| fault(e, UNSET))
}

/// Forgets what was seen of a key.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn forget_places(db: &Db, kid: &str) -> Verb<()> {
    sqlx::query(FORGET_PLACES).bind(kid).execute(db.writer()).await.map(|_| ()).map_err(|e| fault(e, UNSET))
}

/// What was seen of a key.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn places(db: &Db, kid: &str) -> Verb<Vec<(String, crate::policy::places::Seen)>> {
    let rows: Vec<(String, i64, i64, i64, i64)> =
        sqlx::query_as(PLACES).bind(kid).fetch_all(db.reader()).await.map_err(|e| fault(e, UNREAD))?;
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    let seen = |first, last, calls, refused| crate::policy::places::Seen {
        first: Timestamp(first),
        last: Timestamp(last),
        calls: count(calls),
        refused: count(refused),
    };
    Ok(rows.into_iter().map(|(place, first, last, calls, refused)| (place, seen(first, last, calls, refused))).collect())
}

/// Rotations of an archive that was brought back: those of secrets that were taken back since have nothing left to replace; the others wait for somebody who
/// knows how far they went in the deployment before, so that nothing is sent anywhere unasked.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin) async fn rebuilt(
    db: &Db,
    revoked: &std::collections::BTreeMap<String, Timestamp>,
    now: Timestamp,
) -> Verb<()> {
    let mut tx = db.begin().await?;
    for (server, before) in revoked {
        let end = sqlx::query(END_REVOKED).bind(format!("upstream/{server}:")).bind(before.0).bind(now.0);
        end.execute(&mut *tx).await.map_err(|e| fault(e, UNSET))?;
    }
    let why = "this deployment was rebuilt, and the one before may have gone further: look how far, then resume or give it up";
    sqlx::query(REST_ALL).bind(why).execute(&mut *tx).await.map_err(|e| fault(e, UNSET))?;
    tx.commit().await.map_err(|e| fault(e, UNSET))
}
