//! Tests of the repository: compare and set, uncommitted edits, hostile trees and settings. Never touches another repository.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use git2::ObjectType;

use super::*;
use crate::base::fault::FaultKind;

const A: &str = "[[grant]]\ntools = [\"demo/*\"]\nclasses = [\"read\"]\n";
const B: &str = "[[grant]]\ntools = [\"demo/*\"]\nclasses = [\"write\"]\n";

fn author() -> Author {
    Author { name: "local:ann".into(), at: Timestamp(1_700_000_000_000) }
}

fn fresh() -> (tempfile::TempDir, Repository) {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::from([("lifeboat.toml".into(), Vec::new()), ("roles/a.toml".into(), A.into())]);
    let repository = Repository::init(dir.path(), &author(), &files).unwrap();
    (dir, repository)
}

fn put(path: &str, text: &str) -> Change {
    Change::Put { path: path.into(), bytes: text.into() }
}

fn text(dir: &tempfile::TempDir, path: &str) -> String {
    fs::read_to_string(dir.path().join(path)).unwrap()
}

#[test]
fn a_new_repository_has_one_commit_and_a_clean_working_tree() {
    let (dir, repository) = fresh();
    let head = repository.head().unwrap();
    assert_eq!(head.files.keys().collect::<Vec<_>>(), ["lifeboat.toml", "roles/a.toml"]);
    assert_eq!(text(&dir, "roles/a.toml"), A);
    assert_eq!(repository.working_changes().unwrap(), []);
    let again = Repository::init(dir.path(), &author(), &Files::new()).unwrap();
    assert_eq!(again.head().unwrap(), head, "a second run changes nothing");
    let status = std::process::Command::new("git").arg("-C").arg(dir.path()).args(["status", "--porcelain"]).output();
    if let Ok(status) = status {
        assert_eq!(String::from_utf8_lossy(&status.stdout), "");
    }
}

#[test]
fn a_commit_changes_head_and_the_working_tree() {
    let (dir, repository) = fresh();
    let first = repository.head().unwrap().commit;
    let second = repository.commit(&first, &[put("roles/a.toml", B), put("roles/b.toml", A)], &author(), "Let a write").unwrap();
    let third = repository.commit(&second, &[Change::Remove { path: "roles/b.toml".into() }], &author(), "Drop b").unwrap();
    assert_eq!(text(&dir, "roles/a.toml"), B);
    assert!(!dir.path().join("roles/b.toml").exists());
    assert_eq!(repository.head().unwrap().commit, third);
    assert_eq!(repository.working_changes().unwrap(), []);

    let history = repository.history(10, None).unwrap();
    assert_eq!(history.len(), 3);
    assert_eq!((history[1].message.as_str(), history[1].author.as_str()), ("Let a write", "local:ann"));
    assert_eq!(history[1].files, ["roles/a.toml", "roles/b.toml"]);
    assert_eq!(history[0].at, author().at);
    assert_eq!(repository.history(10, Some(&second)).unwrap(), history[2..]);
    assert_eq!(repository.history(1, None).unwrap(), history[..1]);

    let diff = repository.diff(&first, "HEAD").unwrap();
    assert_eq!((diff.len(), diff[0].kind), (1, ChangeKind::Changed));
    assert!(diff[0].patch.contains("+classes = [\"write\"]"), "{}", diff[0].patch);

    let back = changes_between(&repository.head().unwrap().files, &repository.at("HEAD~2").unwrap().files);
    repository.commit(&third, &back, &author(), "Roll back").unwrap();
    assert_eq!(text(&dir, "roles/a.toml"), A);
}

#[test]
fn two_commits_on_the_same_head_make_one_conflict() {
    let (_dir, repository) = fresh();
    let expected = repository.head().unwrap().commit;
    let results: Vec<_> = std::thread::scope(|scope| {
        let run = |n: usize| {
            // Two handles, as two processes have: they share no mutex.
            let other = Repository { root: repository.root.clone(), lock: Arc::default() };
            let expected = expected.clone();
            scope.spawn(move || other.commit(&expected, &[put(&format!("roles/n{n}.toml"), A)], &author(), "n"))
        };
        let threads: Vec<_> = (0..2).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    let lost = results.into_iter().find_map(Result::err).unwrap();
    assert_eq!(lost.kind, FaultKind::Conflict, "{lost:?}");
    assert_eq!(repository.head().unwrap().files.len(), 3);
}

#[test]
fn a_head_that_moves_between_reading_and_writing_is_a_conflict() {
    let (_dir, repository) = fresh();
    let raw = repository.raw().unwrap();
    let old = repository.head().unwrap();
    let with = |path: &str| {
        let mut files = old.files.clone();
        files.insert(path.into(), A.into());
        files
    };
    let first = repository.record(&raw, &old, &with("roles/b.toml"), &author(), "b").unwrap();
    let second = repository.record(&raw, &old, &with("roles/c.toml"), &author(), "c").unwrap_err();
    assert_eq!(second.kind, FaultKind::Conflict, "git's own comparison holds where a lock does not");
    assert_eq!(repository.head().unwrap().commit, first);
}

#[test]
fn uncommitted_edits_are_neither_swept_in_nor_lost() {
    let (dir, repository) = fresh();
    fs::write(dir.path().join("roles/a.toml"), "my edit").unwrap();
    fs::write(dir.path().join("roles/mine.toml"), "mine").unwrap();
    let head = repository.head().unwrap().commit;
    let other = repository.commit(&head, &[put("roles/b.toml", B)], &author(), "b").unwrap();
    assert_eq!((text(&dir, "roles/a.toml").as_str(), text(&dir, "roles/mine.toml").as_str()), ("my edit", "mine"));
    assert_eq!(repository.head().unwrap().files["roles/a.toml"], A.as_bytes());

    for path in ["roles/a.toml", "roles/mine.toml"] {
        let refused = repository.commit(&other, &[put(path, B)], &author(), "a").unwrap_err();
        assert!(refused.kind == FaultKind::Conflict && refused.message.contains(path), "{refused}");
    }
    assert_eq!(repository.head().unwrap().commit, other);
    let changes = repository.working_changes().unwrap();
    assert_eq!(
        changes.iter().map(|c| (c.path.as_str(), c.kind)).collect::<Vec<_>>(),
        [("roles/a.toml", ChangeKind::Changed), ("roles/mine.toml", ChangeKind::Added)]
    );
}

#[test]
fn an_editors_work_counts_once_it_is_committed_and_valid() {
    let (dir, repository) = fresh();
    assert_eq!(repository.commit_working(&author(), "none").unwrap_err().kind, FaultKind::Invalid);
    fs::write(dir.path().join("roles/a.toml"), "colour = 1\n").unwrap();
    let refused = repository.commit_working(&author(), "bad").unwrap_err();
    assert_eq!((refused.kind, refused.place.as_deref()), (FaultKind::Invalid, Some("roles/a.toml:1")));
    assert_eq!(text(&dir, "roles/a.toml"), "colour = 1\n");
    fs::write(dir.path().join("roles/a.toml"), B).unwrap();
    fs::write(dir.path().join("roles/.a.toml.swp"), "editor").unwrap();
    fs::remove_file(dir.path().join("lifeboat.toml")).unwrap();
    repository.commit_working(&author(), "good").unwrap();
    let head = repository.head().unwrap();
    assert_eq!(head.files.into_iter().collect::<Vec<_>>(), [("roles/a.toml".to_owned(), B.as_bytes().to_vec())]);
    assert_eq!(repository.working_changes().unwrap(), []);
}

#[test]
fn an_invalid_result_is_never_committed() {
    let (_dir, repository) = fresh();
    let head = repository.head().unwrap().commit;
    for path in ["../x.toml", "/x.toml", "roles/../x.toml", ".git/config", "roles/.GIT/x", "roles//x.toml", "a\\b.toml", ""] {
        assert_eq!(repository.commit(&head, &[put(path, A)], &author(), "x").unwrap_err().kind, FaultKind::Invalid, "{path}");
    }
    assert_eq!(repository.commit(&head, &[put("roles/b.toml", "x = 1")], &author(), "x").unwrap_err().kind, FaultKind::Invalid);
    assert_eq!(repository.commit(&head, &[put("roles/a.toml", A)], &author(), "x").unwrap_err().kind, FaultKind::Invalid);
    let gone = Change::Remove { path: "roles/none.toml".into() };
    assert_eq!(repository.commit(&head, &[gone], &author(), "x").unwrap_err().kind, FaultKind::NotFound);
    let odd = Author { name: "a <b>".into(), at: Timestamp(0) };
    assert_eq!(repository.commit(&head, &[put("roles/b.toml", A)], &odd, "x").unwrap_err().kind, FaultKind::Invalid);
    assert_eq!(repository.head().unwrap().commit, head);
}

#[test]
fn a_crash_between_commit_and_working_tree_is_finished_at_the_next_start() {
    let (dir, repository) = fresh();
    let head = repository.head().unwrap();
    let raw = repository.raw().unwrap();
    let mut new = head.files.clone();
    new.insert("roles/a.toml".into(), B.into());
    repository.record(&raw, &head, &new, &author(), "half").unwrap();
    assert_eq!(text(&dir, "roles/a.toml"), A);
    let opened = Repository::open(dir.path()).unwrap();
    assert_eq!(text(&dir, "roles/a.toml"), B);
    assert_eq!(opened.working_changes().unwrap(), []);
}

/// Commits a tree made by hand, as a hostile remote could send it.
fn hostile(repository: &Repository, mode: &str, name: &str) -> Verb<Head> {
    let raw = repository.raw().unwrap();
    let (reference, old) = head_of(&raw).unwrap();
    let id = if mode == "40000" { raw.find_commit(old).unwrap().tree_id() } else { raw.blob(b"/etc/passwd").unwrap() };
    let mut bytes = format!("{mode} {name}\0").into_bytes();
    bytes.extend_from_slice(id.as_bytes());
    let tree = raw.odb().unwrap().write(ObjectType::Tree, &bytes).unwrap();
    let tree = raw.find_tree(tree).unwrap();
    let signature = signature(&author()).unwrap();
    let id = raw.commit(None, &signature, &signature, "hostile", &tree, &[&raw.find_commit(old).unwrap()]).unwrap();
    raw.reference(&reference, id, true, "hostile").unwrap();
    repository.head()
}

#[test]
fn atk_g01_trees_with_links_submodules_and_names_that_leave_are_refused() {
    for (mode, name) in [
        ("120000", "lifeboat.toml"),
        ("160000", "servers"),
        ("100644", ".."),
        ("100644", "."),
        ("100644", ".git"),
        ("40000", ".GIT"),
        ("40000", ".."),
        ("40000", "git~1"),
        ("100644", "a\\..\\b"),
        ("100644", "a/b"),
    ] {
        let (_dir, repository) = fresh();
        let refused = hostile(&repository, mode, name).unwrap_err();
        assert!(matches!(refused.kind, FaultKind::Invalid | FaultKind::Unavailable), "{mode} {name}: {refused}");
    }
    let (_dir, repository) = fresh();
    assert!(hostile(&repository, "100644", "notes.md").is_ok(), "the same way with a good name passes");
}

#[test]
fn atk_g02_hooks_filters_and_repository_settings_run_nothing_and_lead_nowhere() {
    let (dir, repository) = fresh();
    let elsewhere = tempfile::tempdir().unwrap();
    let sign = elsewhere.path().join("ran");
    let script = format!("#!/bin/sh\ntouch {}\n", sign.display());
    let hooks = dir.path().join(".git/hooks");
    fs::create_dir_all(&hooks).unwrap();
    for hook in ["pre-commit", "commit-msg", "post-commit", "reference-transaction", "post-checkout", "post-index-change"] {
        fs::write(hooks.join(hook), &script).unwrap();
        fs::set_permissions(hooks.join(hook), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let run = hooks.join("pre-commit").display().to_string();
    let config = format!(
        "[core]\n\tworktree = {}\n\tfsmonitor = {run}\n\thooksPath = {}\n\tautocrlf = true\n\tsshCommand = {run}\n[filter \"x\"]\n\tclean = {run}\n\tsmudge = {run}\n\trequired = true\n",
        elsewhere.path().display(),
        hooks.display()
    );
    let file = dir.path().join(".git/config");
    fs::write(&file, fs::read_to_string(&file).unwrap() + &config).unwrap();
    fs::create_dir_all(dir.path().join(".git/info")).unwrap();
    fs::write(dir.path().join(".git/info/attributes"), "* filter=x text\n").unwrap();

    let head = repository.head().unwrap().commit;
    repository.commit(&head, &[put("roles/b.toml", A)], &author(), "b").unwrap();
    fs::write(dir.path().join("roles/b.toml"), B.replace('\n', "\r\n")).unwrap();
    repository.commit_working(&author(), "c").unwrap();
    Repository::open(dir.path()).unwrap().working_changes().unwrap();
    assert_eq!(repository.head().unwrap().files["roles/b.toml"], B.replace('\n', "\r\n").as_bytes(), "bytes are kept");
    assert!(!sign.exists(), "nothing ran");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0, "nothing was written elsewhere");
}

#[test]
fn atk_g03_links_in_the_working_tree_are_not_followed() {
    let (dir, repository) = fresh();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("b.toml"), "secret").unwrap();
    fs::remove_dir_all(dir.path().join("roles")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("roles")).unwrap();
    assert_eq!(repository.working_changes().unwrap_err().kind, FaultKind::Invalid);
    let head = repository.head().unwrap().commit;
    assert_eq!(repository.commit(&head, &[put("roles/b.toml", A)], &author(), "b").unwrap_err().kind, FaultKind::Conflict);
    assert_eq!(fs::read_to_string(elsewhere.path().join("b.toml")).unwrap(), "secret");

    let (dir, _repository) = fresh();
    fs::rename(dir.path().join(".git"), elsewhere.path().join("git")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("git"), dir.path().join(".git")).unwrap();
    assert_eq!(Repository::open(dir.path()).unwrap_err().kind, FaultKind::Invalid);
}

#[test]
fn checkpoints_chain_beside_head() {
    let (_dir, repository) = fresh();
    let head = repository.head().unwrap();
    assert_eq!(repository.read_ref("refs/lifeboat/checkpoints").unwrap(), None);
    let first = repository.write_ref("refs/lifeboat/checkpoints", "one", &author()).unwrap();
    repository.write_ref("refs/lifeboat/checkpoints", "two", &author()).unwrap();
    assert_eq!(repository.read_ref("refs/lifeboat/checkpoints").unwrap().as_deref(), Some("two"));
    let raw = repository.raw().unwrap();
    let tip = raw.find_reference("refs/lifeboat/checkpoints").unwrap().peel_to_commit().unwrap();
    assert_eq!(tip.parent_id(0).unwrap().to_string(), first);
    assert_eq!(repository.head().unwrap(), head);
    for name in ["HEAD", "refs/heads/main", "refs/lifeboat/../heads/main", "refs/lifeboat/"] {
        assert_eq!(repository.write_ref(name, "x", &author()).unwrap_err().kind, FaultKind::Invalid, "{name}");
    }
    for revision in ["", "main", ":/Begin", "HEAD@{0}", "@", "refs/lifeboat/checkpoints", "zzzz"] {
        assert_eq!(repository.at(revision).unwrap_err().kind, FaultKind::NotFound, "{revision}");
    }
}
