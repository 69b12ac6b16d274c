//! A consistent copy of a SQLite database that belongs to somebody else and is being written, and what it holds. Never writes to the original.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

use super::{create_private, fault};
use crate::base::fault::{Fault, Verb};

/// How long somebody else's transaction is waited for.
const BUSY: Duration = Duration::from_secs(10);
/// First bytes of every SQLite file.
pub const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const TABLES: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";
const READ: &str = "the copy of the database cannot be read";

/// What a copy holds: compared after a rebuild.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// `PRAGMA user_version`.
    pub user_version: i64,
    /// Rows by table.
    pub rows: BTreeMap<String, i64>,
}

/// Copies a database to a path where nothing is yet (mode 0600), as it stood at one moment, and checks the copy.
///
/// # Errors
/// `Unavailable` when it cannot be opened or copied, or the copy is not sound.
pub async fn snapshot(from: &Path, to: &Path) -> Verb<Facts> {
    let what = format!("{} cannot be copied", from.display());
    let text = to.to_str().ok_or_else(|| Fault::invalid("path", "the path of a copy must be UTF-8"))?;
    create_private(to)?;
    let options = options(from).busy_timeout(BUSY);
    let copied = async {
        let mut connection = options.connect().await?;
        sqlx::query("VACUUM INTO ?1").bind(text).execute(&mut connection).await?;
        connection.close().await
    };
    if let Err(e) = copied.await {
        let _ = std::fs::remove_file(to);
        return Err(fault(e, &what));
    }
    facts(to).await
}

/// Checks a database that nobody writes, and counts what it holds.
///
/// # Errors
/// `Unavailable` when it cannot be read, or is not sound: then the fault says what SQLite said.
pub async fn facts(path: &Path) -> Verb<Facts> {
    let mut connection = options(path).immutable(true).connect().await.map_err(|e| fault(e, READ))?;
    let read = read(&mut connection).await;
    let _ = connection.close().await;
    read
}

async fn read(connection: &mut SqliteConnection) -> Verb<Facts> {
    let bad = |e| fault(e, READ);
    let sound: String = sqlx::query_scalar("PRAGMA integrity_check(1)").fetch_one(&mut *connection).await.map_err(bad)?;
    if sound != "ok" {
        return Err(Fault::unavailable(format!("the database is damaged: {sound}")));
    }
    let user_version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await.map_err(bad)?;
    let names = sqlx::query(TABLES).fetch_all(&mut *connection).await.map_err(bad)?;
    let mut rows = BTreeMap::new();
    for name in &names {
        let name: String = name.try_get(0).map_err(bad)?;
        // The name comes from the database; as a quoted identifier it can only be a name.
        let count = format!("SELECT count(*) FROM \"{}\"", name.replace('"', "\"\""));
        // A virtual table whose module is not there cannot be counted, and is copied all the same.
        if let Ok(count) = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut *connection).await {
            rows.insert(name, count);
        }
    }
    Ok(Facts { user_version, rows })
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).read_only(true).pragma("trusted_schema", "OFF").pragma("cell_size_check", "ON")
}

/// Empties tables of a copy and gives their pages back, so that nothing of them is left in the file.
///
/// # Errors
/// `Unavailable` when the copy cannot be written.
pub async fn forget(path: &Path, tables: &[&'static str]) -> Verb<()> {
    let what = "the copy of the database cannot be cleared";
    let options = SqliteConnectOptions::new().filename(path).pragma("secure_delete", "ON");
    let mut connection = options.connect().await.map_err(|e| fault(e, what))?;
    for table in tables {
        let text = format!("DELETE FROM \"{table}\"");
        sqlx::query(AssertSqlSafe(text)).execute(&mut connection).await.map_err(|e| fault(e, what))?;
    }
    sqlx::query("VACUUM").execute(&mut connection).await.map_err(|e| fault(e, what))?;
    connection.close().await.map_err(|e| fault(e, what))
}
