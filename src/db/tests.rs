//! Tests of opening, migrating and copying the database. Never uses a table of a noun.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use super::*;
use crate::base::fault::FaultKind;

const ONE: (&str, &str) = ("0001_thing_table.sql", "CREATE TABLE thing (name TEXT PRIMARY KEY) STRICT;");
const TWO: (&str, &str) = ("0002_thing_colour.sql", "ALTER TABLE thing ADD COLUMN colour TEXT; UPDATE thing SET colour = 'red';");

fn migrations(list: &[(&str, &str)]) -> Migrations {
    Migrations::of(list.iter().map(|(name, sql)| ((*name).to_owned(), (*sql).to_owned()))).unwrap()
}

async fn add(db: &Db, name: &str) -> Verb<()> {
    let done = sqlx::query("INSERT INTO thing (name) VALUES (?1)").bind(name).execute(db.writer()).await;
    done.map(|_| ()).map_err(|e| fault(e, "cannot add the thing"))
}

#[tokio::test]
async fn the_migrations_of_this_build_apply_to_a_new_file_with_mode_0600() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let db = Db::open(&path, &Migrations::embedded().unwrap()).await.unwrap();
    db.check().await.unwrap();
    db.prepare_all(&[("meta", "SELECT value FROM meta WHERE key = ?1")]).await.unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    db.close().await;
}

#[tokio::test]
async fn migrations_apply_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let db = Db::open(&path, &migrations(&[ONE])).await.unwrap();
    add(&db, "a").await.unwrap();
    db.close().await;
    for _ in 0..2 {
        let db = Db::open(&path, &migrations(&[TWO, ONE])).await.unwrap();
        let colour: String = sqlx::query_scalar("SELECT colour FROM thing").fetch_one(db.reader()).await.unwrap();
        assert_eq!(colour, "red");
        db.close().await;
    }
}

#[tokio::test]
async fn a_newer_file_a_changed_migration_and_a_late_number_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    Db::open(&path, &migrations(&[ONE, TWO])).await.unwrap().close().await;
    let newer = Db::open(&path, &migrations(&[ONE])).await.unwrap_err();
    assert!(newer.kind == FaultKind::Invalid && newer.message.contains("0002_thing_colour.sql"), "{newer}");
    let changed = Db::open(&path, &migrations(&[(ONE.0, "CREATE TABLE other (x TEXT);"), TWO])).await.unwrap_err();
    assert!(changed.kind == FaultKind::Invalid && changed.message.contains("0001_thing_table.sql"), "{changed}");
    let other = dir.path().join("other.db");
    Db::open(&other, &migrations(&[TWO_ALONE])).await.unwrap().close().await;
    let late = Db::open(&other, &migrations(&[ONE, TWO_ALONE])).await.unwrap_err();
    assert!(late.message.contains("numbered below"), "{late}");
}

const TWO_ALONE: (&str, &str) = ("0002_other_table.sql", "CREATE TABLE other (x TEXT) STRICT;");

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let bad = ("0002_bad_half.sql", "CREATE TABLE half (x TEXT) STRICT; SELECT nonsense;");
    assert!(Db::open(&path, &migrations(&[ONE, bad])).await.is_err());
    let db = Db::open(&path, &migrations(&[ONE])).await.unwrap();
    let halves: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = 'half'").fetch_one(db.reader()).await.unwrap();
    assert_eq!(halves, 0);
}

#[test]
fn names_and_numbers_of_migrations_are_checked() {
    for bad in ["1_a_b.sql", "0001_a.sql", "0001_a_b.txt", "000a_a_b.sql", "0001a_b.sql"] {
        assert!(Migrations::of([(bad.to_owned(), String::new())]).is_err(), "{bad}");
    }
    assert!(Migrations::of([("0001_a_b.sql".to_owned(), String::new()), ("0001_c_d.sql".to_owned(), String::new())]).is_err());
}

#[tokio::test]
async fn errors_become_the_right_kind_of_fault() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let db = Db::open_with(&path, &migrations(&[ONE]), Duration::from_millis(100)).await.unwrap();
    add(&db, "a").await.unwrap();
    assert_eq!(add(&db, "a").await.unwrap_err().kind, FaultKind::Conflict);
    let none = sqlx::query("SELECT name FROM thing WHERE name = 'b'").fetch_one(db.reader()).await.unwrap_err();
    assert_eq!(fault(none, "x").kind, FaultKind::NotFound);
    let written = sqlx::query("DELETE FROM thing").execute(db.reader()).await.unwrap_err();
    assert_eq!(fault(written, "x").kind, FaultKind::Unavailable);
    assert_eq!(db.prepare_all(&[("bad", "SELECT x FROM nowhere")]).await.unwrap_err().kind, FaultKind::Bug);

    let other = Db::open_with(&path, &migrations(&[ONE]), Duration::from_millis(100)).await.unwrap();
    let _held = other.begin().await.unwrap();
    let begun = Instant::now();
    assert_eq!(add(&db, "b").await.unwrap_err().kind, FaultKind::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(sqlx::query("SELECT name FROM thing").fetch_all(db.reader()).await.unwrap().len(), 1, "readers go on");
}

#[tokio::test]
async fn a_corrupt_file_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    std::fs::write(&path, vec![7u8; 8192]).unwrap();
    assert_eq!(Db::open(&path, &migrations(&[ONE])).await.unwrap_err().kind, FaultKind::Unavailable);
}

#[tokio::test]
async fn a_copy_is_whole_private_and_never_overwrites() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("state.db"), &migrations(&[ONE])).await.unwrap();
    add(&db, "a").await.unwrap();
    let copy = dir.path().join("copy.db");
    db.copy_to(&copy).await.unwrap();
    assert_eq!(db.copy_to(&copy).await.unwrap_err().kind, FaultKind::Conflict);
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    let opened = Db::open(&copy, &migrations(&[ONE])).await.unwrap();
    assert_eq!(add(&opened, "a").await.unwrap_err().kind, FaultKind::Conflict);
}

#[tokio::test]
async fn flt_30_a_copy_is_kept_before_the_schema_changes_and_shows_the_way_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let kept = |end: &str| dir.path().join(format!("state.db.schema-{end}"));
    let db = Db::open(&path, &migrations(&[ONE])).await.unwrap();
    add(&db, "a").await.unwrap();
    db.close().await;
    assert!(!kept("0000").exists(), "a new file has nothing to keep");
    Db::open(&path, &migrations(&[ONE, TWO])).await.unwrap().close().await;
    assert_eq!(std::fs::metadata(kept("0001")).unwrap().permissions().mode() & 0o777, 0o600);
    Db::open(&path, &migrations(&[ONE, TWO])).await.unwrap().close().await;
    assert!(!kept("0002").exists() && !kept("0001.2").exists(), "nothing changes, nothing is kept");

    let refused = Db::open(&path, &migrations(&[ONE])).await.unwrap_err();
    let says = |part: &str| assert!(refused.message.contains(part), "{part}: {refused}");
    says("0002_thing_colour.sql");
    says("knows schema 0001");
    says(&kept("0001").display().to_string());
    let untouched = Db::open(&path, &migrations(&[ONE, TWO])).await.unwrap();
    let colour: String = sqlx::query_scalar("SELECT colour FROM thing").fetch_one(untouched.reader()).await.unwrap();
    assert_eq!(colour, "red", "the refusal changed nothing");
    untouched.close().await;

    for side in ["state.db-wal", "state.db-shm"] {
        let _ = std::fs::remove_file(dir.path().join(side));
    }
    std::fs::copy(kept("0001"), &path).unwrap();
    let back = Db::open(&path, &migrations(&[ONE])).await.unwrap();
    let name: String = sqlx::query_scalar("SELECT name FROM thing").fetch_one(back.reader()).await.unwrap();
    assert_eq!(name, "a");
    back.close().await;
    Db::open(&path, &migrations(&[ONE, TWO])).await.unwrap().close().await;
    assert!(kept("0001").exists() && kept("0001.2").exists(), "an older copy is not overwritten");
}

#[tokio::test]
async fn flt_30_without_a_copy_the_schema_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    Db::open(&path, &migrations(&[ONE])).await.unwrap().close().await;
    // What stands in the way of a copy: a folder of the name it is first written under.
    std::fs::create_dir(dir.path().join("state.db.part")).unwrap();
    assert!(Db::open(&path, &migrations(&[ONE, TWO])).await.is_err());
    std::fs::remove_dir(dir.path().join("state.db.part")).unwrap();
    let db = Db::open(&path, &migrations(&[ONE])).await.unwrap();
    db.close().await;
}

/// Writes one row into each of two tables in one transaction, for tests of copies.
pub(crate) async fn pair(db: &Db, at: i64) {
    let mut tx = db.begin().await.unwrap();
    for sql in ["INSERT INTO one (id) VALUES (?1)", "INSERT INTO two (id) VALUES (?1)"] {
        sqlx::query(sql).bind(at).execute(&mut *tx).await.unwrap();
    }
    tx.commit().await.unwrap();
}
