//! The copy of the database that is kept before its schema changes, so that there is a way back to the version before. Never overwrites one,
//! and never leaves half a copy under the name of a whole one.

use std::path::{Path, PathBuf};

use sqlx::SqlitePool;

use super::{copy, fault};
use crate::base::fault::{Fault, Verb};

/// Keeps a copy beside the file: `state.db.schema-0005`, with `.2` and so on where one is there already. Gives its path.
///
/// # Errors
/// `Unavailable` when it cannot be written: the schema must not change then.
pub(super) async fn keep(from: &SqlitePool, path: &Path, schema: u32) -> Verb<PathBuf> {
    let target = free(path, schema)?;
    let part = target.with_extension("part");
    // Left by a process that died while it copied.
    let _ = std::fs::remove_file(&part);
    copy(from, &part).await?;
    let settled = std::fs::File::open(&part)
        .and_then(|file| file.sync_all())
        .and_then(|()| std::fs::rename(&part, &target))
        .and_then(|()| target.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all()));
    settled.map_err(|cause| {
        Fault::unavailable(format!("the copy {} cannot be kept, so the schema stays as it is", target.display())).because(cause)
    })?;
    tracing::info!(db.schema = schema, db.copy = %target.display(), "the database was copied before its schema changes");
    Ok(target)
}

fn free(path: &Path, schema: u32) -> Verb<PathBuf> {
    let name = file_name(path)?;
    let named = |end: &str| path.with_file_name(format!("{name}.schema-{schema:04}{end}"));
    let names = std::iter::once(String::new()).chain((2..1_000).map(|count| format!(".{count}")));
    let target = names.map(|end| named(&end)).find(|target| !target.exists());
    target.ok_or_else(|| Fault::conflict(format!("there are too many copies of schema {schema:04} beside {name}")))
}

/// The newest copy that a version knowing schemas up to `known` can read.
pub(super) fn newest(path: &Path, known: u32) -> Option<PathBuf> {
    let prefix = format!("{}.schema-", file_name(path).ok()?);
    let entries = std::fs::read_dir(path.parent()?).ok()?.flatten();
    let copies = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let rest = name.strip_prefix(&prefix)?;
        let (schema, count) = rest.split_once('.').unwrap_or((rest, "1"));
        let order: (u32, u32) = (schema.parse().ok()?, count.parse().ok()?);
        (order.0 <= known).then(|| (order, entry.path()))
    });
    copies.max_by_key(|(order, _)| *order).map(|(_, path)| path)
}

fn file_name(path: &Path) -> Verb<&str> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.ok_or_else(|| fault(sqlx::Error::Configuration("no file name in UTF-8".into()), "the database has no name"))
}
