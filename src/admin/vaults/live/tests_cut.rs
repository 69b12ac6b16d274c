//! Restores in place that are cut off at every moment, on real trees; and when a tree is the archive's.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::note::Note;
use super::place::{self, CONTENT, Node, node};
use super::settle::{Left, finish};
use super::stage;
use crate::base::clock::Timestamp;

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

/// A restore as its note tells it, with trees of its own, at every moment at which a process can end.
struct Scene {
    dir: tempfile::TempDir,
    note: Note,
}

impl Scene {
    fn new(is_there: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let waiting = at(".restoring-rs_1");
        if is_there {
            fs::create_dir(at("vault")).unwrap();
            fs::write(at("vault/memory"), "old").unwrap();
            fs::create_dir(at("vault/cache")).unwrap();
        }
        let note = Note {
            id: "rs_1".into(),
            vault: "vault".into(),
            archive: "ar_1".into(),
            target: at("vault"),
            tree: waiting.join(CONTENT),
            dir: waiting,
            kept: at("vault.before-rs_1"),
            new: None,
            old: None,
            carry: vec!["cache".into()],
            servers: Vec::new(),
            by: "ana".into(),
            at: Timestamp(0),
            told: None,
        };
        Self { dir, note }
    }

    fn unpack(&self) {
        place::waiting(&self.note.dir).unwrap();
        fs::create_dir(&self.note.tree).unwrap();
        fs::write(self.note.tree.join("memory"), "new").unwrap();
    }

    fn promise(&mut self) {
        let of = |path: &Path| -> Option<Node> { node(path).unwrap() };
        (self.note.new, self.note.old) = (of(&self.note.tree), of(&self.note.target));
    }

    fn do_steps(&mut self, count: usize) {
        let steps: [fn(&mut Self); 7] = [
            |scene| fs::create_dir(&scene.note.dir).unwrap(),
            |scene| {
                fs::remove_dir(&scene.note.dir).unwrap();
                scene.unpack();
            },
            Self::promise,
            |scene| place::exchange(&scene.note.tree, &scene.note.target, scene.note.old).unwrap(),
            |scene| {
                if scene.note.old.is_some() {
                    place::keep(&scene.note.tree, &scene.note.kept).unwrap();
                }
            },
            |scene| drop(place::carry(&scene.note.kept, &scene.note.target, &scene.note.carry)),
            |scene| place::tidy(&scene.note.dir),
        ];
        steps.iter().take(count).for_each(|step| step(self));
    }

    fn left(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.dir.path().read_dir().unwrap().flatten().map(|one| one.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

#[test]
fn rec_18_whatever_moment_it_is_cut_off_at_the_next_start_finds_the_old_tree_or_the_new_one() {
    for is_there in [true, false] {
        for count in 0..=7 {
            let mut scene = Scene::new(is_there);
            scene.do_steps(count);
            let expected = if count >= 4 { Left::New } else { Left::Old };
            // The start may be cut off too.
            for _ in 0..2 {
                assert_eq!(finish(&scene.note).unwrap(), expected, "{is_there} {count}");
            }
            let (target, kept) = (&scene.note.target, &scene.note.kept);
            match expected {
                Left::New => {
                    assert_eq!(text(target.join("memory")), "new", "{count}");
                    assert_eq!(target.join("cache").exists(), is_there, "{count}");
                    assert!(!is_there || text(kept.join("memory")) == "old", "{count}");
                    assert_eq!(scene.left(), ["vault", "vault.before-rs_1"][..1 + usize::from(is_there)], "{count}");
                }
                Left::Old if is_there => {
                    assert!(text(target.join("memory")) == "old" && target.join("cache").exists(), "{count}");
                    assert_eq!(scene.left(), ["vault"], "{count}");
                }
                Left::Old => assert!(scene.left().is_empty(), "{count}: {:?}", scene.left()),
            }
        }
    }
}

#[test]
fn rec_18_a_swap_that_is_undone_is_the_old_tree_at_every_moment() {
    for count in 0..=1 {
        let mut scene = Scene::new(true);
        scene.do_steps(4);
        if count == 1 {
            place::change_back(&scene.note.tree, &scene.note.target, scene.note.old).unwrap();
        }
        let expected = if count == 1 { Left::Old } else { Left::New };
        assert_eq!(finish(&scene.note).unwrap(), expected);
        assert_eq!(text(scene.note.target.join("memory")), if count == 1 { "old" } else { "new" });
    }
}

#[test]
fn what_somebody_else_put_there_meanwhile_is_neither_removed_nor_named() {
    for count in [3, 4] {
        let mut scene = Scene::new(true);
        scene.do_steps(count);
        let aside = scene.dir.path().join("aside");
        fs::rename(&scene.note.target, &aside).unwrap();
        fs::create_dir(&scene.note.target).unwrap();
        fs::write(scene.note.target.join("memory"), "theirs").unwrap();
        assert!(finish(&scene.note).is_err());
        assert_eq!(text(scene.note.target.join("memory")), "theirs");
        assert!(scene.note.tree.join("memory").exists() && aside.join("memory").exists());
    }
}

#[test]
fn a_tree_is_the_archives_only_with_every_file_mode_and_byte_and_nothing_more() {
    use crate::crypto::archive::{Entry, EntryKind, Manifest, hex};
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    let whole = || {
        let _ = fs::remove_dir_all(&tree);
        fs::create_dir_all(tree.join("sub")).unwrap();
        fs::set_permissions(tree.join("sub"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(tree.join("sub/a"), "a").unwrap();
        fs::set_permissions(tree.join("sub/a"), fs::Permissions::from_mode(0o640)).unwrap();
    };
    let entry = |path: &str, kind, size, mode, sha256: String| Entry { path: path.into(), kind, size, mode, mtime: 0, sha256 };
    let digest = hex(&crate::crypto::keys::sha256(b"a"));
    let entries = vec![entry("sub", EntryKind::Dir, 0, 0o700, String::new()), entry("sub/a", EntryKind::File, 1, 0o640, digest)];
    let manifest =
        Manifest { format: 1, id: "ar".into(), entries, files: 1, bytes: 1, skipped: Vec::new(), finished_at: Timestamp(0) };
    let compare = || stage::compare(&tree, &manifest, stage::Disk::Anew);
    whole();
    compare().unwrap();
    let changes: [&dyn Fn(); 6] = [
        &|| fs::write(tree.join("sub/a"), "b").unwrap(),
        &|| fs::write(tree.join("more"), "b").unwrap(),
        &|| fs::remove_file(tree.join("sub/a")).unwrap(),
        &|| fs::set_permissions(tree.join("sub/a"), fs::Permissions::from_mode(0o644)).unwrap(),
        &|| symlink("/etc/passwd", tree.join("link")).unwrap(),
        &|| {
            fs::remove_file(tree.join("sub/a")).unwrap();
            fs::create_dir(tree.join("sub/a")).unwrap();
        },
    ];
    for (at, change) in changes.iter().enumerate() {
        whole();
        change();
        assert!(compare().is_err(), "change {at}");
    }
}

/// Somebody still writes to the new tree: a file of it is changed after it was compared beside its place and before it is in it.
fn tamper(data: crate::config::paths::DataDir, folder: std::path::PathBuf) -> std::thread::JoinHandle<()> {
    use std::io::Write as _;
    std::thread::spawn(move || {
        let waiting = || {
            let names = fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path().join(CONTENT).join("zzz"));
            names.into_iter().find_map(|path| fs::OpenOptions::new().append(true).open(path).ok())
        };
        let mut file = loop {
            if let Some(file) = waiting() {
                break file;
            }
        };
        while super::note::all(&data).0.iter().all(|note| note.new.is_none()) {
            std::thread::yield_now();
        }
        file.write_all(b"!").unwrap();
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_18_a_tree_that_is_not_the_archives_once_it_is_in_place_changes_back_and_stays_stopped() {
    use super::tests::{back_up, house, vault};
    use super::{LiveOrder, restore_live};
    use crate::admin::kill;
    use crate::admin::tests_house::root;
    let house = house().await;
    let (place, _) = vault(&house, "notes", Some("demo"), &[]).await;
    // The first one takes long to compare, the last one is changed meanwhile.
    fs::write(place.join("aaa"), vec![7u8; 48 << 20]).unwrap();
    fs::write(place.join("zzz"), "last").unwrap();
    let archive = back_up(&house, "notes").await;
    fs::write(place.join("zzz"), "now").unwrap();
    let thread = tamper(house.admin.data.clone(), house.path().join("vaults"));
    let order = LiveOrder { archive: archive.id, reason: "poisoned".into(), without_backup: true, ..LiveOrder::default() };
    let done = restore_live(&house.admin, &root(), order).await.unwrap();
    thread.join().unwrap();
    let steps: Vec<(&str, bool)> = done.steps.iter().map(|step| (step.name.as_str(), step.passed)).collect();
    assert_eq!(steps[4..8], [("swap", true), ("compare", false), ("undo", true), ("start", true)], "{done:?}");
    assert!(done.steps[5].detail.contains("zzz") && !done.ok && !done.released && done.kept.is_none(), "{done:?}");
    assert_eq!(text(place.join("zzz")), "now", "as it was");
    let left = fs::read_dir(house.path().join("vaults")).unwrap().flatten().filter(|entry| entry.file_name() != "notes").count();
    assert_eq!((left, kill::states(&house.admin).len()), (0, 1));
}
