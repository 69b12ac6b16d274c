//! Applies `migrations/NNNN_noun_what.sql` in order, each in its own transaction, and remembers its digest. Never goes back, and never
//! touches a file that a newer Lifeboat wrote.

use std::collections::BTreeMap;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use sqlx::{AssertSqlSafe, Row, SqlitePool};

use super::{fault, keep};
use crate::base::fault::{Fault, Verb};

#[derive(rust_embed::RustEmbed)]
#[folder = "migrations"]
struct Embedded;

#[derive(Clone, Debug)]
struct Migration {
    name: String,
    sql: String,
    sha256: String,
}

/// A checked list of migrations, by number.
#[derive(Clone, Debug)]
pub struct Migrations(BTreeMap<u32, Migration>);

impl Migrations {
    /// The migrations of this build.
    ///
    /// # Errors
    /// `Bug` when a file's name is wrong or a number is there twice.
    pub fn embedded() -> Verb<Self> {
        let read = |name: &str| {
            let file = Embedded::get(name)?;
            String::from_utf8(file.data.into_owned()).ok()
        };
        let files: Vec<(String, String)> =
            Embedded::iter().filter_map(|name| read(&name).map(|sql| (name.into_owned(), sql))).collect();
        Self::of(files)
    }

    /// Migrations given as file name and SQL.
    ///
    /// # Errors
    /// `Bug` when a file's name is wrong or a number is there twice.
    pub fn of(files: impl IntoIterator<Item = (String, String)>) -> Verb<Self> {
        let mut all = BTreeMap::new();
        for (name, sql) in files {
            let number = number(&name).ok_or_else(|| Fault::bug(format!("{name} is not called NNNN_noun_what.sql")))?;
            let sha256 = hex(digest(&SHA256, sql.as_bytes()).as_ref());
            if let Some(other) = all.insert(number, Migration { name: name.clone(), sql, sha256 }) {
                return Err(Fault::bug(format!("{name} and {} have the same number", other.name)));
            }
        }
        Ok(Self(all))
    }
}

fn number(name: &str) -> Option<u32> {
    let (digits, words) = name.strip_suffix(".sql")?.split_once('_')?;
    let named = words.split('_').filter(|word| !word.is_empty()).count() >= 2;
    let shaped = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit());
    (named && shaped).then(|| digits.parse().ok()).flatten()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const CREATE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    number INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL
) STRICT";

const WHAT: &str = "cannot read the schema's history";

/// Brings the schema of the file at `path` up to date; a copy of the one before is kept beside it.
pub(super) async fn apply(writer: &SqlitePool, migrations: &Migrations, path: &Path) -> Verb<()> {
    let last = history(writer, migrations, path).await?;
    let pending = migrations.0.range(last + 1..).next().is_some();
    if pending && last > 0 {
        keep::keep(writer, path, last).await?;
    }
    for (number, migration) in migrations.0.range(last + 1..) {
        step(writer, *number, migration).await?;
    }
    Ok(())
}

/// Checks what was applied against what this build knows. Returns the number applied last, 0 for a new file.
async fn history(writer: &SqlitePool, migrations: &Migrations, path: &Path) -> Verb<u32> {
    let bad = |e| fault(e, WHAT);
    sqlx::query(CREATE).execute(writer).await.map_err(bad)?;
    let rows = sqlx::query("SELECT number, name, sha256 FROM schema_migrations ORDER BY number").fetch_all(writer).await;
    let rows = rows.map_err(bad)?;
    let mut last = 0;
    for row in &rows {
        let number: u32 = row.try_get(0).map_err(bad)?;
        let (name, sha256): (String, String) = (row.try_get(1).map_err(bad)?, row.try_get(2).map_err(bad)?);
        let Some(known) = migrations.0.get(&number) else { return Err(newer(migrations, path, &name)) };
        if known.sha256 != sha256 {
            return Err(Fault::invalid("state.db", format!("{name} was changed after it had been applied here")));
        }
        if let Some((_, skipped)) = migrations.0.range(last + 1..number).next() {
            return Err(Fault::bug(format!("{} is numbered below {name}, which is applied already", skipped.name)));
        }
        last = number;
    }
    Ok(last)
}

/// The file has a schema that this build does not know: what that means, and the way on or back.
fn newer(migrations: &Migrations, path: &Path, name: &str) -> Fault {
    let known = migrations.0.keys().next_back().copied().unwrap_or_default();
    let back = match keep::newest(path, known) {
        Some(copy) => format!(
            "or go back: with Lifeboat stopped, put {} in the place of state.db and remove state.db-wal and state.db-shm. What was changed \
             since that copy is lost, and keys that were revoked since count again: revoke them anew",
            copy.display()
        ),
        None => "there is no copy here to go back to".to_owned(),
    };
    let message = format!(
        "a newer Lifeboat wrote this file: it holds {name}, and this version knows schema {known:04}. Start the newer version; {back}"
    );
    Fault::invalid("state.db", message)
}

/// Applies one migration: its statements and its row in the history stand or fall together.
async fn step(writer: &SqlitePool, number: u32, migration: &Migration) -> Verb<()> {
    let what = format!("cannot apply {}", migration.name);
    let bad = |e| fault(e, &what);
    let mut tx = writer.begin_with("BEGIN IMMEDIATE").await.map_err(bad)?;
    // The text is a file of this build, never input.
    sqlx::raw_sql(AssertSqlSafe(migration.sql.clone())).execute(&mut *tx).await.map_err(bad)?;
    sqlx::query("INSERT INTO schema_migrations (number, name, sha256) VALUES (?1, ?2, ?3)")
        .bind(number)
        .bind(&migration.name)
        .bind(&migration.sha256)
        .execute(&mut *tx)
        .await
        .map_err(bad)?;
    tx.commit().await.map_err(bad)
}
