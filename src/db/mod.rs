//! The one SQLite file `state.db`: a pool of one writer, a pool of readers, migrations, a consistent copy; and databases of others. Never knows a table of a
//! noun.

mod fault;
pub mod foreign;
mod keep;
mod migrate;
pub mod postgres;
#[cfg(test)]
pub(crate) mod tests;

use std::path::Path;
use std::time::Duration;

pub use fault::fault;
pub use migrate::Migrations;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Executor, SqlSafeStr, Sqlite, Transaction};

use crate::base::fault::{Fault, Verb};

const BUSY: Duration = Duration::from_secs(2);
const READERS: u32 = 4;

/// The open database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    writer: SqlitePool,
    reader: SqlitePool,
}

impl Db {
    /// Opens or creates the file (mode 0600) and applies what it lacks of `migrations`. A statement waits up to 2 s for another process.
    ///
    /// # Errors
    /// `Unavailable` when the file cannot be opened, is corrupt or locked; `Invalid` when a newer Lifeboat wrote it or a released
    /// migration was changed.
    pub async fn open(path: &Path, migrations: &Migrations) -> Verb<Self> {
        Self::open_with(path, migrations, BUSY).await
    }

    /// As `open`, with another waiting time.
    ///
    /// # Errors
    /// As `open`.
    pub async fn open_with(path: &Path, migrations: &Migrations, busy: Duration) -> Verb<Self> {
        create_private(path)?;
        let base = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(busy)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("trusted_schema", "OFF");
        let what = "cannot open the database";
        // The only writer waits for its turn in the pool, not on a lock; and the file's own pages stay in one cache.
        let writer = pool(1, busy).connect_with(base.clone()).await.map_err(|e| fault(e, what))?;
        migrate::apply(&writer, migrations, path).await?;
        let reader = pool(READERS, busy).connect_with(base.read_only(true)).await.map_err(|e| fault(e, what))?;
        Ok(Self { writer, reader })
    }

    /// The pool of the one writing connection.
    pub fn writer(&self) -> &SqlitePool {
        &self.writer
    }

    /// The pool of reading connections; a write through it fails.
    pub fn reader(&self) -> &SqlitePool {
        &self.reader
    }

    /// Begins a writing transaction with the lock taken at once, so that it never fails half way for a lock.
    ///
    /// # Errors
    /// `Unavailable` when the lock is not to be had in time.
    pub async fn begin(&self) -> Verb<Transaction<'static, Sqlite>> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(|e| fault(e, "cannot begin to write"))
    }

    /// Writes a consistent copy to a path where nothing is yet (mode 0600). Writers go on meanwhile.
    ///
    /// # Errors
    /// `Conflict` when the path exists; `Unavailable` when it cannot be written.
    pub async fn copy_to(&self, path: &Path) -> Verb<()> {
        copy(&self.reader, path).await
    }

    /// Whether the writer answers: the check behind `/ready` and `doctor`.
    ///
    /// # Errors
    /// `Unavailable` when it does not.
    pub async fn check(&self) -> Verb<()> {
        sqlx::query("SELECT 1").execute(&self.reader).await.map(|_| ()).map_err(|e| fault(e, "the database does not answer"))
    }

    /// Prepares every named statement against the open schema, for the test that keeps SQL and migrations together.
    ///
    /// # Errors
    /// `Bug`, naming every statement that does not prepare.
    pub async fn prepare_all(&self, statements: &[(&str, &'static str)]) -> Verb<()> {
        let mut wrong = Vec::new();
        for (name, sql) in statements {
            if let Err(e) = self.writer.prepare((*sql).into_sql_str()).await {
                wrong.push(format!("{name}: {e}"));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(Fault::bug(wrong.join("; "))) }
    }

    /// Closes both pools; what is running ends first.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}

async fn copy(from: &SqlitePool, path: &Path) -> Verb<()> {
    if path.exists() {
        return Err(Fault::conflict("the copy's file exists already"));
    }
    create_private(path)?;
    let text = path.to_str().ok_or_else(|| Fault::invalid("path", "the path of a copy must be UTF-8"))?;
    let done = sqlx::query("VACUUM INTO ?1").bind(text).execute(from).await;
    done.map(|_| ()).map_err(|e| {
        // A half-written copy must never be taken for one; the fault to report is the first one.
        let _ = std::fs::remove_file(path);
        fault(e, "cannot copy the database")
    })
}

fn pool(size: u32, busy: Duration) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .min_connections(1)
        .max_connections(size)
        .acquire_timeout(busy + Duration::from_secs(1))
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// SQLite gives its side files the mode of the main file, so the main file is made first, with the right one.
fn create_private(path: &Path) -> Verb<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let unavailable = |e: std::io::Error| Fault::unavailable("cannot create the database file").because(e);
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map_err(unavailable)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(unavailable)
}
